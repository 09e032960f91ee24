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
    assert command.steps == [1, 2, 3]


def test_half_an_epoch_is_not_evaluated_at_a_stop(command: Command) -> None:
    cut = trainer(Line(command, stop_after=6), new_callback(), command, save_strategy="epoch")
    cut.train()
    cut.evaluate()  # as many scripts do in the end
    assert command.steps == [1]
    assert {one.name for one in command.checkpoint.iterdir()} == {"checkpoint-4", "checkpoint-6"}


def test_a_stop_at_the_end_of_an_epoch_leaves_its_evaluation(command: Command) -> None:
    trainer(Line(command, stop_after=8), new_callback(), command).train()
    assert command.steps == [1, 2]


def test_a_stop_at_the_last_step_leaves_a_result(command: Command) -> None:
    trainer(Line(command, stop_after=12), new_callback(), command).train()
    assert command.steps == [1, 2, 3]


def test_a_checkpoint_that_was_being_written_is_passed_over(command: Command) -> None:
    trainer(Line(command), new_callback(), command, save_strategy="epoch").train()
    newest = command.checkpoint / "checkpoint-12"
    (newest / "trainer_state.json").write_text("{")
    assert new_callback().resume_from == str(command.checkpoint / "checkpoint-8")
    (newest / "trainer_state.json").unlink()
    assert new_callback().resume_from == str(command.checkpoint / "checkpoint-8")


def moved(command: Command) -> None:
    """What the next attempt finds: the checkpoints, in a folder of its own."""
    old = command.checkpoint.rename(command.folder / "old")
    old.rename(command.checkpoint)
    for state in command.checkpoint.glob("*/trainer_state.json"):
        state.write_text(state.read_text().replace(str(command.checkpoint), "/attempts/1/checkpoint"))


def test_an_attempt_with_nothing_left_to_train_reports_what_was_evaluated(command: Command) -> None:
    trainer(Line(command), new_callback(), command, save_strategy="epoch").train()
    first = command.reports[-1]
    moved(command)
    callback = new_callback()
    again = trainer(Line(command), callback, command, save_strategy="epoch")
    again.train(resume_from_checkpoint=callback.resume_from)
    assert command.steps == [1, 2, 3, 3]
    assert command.reports[-1]["eval_loss"] == first["eval_loss"]


def test_the_best_checkpoint_of_an_earlier_attempt_is_loaded_at_the_end(command: Command) -> None:
    options = {"save_strategy": "epoch", "save_total_limit": 1, "load_best_model_at_end": True}
    options |= {"metric_for_best_model": "eval_loss", "greater_is_better": True}  # which is the first epoch
    trainer(Line(command, stop_after=6), new_callback(), command, **options).train()
    command.go_on()
    moved(command)
    callback, model = new_callback(), Line(command)
    again = trainer(model, callback, command, **options)
    again.train(resume_from_checkpoint=callback.resume_from)
    assert again.state.best_model_checkpoint == str(command.checkpoint / "checkpoint-4")
    assert again.evaluate()["eval_loss"] == max(one["eval_loss"] for one in command.reports)


def answers(meeting: Path, rank: int) -> tuple[bool, bool]:
    from hpo_batch.integrations.hugging_face import _any_process

    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    found = _any_process(rank == 1), _any_process(False)
    dist.destroy_process_group()
    return found


def test_all_processes_stop_if_one_is_asked_to(tmp_path: Path) -> None:
    import hpo_batch.integrations.hugging_face  # noqa: F401  # once here, not in each of the processes

    assert in_processes([(answers, tmp_path / "meet", rank) for rank in range(2)]) == [(True, False)] * 2
