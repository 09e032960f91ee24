"""The callback in real trainings of Keras, on torch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from tests.integrations.conftest import Command

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
from hpo_batch.integrations.keras import KerasCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def fit(*callbacks: Any, epochs: int = 3) -> Any:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    x = np.linspace(-1, 1, 32)[:, None]
    return model.fit(
        x, 2 * x, batch_size=8, epochs=epochs, validation_data=(x, 2 * x), callbacks=list(callbacks), verbose=0
    )


class StopAfter(keras.callbacks.Callback):  # type: ignore[misc,name-defined]
    def __init__(self, command: Command, epoch: int) -> None:
        super().__init__()
        self.told, self.at = command, epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.at:
            self.told.stop()


def test_each_epoch_is_a_step(command: Command) -> None:
    fit(KerasCallback())
    assert command.steps == [0, 1, 2]
    assert set(command.reports[0]) == {"step", "loss", "val_loss"}
    assert command.reports[2]["val_loss"] < command.reports[0]["val_loss"]


def test_it_stops_and_with_backups_the_next_attempt_goes_on(command: Command) -> None:
    backup = keras.callbacks.BackupAndRestore(str(command.checkpoint), delete_checkpoint=False)
    history = fit(backup, StopAfter(command, 2), KerasCallback(), epochs=6)
    assert history.epoch == [0, 1, 2]
    command.go_on()
    backup = keras.callbacks.BackupAndRestore(str(command.checkpoint), delete_checkpoint=False)
    assert fit(backup, KerasCallback(), epochs=6).epoch == [3, 4, 5]
    assert command.steps == [0, 1, 2, 3, 4, 5]
