"""A callback for the Trainer of Hugging Face (https://huggingface.co/docs/transformers/main_classes/callback)."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy, get_last_checkpoint

from hpo_batch import script


class HuggingFaceCallback(TrainerCallback):
    """Reports each evaluation, and ends the training with a checkpoint when the trial is to stop.

    Metrics are called as the Trainer calls them: ``eval_loss``. The step of a report is the epoch, or with
    ``eval_strategy="steps"`` the number of steps. Write checkpoints where the next attempt finds them:
    ``TrainingArguments(output_dir=hpo_batch.checkpoint_dir(), ...)``, and
    ``trainer.train(resume_from_checkpoint=callback.resume_from)``. Works for Trainers built on it, as those of TRL.
    """

    @property
    def resume_from(self) -> str | None:
        """The newest checkpoint of an earlier attempt of this trial; None if there is none."""
        newest: str | None = get_last_checkpoint(str(script.checkpoint_dir()))
        return newest

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **_: Any) -> Any:
        numbers = {name: value for name, value in (metrics or {}).items() if _is_number(value) and name != "epoch"}
        by_steps = args.eval_strategy == IntervalStrategy.STEPS
        if numbers and state.is_world_process_zero:
            script.report(state.global_step if by_steps else round(state.epoch or 0), numbers)
        return self._stop_if_asked(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        # with several processes each step would need a message between them
        return control if args.world_size > 1 else self._stop_if_asked(control)

    def _stop_if_asked(self, control: Any) -> Any:
        if _any_process(script.should_stop()):
            control.should_training_stop = True
            control.should_save = True
        return control


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
