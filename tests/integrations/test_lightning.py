"""The callback in real trainings of Lightning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo_batch.envvars import EnvVar
from tests.integrations.conftest import Command
from tests.processes import free_port, in_processes

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _library() -> None:
    """Imported when a test runs: the other tests need not wait for it."""
    pytest.importorskip("lightning.pytorch")


def new_callback(**options: Any) -> Any:
    from hpo_batch.integrations import LightningCallback

    return LightningCallback(**options)


def new_model(command: Command, *, stop_after: int | None = None) -> Any:
    """Learns a straight line; ``command`` is told to stop after some batches."""
    import lightning.pytorch as pl

    class Line(pl.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.batches = 0

        def training_step(self, batch: Any, index: int) -> Any:
            self.batches += 1
            if self.batches == stop_after:
                command.stop()
            loss = ((self.layer(batch[0]) - batch[1]) ** 2).mean()
            self.log("train_loss", loss, on_epoch=True, on_step=False)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", ((self.layer(batch[0]) - batch[1]) ** 2).mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Line()


def data() -> Any:
    x = torch.linspace(-1, 1, 32)[:, None]
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, 2 * x), batch_size=8)  # 4 batches


def trainer(callback: Any, **options: Any) -> Any:
    import lightning.pytorch as pl

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return pl.Trainer(callbacks=[callback], enable_model_summary=False, **{"max_epochs": 3, **quiet, **options})


def test_each_epoch_is_a_step(command: Command) -> None:
    trainer(new_callback()).fit(new_model(command), data(), data())
    assert command.steps == [0, 1, 2]
    assert all(set(line) == {"step", "train_loss", "val_loss"} for line in command.reports)
    assert command.reports[2]["val_loss"] < command.reports[0]["val_loss"]


def test_it_reports_without_validation_and_not_what_was_validated_before(command: Command) -> None:
    trainer(new_callback()).fit(new_model(command), data())
    assert [set(line) for line in command.reports] == [{"step", "train_loss"}] * 3
    (command.folder / "reported.jsonl").unlink()
    trainer(new_callback(), check_val_every_n_epoch=2, max_epochs=4).fit(new_model(command), data(), data())
    assert command.steps == [1, 3]


def test_of_long_epochs_each_validation_is_a_step(command: Command) -> None:
    fit = trainer(new_callback(at="validation"), max_epochs=1, val_check_interval=2)
    fit.fit(new_model(command), data(), data())
    assert command.steps == [2, 4]


def test_a_stop_ends_the_epoch_and_the_next_attempt_goes_on(command: Command) -> None:
    callback = new_callback()
    assert callback.resume_from is None
    stopped = trainer(callback, max_epochs=5)
    stopped.fit(new_model(command, stop_after=6), data(), data())
    assert stopped.global_step == 6
    assert callback.resume_from == str(command.checkpoint / "last.ckpt")
    command.go_on()
    again = trainer(new_callback(), max_epochs=5)
    model = new_model(command)
    again.fit(model, data(), data(), ckpt_path=callback.resume_from)
    assert again.global_step == 20
    assert model.batches == 14
    assert command.steps[-1] == 4


def test_validate_alone_reports_nothing(command: Command) -> None:
    trainer(new_callback()).validate(new_model(command), data(), verbose=False)
    assert command.reports == []


def asks_the_second() -> Any:
    """A callback that asks the second process alone to stop."""
    import lightning.pytorch as pl

    class Ask(pl.Callback):  # type: ignore[misc,name-defined]
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if (trainer.current_epoch, trainer.global_rank) == (1, 1):
                Path("STOP1").touch()

    return Ask()


def how_it_ended(rank: int, port: int, command: Command) -> tuple[int, int]:
    """The training of one of two processes, which are started as torchrun does; its rank, and its last epoch."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), NODE_RANK="0", LOCAL_RANK=str(rank))
    os.environ[EnvVar.STOP_FILE] = f"STOP{rank}"  # each has one of its own
    several = trainer(new_callback(), max_epochs=6, devices=2, strategy="ddp")
    several.callbacks.insert(0, asks_the_second())
    several.fit(new_model(command), data(), data())
    return several.global_rank, several.current_epoch


def test_several_processes_stop_together_and_the_first_reports(command: Command) -> None:
    port = free_port()
    assert in_processes([(how_it_ended, rank, port, command) for rank in range(2)]) == [(0, 2), (1, 2)]
    assert command.steps == [0, 1]
    assert (command.checkpoint / "last.ckpt").is_file()
