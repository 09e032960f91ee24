"""The loop behind every `train_many`: trials enter free slots, train in lockstep, and leave each on its own.

A trial gives the same numbers whoever shares its block: to about 1e-6 those that it would give alone with a dropout of
0, and with dropout those of other masks at the same rates.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hpo_batch.text.names import listed
from hpo_batch.training import loop
from hpo_batch.training.device import is_out_of_memory, peak_memory_mb
from hpo_batch.training.fused.block import Block, Task
from hpo_batch.training.fused.recipe import Recipe, Trial, Trials
from hpo_batch.training.fused.slot import Slot

log = logging.getLogger(__name__)

MakeRecipe = Callable[[Trial], Recipe]
New = tuple[Trial, Recipe]
"""a trial that has no slot yet"""
Made = TypeVar("Made")


def train_trials(trials: Trials, recipe: MakeRecipe, *, device: torch.device) -> None:
    """Train all that `trials` hands out; each ends with the metrics of its best epoch, with None, or with its error.

    Args:
        trials: of one shape.
        recipe: what it raises costs that trial only, unless memory is short.
        device: to train on.
    """
    run = _Run(trials, recipe, device)
    while run.fill():
        run.epoch()


class _Run:
    """The blocks of one call of `train_many`: one, unless its trials are of several kinds."""

    def __init__(self, trials: Trials, recipe: MakeRecipe, device: torch.device) -> None:
        self._trials = trials
        self._recipe = recipe
        self._device = device
        self._blocks: list[_Lockstep] = []
        self._shape: Mapping[str, object] | None = None
        """of the first trial"""

    def fill(self) -> bool:
        """Put new trials into free slots; whether there is anything to train."""
        is_open = True
        while is_open:
            taken = self._trials.take(sum(block.free for block in self._blocks) if self._blocks else None)
            self._admit([(trial, recipe) for trial in taken if (recipe := self._try(self._recipe, trial)) is not None])
            # those that were refused leave room for others
            is_open = bool(taken) and (not self._blocks or any(block.free for block in self._blocks))
        self._drop_empty()
        for block in self._blocks:
            block.shrink()
        return bool(self._blocks)

    def _drop_empty(self) -> None:
        self._blocks = [block for block in self._blocks if block.live]

    def epoch(self) -> None:
        """Train every trial for an epoch, and let each report, save and end."""
        for block in self._blocks:
            block.epoch()

    def _try(self, make: Callable[..., Made], trial: Trial, *args: Any) -> Made | None:
        """What is made for a trial; None if that fails, which ends the trial."""
        try:
            return make(trial, *args)
        except Exception as error:
            if is_out_of_memory(error):  # there may be enough for fewer of them
                raise
            log.warning("trial %d cannot be trained: %s: %s", trial.number, type(error).__name__, error)
            self._trials.end(trial, error)
            return None

    def _admit(self, found: Sequence[New]) -> None:
        """Give trials slots: free ones in blocks of their kind, else new blocks."""
        rest: list[New] = []
        for trial, recipe in found:
            block = next((one for one in self._blocks if one.kind == recipe.kind and one.free), None)
            if block is None:
                rest.append((trial, recipe))
            elif (slot := self._try(self._slot, trial, recipe)) is not None:
                block.put(*slot)
        if rest:
            self._drop_empty()  # frees their memory
        for _, same in groupby(sorted(rest, key=_kind), key=_kind):
            self._begin(list(same))

    def _begin(self, found: Sequence[New]) -> None:
        """Begin a block with trials of one kind."""
        block: _Lockstep | None = None
        for trial, recipe in found:
            slot = self._try(self._slot, trial, recipe)
            if slot is not None and block is None:
                block = self._try(self._block, trial, *slot, len(found))
            if slot is not None and block is not None:
                block.put(*slot)
        if block is not None:
            if self._blocks:
                numbers = listed(trial.number for trial, _ in found)
                log.info("a block of their own, beside the others: trials %s, of models %s", numbers, block.kind)
            self._blocks.append(block)

    def _slot(self, trial: Trial, recipe: Recipe) -> tuple[Slot, nn.Module]:
        shape = recipe.shape if self._shape is None else self._shape
        if different := [name for name, value in recipe.shape.items() if shape.get(name) != value]:
            values = ", ".join(f"{name} = {recipe.shape[name]} (not {shape.get(name)})" for name in different)
            raise ValueError(f"trial {trial.number} is of another shape than those it would be trained with: {values}")
        return Slot.of(trial, recipe)

    def _block(self, _trial: Trial, slot: Slot, model: nn.Module, k: int) -> _Lockstep:
        block = _Lockstep(self._trials, slot.recipe, model, k, device=self._device)
        self._shape = self._shape or slot.recipe.shape
        return block


def _kind(new: New) -> str:
    return new[1].kind


class _Lockstep:
    """Slots that train together as one model."""

    def __init__(self, trials: Trials, recipe: Recipe, model: nn.Module, k: int, *, device: torch.device) -> None:
        self._trials = trials
        self._device = device
        self.kind = recipe.kind
        self._slots: list[Slot | None] = [None] * k
        self._block = _block(recipe, model, k, device)

    @property
    def live(self) -> list[tuple[int, Slot]]:
        return [(i, slot) for i, slot in enumerate(self._slots) if slot is not None]

    @property
    def free(self) -> int:
        return self._slots.count(None)

    def put(self, slot: Slot, model: nn.Module) -> None:
        """Give a trial a free slot, and bring it to its newest checkpoint."""
        i = self._slots.index(None)
        self._block.stack.put(i, model)
        if slot.trial.resumes:
            try:
                slot.restore(self._block.stack, i)
            except Exception as error:  # a file that cannot be read must not cost the others their epoch
                log.warning("trial %d: its checkpoint cannot be continued: %r", slot.trial.number, error)
                slot, model = Slot.of(slot.trial, slot.recipe)
                self._block.stack.put(i, model)
        if slot.is_finished:  # killed between its last checkpoint and its end
            self._trials.end(slot.trial, self._result(i, slot))
            return
        self._slots[i] = slot

    def epoch(self) -> None:
        began = time.perf_counter()
        live = self.live
        done = [0 if slot is None else slot.steps for slot in self._slots]
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

    def shrink(self) -> None:
        """Move to a smaller block once at most half of the slots are in use: no trial came for the others."""
        live = self.live
        if 2 * len(live) > len(self._slots):
            return
        old = self._block
        self._block = _block(live[0][1].recipe, live[0][1].recipe.model(), len(live), self._device, task=old.task)
        for new, (i, slot) in enumerate(live):
            self._block.stack.rate(new, slot.recipe.model())
            self._block.stack.set_state(new, old.stack.state(i))
        self._slots = [slot for _, slot in live]

    def _after_epoch(self, i: int, slot: Slot, losses: Tensor, outputs: Tensor) -> tuple[bool, object]:
        """Whether a trial is over, and its result."""
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
            slot.save(self._block.stack, i)
        if is_stopped:
            return True, None
        return (True, self._result(i, slot)) if slot.is_finished else (False, None)

    def _result(self, i: int, slot: Slot) -> dict[str, float]:
        loop.warn_of_collapse(slot.best, prefix=f"trial {slot.trial.number}: ")
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

    def _test(self, i: int, slot: Slot) -> dict[str, float]:
        """Metrics of the test set, with the weights of the best epoch."""
        recipe, block = slot.recipe, self._block
        if recipe.test is None or recipe.test_inputs is None or slot.best_row is None:
            return {}
        last = block.stack.weights(i)
        block.stack.set_weights(i, slot.best_row)
        outputs = block.predict(recipe.test_inputs)[i]
        block.stack.set_weights(i, last)
        return recipe.test(outputs, slot.best)


def _block(recipe: Recipe, model: nn.Module, k: int, device: torch.device, *, task: Task | None = None) -> Block:
    return Block(task or recipe.task, model, k, device=device, loss_names=tuple(recipe.loss))
