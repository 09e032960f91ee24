"""The callback in real trainings of Keras, on torch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from tests.integrations.conftest import Command

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _library() -> None:
    """Imported when a test runs: the other tests need not wait for it."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("keras")


def callback() -> Any:
    from hpo_batch.integrations import KerasCallback

    return KerasCallback()


def fit(*callbacks: Any, epochs: int = 3) -> Any:
    import keras

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    x = np.linspace(-1, 1, 32)[:, None]
    return model.fit(
        x, 2 * x, batch_size=8, epochs=epochs, validation_data=(x, 2 * x), callbacks=list(callbacks), verbose=0
    )


def stop_after(command: Command, at: int) -> Any:
    import keras

    class StopAfter(keras.callbacks.Callback):  # type: ignore[misc,name-defined]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == at:
                command.stop()

    return StopAfter()


def test_each_epoch_is_a_step(command: Command) -> None:
    fit(callback())
    assert command.steps == [0, 1, 2]
    assert set(command.reports[0]) == {"step", "loss", "val_loss"}
    assert command.reports[2]["val_loss"] < command.reports[0]["val_loss"]


def test_it_stops_and_with_backups_the_next_attempt_goes_on(command: Command) -> None:
    import keras

    backup = keras.callbacks.BackupAndRestore(str(command.checkpoint), delete_checkpoint=False)
    history = fit(backup, stop_after(command, 2), callback(), epochs=6)
    assert history.epoch == [0, 1, 2]
    command.go_on()
    backup = keras.callbacks.BackupAndRestore(str(command.checkpoint), delete_checkpoint=False)
    assert fit(backup, callback(), epochs=6).epoch == [3, 4, 5]
    assert command.steps == [0, 1, 2, 3, 4, 5]
