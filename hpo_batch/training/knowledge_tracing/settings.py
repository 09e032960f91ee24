"""The parameters of the knowledge tracing trainer: names, defaults, ranges. Torch-free, for the parameter count."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from hpo_batch.training.knowledge_tracing.data import SIMULATED, SIMULATED_ONLY, TABLE_ONLY, DataOptions
from hpo_batch.training.parameters import flag, one_of, read, real, whole

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings(DataOptions):
    """Made by `from_params` only. Names and defaults are those of the document."""

    d_model: int = whole(256, at_least=1)
    n_heads: int = whole(4, at_least=1)
    d_ff: int = whole(512, at_least=1)
    num_encoder_blocks: int = whole(4, at_least=1)
    dropout: float = real(0.2, at_least=0.0, below=1.0)
    emb_type: str = one_of("qid", "additive")
    """"qid": one embedding for each pair of skill and response (Piech et al. 2015, arXiv 1506.05908); "additive": one
    for the skill plus one for the response."""

    epochs: int = whole(30, at_least=1)
    patience: int = whole(4, at_least=0)
    """Epochs without a better validation AUC after which training ends; 0: never."""
    batch_size: int = whole(64, at_least=1)
    """Sequences in a batch."""
    optimizer: str = one_of("Adam", "AdamW")
    learning_rate: float = real(1e-4, above=0.0)
    weight_decay: float = real(0.0, at_least=0.0)
    """Adam's is part of the gradient, AdamW's is not."""
    gradient_clip: float = real(1.0, at_least=0.0)
    """Largest norm of the gradient; 0: not clipped."""
    lambda_bce: float = real(1.0, above=0.0)
    """Weight of the loss of the next response; what is missing to 1 is that of the mastery head."""
    gamma: float = real(0.0, at_least=0.0)
    """Of the focal loss of the next response; 0: cross entropy."""
    alpha: float = real(0.5, above=0.0, below=1.0)
    """Weight of right responses in it, 1 - alpha that of wrong ones; 0.5: not weighted."""
    deterministic: bool = flag(False)
    """On a GPU: the same bits in each run, which is slower. A CPU gives them anyway."""
    checkpoint_every: int = whole(1, at_least=1)
    """Epochs from one checkpoint to the next. Part of what a kill costs, not of the result."""

    @classmethod
    def from_params(cls, params: Mapping[str, object]) -> Settings:
        settings = read(cls, params)
        is_simulated = settings.data == SIMULATED
        if not is_simulated and (useless := sorted(SIMULATED_ONLY & set(params))):
            raise ValueError(f"{', '.join(useless)}: of the simulator; leave out, or set 'data' to \"{SIMULATED}\"")
        # No mistake: with one option a sweep over a table becomes a first run without any.
        if is_simulated and (useless := sorted(TABLE_ONLY & set(params))):
            log.info("simulated responses have no columns: %s not used", ", ".join(useless))
        if settings.lambda_bce > 1:
            raise ValueError(f"lambda_bce = {settings.lambda_bce:g} is above 1: the mastery head has the rest to 1")
        if settings.val_ratio + settings.test_ratio >= 1:
            raise ValueError(
                f"val_ratio = {settings.val_ratio:g} and test_ratio = {settings.test_ratio:g} "
                "leave no student to train on"
            )
        return settings

    @property
    def has_mastery(self) -> bool:
        return self.lambda_bce < 1
