"""A callback for the Trainer of Hugging Face (https://huggingface.co/docs/transformers/main_classes/callback)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy

from hpo_batch import script


class HuggingFaceCallback(TrainerCallback):
    """Reports each evaluation, and ends the training with a checkpoint when the trial is to stop.

    Metrics are called as the Trainer calls them: ``eval_loss``. The step of a report is the epoch, or with
    ``eval_strategy="steps"`` the number of steps. Write checkpoints where the next attempt finds them:
    ``TrainingArguments(output_dir=hpo_batch.checkpoint_dir(), ...)``, and
    ``trainer.train(resume_from_checkpoint=callback.resume_from)``. Works for Trainers built on it, as those of TRL.
    """

    def __init__(self) -> None:
        self._has_reported = False
        self._is_cut_short = False

    @property
    def resume_from(self) -> str | None:
        """The newest whole checkpoint of an earlier attempt of this trial; None if there is none."""
        folders = [one for one in script.checkpoint_dir().glob("checkpoint-*") if re.fullmatch(r".*-\d+", one.name)]
        newest = sorted(folders, key=lambda one: int(one.name.rpartition("-")[2]), reverse=True)
        return next((str(one) for one in newest if _is_whole(one)), None)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # the state names the best checkpoint by its path in an earlier attempt's folder; it has come along
        best = Path(state.best_model_checkpoint or f"checkpoint-{getattr(state, 'best_global_step', None)}").name
        here = Path(args.output_dir) / best
        if here.is_dir():
            state.best_model_checkpoint = str(here)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **_: Any) -> Any:
        self._report(args, state, metrics or {}, step=state.global_step, epoch=state.epoch)
        return self._stop_if_asked(state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # an attempt that was killed after its last checkpoint leaves the next one nothing to train or to evaluate
        evaluated = [one for one in state.log_history if any(name.startswith("eval_") for name in one)]
        if evaluated and not self._has_reported and not self._is_cut_short:
            self._report(args, state, evaluated[-1], step=evaluated[-1]["step"], epoch=evaluated[-1].get("epoch"))

    def _report(self, args: Any, state: Any, metrics: dict[str, Any], *, step: int, epoch: float | None) -> None:
        named = {name: value for name, value in metrics.items() if name not in ("epoch", "step")}
        numbers = {name: value for name, value in named.items() if _is_number(value)}
        by_steps = args.eval_strategy == IntervalStrategy.STEPS
        has_step = by_steps or not self._is_within_epoch(epoch)
        if numbers and state.is_world_process_zero and has_step:
            script.report(step if by_steps else round(epoch or 0), numbers)
            self._has_reported = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        # with several processes each step would need a message between them
        return control if args.world_size > 1 else self._stop_if_asked(state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self._is_within_epoch(state.epoch):  # saved already; an evaluation takes time
            control.should_evaluate = control.should_save = False
        return control

    def _is_within_epoch(self, epoch: float | None) -> bool:
        """Whether the training was cut short in the middle of an epoch, whose number no report may bear."""
        return self._is_cut_short and abs((epoch or 0) - round(epoch or 0)) > 1e-6

    def _stop_if_asked(self, state: Any, control: Any) -> Any:
        if _any_process(script.should_stop()) and state.global_step < state.max_steps:
            self._is_cut_short = True
            control.should_training_stop = True
            control.should_save = True
        return control


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, where the Trainer's own state stands."""
    try:
        return isinstance(json.loads((checkpoint / "trainer_state.json").read_bytes()), dict)
    except (OSError, ValueError):
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _any_process(answer: bool) -> bool:
    """Whether the answer is yes in any process: all must agree, or some would wait for the others forever."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return answer
    # NCCL takes tensors on GPUs only
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    agreed = torch.tensor(int(answer), device=device)
    torch.distributed.all_reduce(agreed, op=torch.distributed.ReduceOp.MAX)
    return bool(agreed.item())
