"""A callback for PyTorch Lightning 2 (https://lightning.ai/docs/pytorch/stable/extensions/callbacks.html)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from hpo_batch import script

if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
    # the same library under its older name; the two know nothing of each other
    import pytorch_lightning as pl
else:
    import lightning.pytorch as pl

LAST = "last.ckpt"
"""as ``ModelCheckpoint(save_last=True)`` calls it"""


class LightningCallback(pl.Callback):
    """Reports what the module has logged, and ends the training with a checkpoint when the trial is to stop.

    ``Trainer(callbacks=[callback])`` and ``trainer.fit(model, ckpt_path=callback.resume_from)``.

    Args:
        at: when to report. ``"epoch"``: after each epoch (with validation data: after each one that was validated),
            which is the step. ``"validation"``: after each validation, where the step is the number of batches
            trained; for trainings of few long epochs.
    """

    def __init__(self, *, at: Literal["epoch", "validation"] = "epoch") -> None:
        if at not in ("epoch", "validation"):
            raise ValueError(f"at is 'epoch' or 'validation', not {at!r}")
        self._at = at
        self._is_validated = False
        """since the last report"""

    @property
    def resume_from(self) -> str | None:
        """The checkpoint of an earlier attempt of this trial, for ``ckpt_path``; None if there is none."""
        path = Path(script.checkpoint_dir()) / LAST
        return str(path) if path.is_file() else None

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return  # a check before the training, or trainer.validate()
        self._is_validated = True
        if self._at == "validation":
            self._report(trainer, step=trainer.global_step)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        # metrics of an earlier validation are still there, and would count as new ones
        is_new = self._is_validated or not trainer.enable_validation
        if self._at == "epoch" and is_new:
            self._report(trainer, step=trainer.current_epoch)
        self._is_validated = False

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        # with several processes each batch would need a message between them
        if trainer.world_size == 1:
            self._stop_if_asked(trainer)

    def _report(self, trainer: Any, *, step: int) -> None:
        metrics = {name: value for name, value in trainer.callback_metrics.items() if value.numel() == 1}
        if metrics and trainer.is_global_zero:
            script.report(step, metrics)
        self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: Any) -> None:
        # all processes must agree, or some would wait for the others forever
        if trainer.should_stop or not trainer.strategy.reduce_boolean_decision(script.should_stop(), all=False):
            return
        trainer.should_stop = True
        trainer.save_checkpoint(Path(script.checkpoint_dir()) / LAST)
