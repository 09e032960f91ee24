"""The callback in real trainings of the Hugging Face Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.integrations.conftest import Command
from tests.processes import in_processes

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _library() -> None:
    """Imported when a test runs: the other tests need not wait for it."""
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")


def new_callback() -> Any:
    from hpo_batch.integrations import HuggingFaceCallback

    return HuggingFaceCallback()


class Line(torch.nn.Module):
    def __init__(self, command: Command, *, stop_after: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.told, self.stop_after, self.steps = command, stop_after, 0

    def forward(self, x: Any, labels: Any) -> dict[str, Any]:
        if self.training:
            self.steps += 1
            if self.steps == self.stop_after:
                self.told.stop()
        predicted = self.layer(x)
        return {"loss": ((predicted - labels) ** 2).mean(), "logits": predicted}


def trainer(model: Line, callback: Any, command: Command, **options: Any) -> Any:
    import transformers

    values = torch.linspace(-1, 1, 32)
    rows = [{"x": value[None], "labels": 2 * value[None]} for value in values]
    given = {"num_train_epochs": 3, "eval_strategy": "epoch", "save_strategy": "no", **options}
    arguments = transformers.TrainingArguments(
        output_dir=str(command.checkpoint), per_device_train_batch_size=8, report_to=[], use_cpu=True,
        disable_tqdm=True, learning_rate=0.1, **given,
    )  # fmt: skip
    return transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, eval_dataset=rows, callbacks=[callback]
    )


def test_each_evaluation_is_a_report(command: Command) -> None:
    trainer(Line(command), new_callback(), command).train()
    assert command.steps == [1, 2, 3]
    assert command.reports[2]["eval_loss"] < command.reports[0]["eval_loss"]
    assert "epoch" not in command.reports[0]


def test_by_steps_they_are_the_steps(command: Command) -> None:
    trainer(Line(command), new_callback(), command, eval_strategy="steps", eval_steps=4).train()
    assert command.steps == [4, 8, 12]


def test_a_stop_saves_and_the_next_attempt_goes_on(command: Command) -> None:
    callback = new_callback()
    assert callback.resume_from is None
    trainer(Line(command, stop_after=6), callback, command).train()
    assert callback.resume_from == str(command.checkpoint / "checkpoint-6")
    command.go_on()
    model = Line(command)
    again = trainer(model, new_callback(), command)
    again.train(resume_from_checkpoint=callback.resume_from)
    assert (again.state.global_step, model.steps) == (12, 6)
    assert command.steps == [1, 2, 3] or command.steps == [1, 2, 2, 3]


def answers(meeting: Path, rank: int) -> tuple[bool, bool]:
    from hpo_batch.integrations.hugging_face import _any_process

    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    found = _any_process(rank == 1), _any_process(False)
    dist.destroy_process_group()
    return found


def test_all_processes_stop_if_one_is_asked_to(tmp_path: Path) -> None:
    import hpo_batch.integrations.hugging_face  # noqa: F401  # once here, not in each of the processes

    assert in_processes([(answers, tmp_path / "meet", rank) for rank in range(2)]) == [(True, False)] * 2
