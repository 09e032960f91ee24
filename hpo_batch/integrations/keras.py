"""A callback for Keras 3, with any backend (https://keras.io/api/callbacks/)."""

from __future__ import annotations

from typing import Any

import keras

from hpo_batch import script


class KerasCallback(keras.callbacks.Callback):
    """Reports the logs of each epoch, and ends the training when the trial is to stop: ``model.fit(callbacks=[...])``.

    It saves nothing. ``keras.callbacks.BackupAndRestore(hpo_batch.checkpoint_dir(), delete_checkpoint=False)`` does,
    and continues where the last attempt ended.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs:
            script.report(epoch, logs)
        self._stop_if_asked()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if script.should_stop():
            self.model.stop_training = True
