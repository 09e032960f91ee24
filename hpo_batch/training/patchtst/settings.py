"""The parameters of the PatchTST trainer: names, defaults, ranges. Torch-free, because the parameter count reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from hpo_batch.training.data import DIGITS, DIGITS_STEPS, ROWS_ONLY, DataOptions
from hpo_batch.training.parameters import flag, read, real, whole


@dataclass(frozen=True, kw_only=True)
class Settings(DataOptions):
    """Made by `from_params` only, which fills what depends on other parameters. Defaults are those of the documents."""

    patch_len: int = whole(16, at_least=1)
    """Rows in a patch. Digits: 2."""
    stride: int = whole(0, at_least=0)
    """Rows from one patch to the next; 0: half of `patch_len`."""
    d_model: int = whole(64, at_least=1)
    n_layers: int = whole(2, at_least=1)
    n_heads: int = whole(4, at_least=1)
    d_ff: int = whole(0, at_least=0)
    """Width of the feed-forward layers; 0: `d_ff_ratio` times `d_model`."""
    d_ff_ratio: float = real(4.0, above=0.0)
    dropout: float = real(0.1, at_least=0.0, below=1.0)

    epochs: int = whole(50, at_least=1)
    patience: int = whole(0, at_least=0)
    """Epochs without a better validation AUC after which training ends; 0: never."""
    batch_size: int = whole(64, at_least=1)
    learning_rate: float = real(1e-3, above=0.0)
    weight_decay: float = real(0.01, at_least=0.0)
    """AdamW's, on matrices; biases, norms and position embeddings are not decayed."""
    warmup_steps: int = whole(0, at_least=0)
    """Optimizer steps over which the learning rate rises linearly to its value."""
    grad_clip: float = real(0.0, at_least=0.0)
    """Largest norm of the gradient; 0: not clipped."""
    gamma: float = real(0.0, at_least=0.0)
    """Of the focal loss: how much well classified windows count less; 0: cross entropy."""
    alpha: float = real(0.5, above=0.0, below=1.0)
    """Weight of positive windows in the loss, 1 - alpha that of negative ones; 0.5: not weighted."""
    deterministic: bool = flag(False)
    """On a GPU: the same bits in each run, which is slower. A CPU gives them anyway."""
    checkpoint_every: int = whole(1, at_least=1)
    """Epochs from one checkpoint to the next. Part of what a kill costs, not of the result."""

    @classmethod
    def from_params(cls, params: Mapping[str, object]) -> Settings:
        is_digits = params.get("data", DIGITS) == DIGITS
        if is_digits and (useless := sorted(ROWS_ONLY & set(params))):
            raise ValueError(f"{', '.join(useless)}: for dated rows only; leave out, or set 'data' to a file")
        shape = {"context": DIGITS_STEPS, "patch_len": 2} if is_digits else {}
        given = read(cls, {**shape, **params})
        settings = replace(
            given,
            stride=given.stride or max(1, given.patch_len // 2),
            d_ff=given.d_ff or max(1, round(given.d_ff_ratio * given.d_model)),
        )
        if settings.patch_len > settings.context:
            raise ValueError(f"patch_len = {settings.patch_len} is longer than the window of {settings.context} rows")
        if settings.stride > settings.patch_len:
            raise ValueError(
                f"stride = {settings.stride} is larger than patch_len = {settings.patch_len}: "
                "the rows between two patches would be seen by none"
            )
        # Both may be there when a sweep derives d_ff from the ratio; then they must say the same.
        if "d_ff_ratio" in params and settings.d_ff != max(1, round(settings.d_ff_ratio * settings.d_model)):
            raise ValueError(
                f"d_ff = {settings.d_ff} is not d_ff_ratio * d_model = {settings.d_ff_ratio:g} * {settings.d_model}: "
                "give one of the two"
            )
        return settings

    @property
    def n_patches(self) -> int:
        return (self.context - self.patch_len) // self.stride + 1
