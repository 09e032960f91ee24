"""The parameters of the visual trainer: names, defaults, ranges. Torch-free, because the parameter count reads it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from hpo_batch.training.parameters import flag, one_of, read, real, whole
from hpo_batch.training.visual.data import FILES_ONLY, SIMULATED, DataOptions

log = logging.getLogger(__name__)
BASE_WIDTH = 32
"""Channels of the first convolutions at `width_mult` 1."""


@dataclass(frozen=True, kw_only=True)
class Settings(DataOptions):
    """Made by `from_params` only. Names and ranges are those of the document."""

    encoder_type: str = one_of("cnn", "context")
    embed_dim: int = whole(256, at_least=1)
    """Width of what a task becomes, and of the categories' prototypes."""
    use_cosine: bool = flag(False)
    """Compare directions only, times `temperature`; else by the dot product."""
    temperature: float = real(10.0, above=0.0)

    depth: int = whole(3, at_least=1)
    """Convolutions of the CNN."""
    width_mult: float = real(1.0, above=0.0)
    mlp_hidden: int = whole(512, at_least=1)
    use_coords: bool = flag(False)
    """Two more planes: the line and the column of each cell."""
    demo_agg: str = one_of("flatten", "mean")
    """The pairs of a task one after another, or their mean."""

    ctx_d_model: int = whole(256, at_least=1)
    ctx_n_head: int = whole(8, at_least=1)
    ctx_pixel_layers: int = whole(3, at_least=1)
    """Transformer blocks over the cells of a pair."""
    ctx_grid_layers: int = whole(2, at_least=1)
    """Transformer blocks over the pairs of a task."""
    ctx_dropout: float = real(0.1, at_least=0.0, below=1.0)

    epochs: int = whole(20, at_least=1)
    early_stop_patience: int = whole(4, at_least=0)
    """Epochs without a better validation accuracy after which training ends; 0: never."""
    batch_size: int = whole(16, at_least=1)
    """Tasks in a batch."""
    lr: float = real(1e-3, above=0.0)
    weight_decay: float = real(0.0, at_least=0.0)
    """AdamW's."""
    use_scheduler: bool = flag(True)
    """The learning rate falls to zero as half a cosine, over all epochs."""
    label_smoothing: float = real(0.0, at_least=0.0, below=1.0)
    color_permute: bool = flag(True)
    """Other colours for each task in each epoch; the background, 0, stays. Training only, as the next."""
    random_demos: bool = flag(True)
    """Other pairs of a task in each epoch; else its first ones."""
    num_workers: int = whole(0, at_least=0)
    """Has no effect: all tasks are in memory, and no process has to load them."""
    deterministic: bool = flag(False)
    """On a GPU: the same bits in each run, which is slower. A CPU gives them anyway."""
    checkpoint_every: int = whole(1, at_least=1)
    """Epochs from one checkpoint to the next. Part of what a kill costs, not of the result."""

    @classmethod
    def from_params(cls, params: Mapping[str, object]) -> Settings:
        settings = read(cls, params)
        is_simulated = settings.data_dir == SIMULATED
        if not is_simulated and "n_tasks" in params:
            raise ValueError(f"n_tasks: of the simulator; leave out, or set 'data_dir' to \"{SIMULATED}\"")
        # No mistake: with one option a sweep over files becomes a first run without any.
        if is_simulated and (useless := [name for name in FILES_ONLY if name in params]):
            log.info("simulated tasks have their own categories: %s not used", ", ".join(useless))
        if settings.val_ratio + settings.test_ratio >= 1:
            raise ValueError(
                f"val_ratio = {settings.val_ratio:g} and test_ratio = {settings.test_ratio:g} leave no task to train on"
            )
        return settings

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each convolution: doubled after a third and after two thirds of them, where the grid is halved."""
        width = max(1, round(BASE_WIDTH * self.width_mult))
        return tuple(width * 2 ** (3 * i // self.depth) for i in range(self.depth))


OWN = frozenset(
    (
        *("ctx_dropout", "epochs", "early_stop_patience", "lr", "weight_decay", "use_scheduler", "label_smoothing"),
        *("color_permute", "random_demos", "checkpoint_every", "num_workers"),
    )
)
"""parameters of which trials that are trained together have each their own value"""
SHAPE = tuple(name for name in Settings.__dataclass_fields__ if name not in OWN)
"""parameters that they have in common"""
