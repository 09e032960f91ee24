"""The loop behind every `train_many`: trials enter free slots, train in lockstep, and leave each on its own.

A trial gives the same numbers whoever shares its block: to about 1e-6 those that it would give alone with a dropout of
0, and with dropout those of other masks at the same rates.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hpo_batch.training import checkpoint, loop
from hpo_batch.training.device import peak_memory_mb
from hpo_batch.training.fused.block import Block, Epoch
from hpo_batch.training.fused.recipe import Recipe, Trial, Trials

log = logging.getLogger(__name__)

# of the checkpoints; another version is not continued
FORMAT = "fused-1"

MakeRecipe = Callable[[Trial], Recipe]


def train_trials(trials: Trials, recipe: MakeRecipe, *, device: torch.device) -> None:
    """Train all that `trials` hands out; each ends with the metrics of its best epoch, with None, or with its error.

    Args:
        trials: of one shape.
        recipe: raises ValueError for parameters that cannot be trained, which costs that trial only.
        device: to train on.
    """
    run = _Run(trials, recipe, device)
    while run.fill():
        run.epoch()


@dataclass(kw_only=True, eq=False)
class _Slot:
    """A trial in a slot, between two epochs."""

    trial: Trial
    recipe: Recipe
    order: torch.Generator
    epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    best_row: Tensor | None = None
    stale_epochs: int = 0
    seconds: float = 0.0
    """its share of the time: that of an epoch divided by the trials in it"""

    @property
    def is_finished(self) -> bool:
        schedule = self.recipe.schedule
        return self.epoch >= schedule.epochs or 0 < schedule.patience <= self.stale_epochs

    @property
    def identity(self) -> dict[str, object]:
        return {**self.recipe.identity, "seed": self.trial.seed, "format": FORMAT}

    def next_epoch(self) -> Epoch:
        recipe, n_steps = self.recipe, self.recipe.task.n_steps
        first = self.epoch * n_steps + 1
        self.epoch += 1
        order = torch.randperm(recipe.task.n_train, generator=self.order)
        return Epoch(
            order=order,
            drawn={} if recipe.draw is None else recipe.draw(order, self.order),
            learning_rates=[recipe.rate.at(step) for step in range(first, first + n_steps)],
            seed=self.trial.seed,
            number=self.epoch,
            weight_decay=recipe.weight_decay,
            grad_clip=recipe.grad_clip,
            loss=recipe.loss,
        )

    def state(self, rows: dict[str, Tensor]) -> dict[str, Any]:
        """Everything to continue from, on the CPU."""
        return {
            "identity": self.identity,
            **rows,
            "order": self.order.get_state(),
            "epoch": self.epoch,
            "best": self.best,
            "best_row": self.best_row,
            "stale_epochs": self.stale_epochs,
            "seconds": self.seconds,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.order.set_state(state["order"])
        for name in ("epoch", "best", "best_row", "stale_epochs", "seconds"):
            setattr(self, name, state[name])


class _Run:
    """The slots of one call of `train_many`."""

    def __init__(self, trials: Trials, recipe: MakeRecipe, device: torch.device) -> None:
        self._trials = trials
        self._recipe = recipe
        self._device = device
        self._block: Block | None = None
        self._slots: list[_Slot | None] = []

    @property
    def _live(self) -> list[tuple[int, _Slot]]:
        return [(i, slot) for i, slot in enumerate(self._slots) if slot is not None]

    def fill(self) -> bool:
        """Put new trials into free slots; whether there is anything to train."""
        while True:
            if self._block is None:
                taken = self._trials.take()
                self._slots = [None] * len(taken)
            else:
                taken = self._trials.take(self._slots.count(None))
            for trial in taken:
                try:
                    self._admit(trial)
                except (ValueError, RuntimeError) as error:
                    if isinstance(error, torch.OutOfMemoryError):
                        raise
                    self._trials.end(trial, error)
            if not taken or None not in self._slots:
                break  # no trial is left, or no slot is free; else those that were refused leave room for others
        if self._live:
            self._shrink()
        return bool(self._live)

    def epoch(self) -> None:
        """Train every slot for an epoch, and let each trial report, save and end."""
        assert self._block is not None
        began = time.perf_counter()
        live = self._live
        n_steps = self._block.task.n_steps
        done = [0 if slot is None else slot.epoch * n_steps for slot in self._slots]
        losses = self._block.train([None if slot is None else slot.next_epoch() for slot in self._slots], done)
        outputs = self._block.predict(live[0][1].recipe.val_inputs)
        share = (time.perf_counter() - began) / len(live)
        for i, slot in live:
            slot.seconds += share
            try:
                is_over, result = self._after_epoch(i, slot, losses[i], outputs[i])
            except FloatingPointError as error:
                is_over, result = True, error
            if is_over:
                self._slots[i] = None
                self._trials.end(slot.trial, result)

    def _admit(self, trial: Trial) -> None:
        """Give a trial a free slot.

        Raises:
            ValueError: it does not fit into this block, or its parameters are invalid.
        """
        recipe = self._recipe(trial)
        torch.manual_seed(trial.seed)
        model = recipe.model().to(self._device)
        if self._block is None:
            k = len(self._slots)
            self._block = Block(recipe.task, model, k, device=self._device, loss_names=tuple(recipe.loss))
            self._shape = recipe.shape
        different = [name for name, value in recipe.shape.items() if self._shape.get(name) != value]
        if different:
            values = ", ".join(f"{name} = {recipe.shape[name]} (not {self._shape.get(name)})" for name in different)
            raise ValueError(f"trial {trial.number} is of another shape than those it would be trained with: {values}")
        slot = _Slot(trial=trial, recipe=recipe, order=torch.Generator().manual_seed(trial.seed))
        i = self._slots.index(None)
        self._block.stack.put(i, model)
        state = checkpoint.load(trial.checkpoint) if trial.resumes else None
        if state is not None and state.get("identity") == slot.identity:
            self._block.stack.set_state(i, state)
            slot.set_state(state)
        elif state is not None:
            log.warning(
                "trial %d: training from the start: the checkpoint in '%s' is of other parameters, of another seed, or "
                "of a trial that was trained alone", trial.number, trial.checkpoint,
            )  # fmt: skip
        if slot.is_finished:  # killed between its last checkpoint and its end
            self._trials.end(trial, self._result(i, slot))
            return
        self._slots[i] = slot

    def _after_epoch(self, i: int, slot: _Slot, losses: Tensor, outputs: Tensor) -> tuple[bool, object]:
        """Whether a trial is over, and its result."""
        assert self._block is not None
        recipe, trial, epoch = slot.recipe, slot.trial, slot.epoch
        train_loss = loop.mean_loss(losses.tolist(), self._block.weights[i].tolist(), epoch=epoch)
        if not outputs.isfinite().all():
            raise FloatingPointError(f"a prediction on the validation set is not finite after epoch {epoch}")
        metrics = recipe.validate(outputs)
        name, value = recipe.schedule.metric, metrics[recipe.schedule.metric]
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value} after epoch {epoch}")
        if not slot.best or value > slot.best[name]:
            slot.best = {**metrics, "best_epoch": epoch}
            slot.best_row = self._block.stack.weights(i)
            slot.stale_epochs = 0
        else:
            slot.stale_epochs += 1
        log.info(
            "trial %d, epoch %d of %d: train_loss %.4f, %s %.4f (best %.4f in epoch %d)",
            trial.number, epoch, recipe.schedule.epochs, train_loss, name, value, slot.best[name],
            slot.best["best_epoch"],
        )  # fmt: skip
        trial.report(epoch, **loop.reported(metrics), train_loss=train_loss)
        is_due = slot.is_finished or epoch % recipe.schedule.checkpoint_every == 0
        is_stopped = not slot.is_finished and trial.should_stop()
        if is_due or is_stopped:
            checkpoint.save(trial.checkpoint, epoch, slot.state(self._block.stack.state(i)))
        if is_stopped:
            return True, None
        return (True, self._result(i, slot)) if slot.is_finished else (False, None)

    def _result(self, i: int, slot: _Slot) -> dict[str, float]:
        assert self._block is not None
        return {
            **slot.best,
            **self._test(i, slot),
            "epochs_run": slot.epoch,
            "n_params": self._block.stack.rows.shape[1],
            # of all that the process trains together
            "peak_memory_mb": peak_memory_mb(self._device),
            "seconds": slot.seconds,
            "seconds_per_epoch": slot.seconds / slot.epoch,
            "flop": slot.recipe.flop(slot.epoch),
        }

    def _test(self, i: int, slot: _Slot) -> dict[str, float]:
        """Metrics of the test set, with the weights of the best epoch."""
        recipe, block = slot.recipe, self._block
        if recipe.test is None or recipe.test_inputs is None or block is None or slot.best_row is None:
            return {}
        last = block.stack.weights(i)
        block.stack.set_weights(i, slot.best_row)
        outputs = block.predict(recipe.test_inputs)[i]
        block.stack.set_weights(i, last)
        return recipe.test(outputs, slot.best)

    def _shrink(self) -> None:
        """Move to a smaller block once at most half of the slots are in use: no trial came for the others."""
        assert self._block is not None
        live = self._live
        if 2 * len(live) > len(self._slots):
            return
        old, first = self._block, live[0][1]
        model = first.recipe.model()
        block = Block(old.task, model, len(live), device=self._device, loss_names=tuple(first.recipe.loss))
        for new, (i, slot) in enumerate(live):
            block.stack.rate(new, slot.recipe.model())
            block.stack.set_state(new, old.stack.state(i))
        self._block, self._slots = block, [slot for _, slot in live]
