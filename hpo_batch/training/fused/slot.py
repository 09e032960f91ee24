"""A trial in a slot of a block, between two epochs; its checkpoint is that of a trial that is trained alone.

So whoever continues it, a block or `train`, finds the same weights, moments, order of the data and best epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hpo_batch.training import optimizers
from hpo_batch.training.checkpoint import Checkpoint, Part
from hpo_batch.training.fused.block import Epoch
from hpo_batch.training.fused.masks import epoch_seed
from hpo_batch.training.fused.recipe import Recipe, Trial
from hpo_batch.training.fused.stack import Stack, constants

log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class Slot:
    trial: Trial
    recipe: Recipe
    order: torch.Generator
    constants: dict[str, Tensor]
    """what the `state_dict` of its model has besides parameters and running statistics"""
    groups: list[dict[str, Any]]
    """the parameter groups of the optimizer that it would have alone"""
    epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    best_row: Tensor | None = None
    """as `Stack.weights`"""
    stale_epochs: int = 0
    seconds: float = 0.0
    """its share of the time: that of an epoch divided by the trials in it"""

    @classmethod
    def of(cls, trial: Trial, recipe: Recipe) -> tuple[Slot, nn.Module]:
        """A trial before its first epoch, and its model.

        Raises:
            ValueError: there is no such model.
        """
        torch.manual_seed(trial.seed)
        model = recipe.model()
        alone = optimizers.make(
            model,
            is_adam=recipe.task.is_adam,
            rate=recipe.rate.peak,
            weight_decay=recipe.weight_decay,
            decays=recipe.task.decays,
        )
        slot = cls(
            trial=trial,
            recipe=recipe,
            order=torch.Generator().manual_seed(trial.seed),
            constants=constants(model),
            groups=alone.state_dict()["param_groups"],
        )
        return slot, model

    @property
    def is_finished(self) -> bool:
        schedule = self.recipe.schedule
        return self.epoch >= schedule.epochs or 0 < schedule.patience <= self.stale_epochs

    @property
    def steps(self) -> int:
        """How many have been done."""
        return self.epoch * self.recipe.task.n_steps

    def next_epoch(self) -> Epoch:
        recipe, n_steps = self.recipe, self.recipe.task.n_steps
        first = self.steps + 1
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

    def save(self, stack: Stack, at: int) -> None:
        """Write what to continue from; the trial is in slot `at` of the stack."""
        # A trial that goes on alone draws its dropout from these: by its seed, not by what the block did last.
        torch.manual_seed(epoch_seed(self.trial.seed, self.epoch))
        assert self.best_row is not None
        values = {
            "best": self.best,
            "best_model": self._model(stack, at).of(self.best_row),
            "stale_epochs": self.stale_epochs,
            "seconds": self.seconds,
        }
        self._checkpoint(stack, at).save(self.epoch, values)

    def restore(self, stack: Stack, at: int) -> None:
        """Bring the trial and its slot to the newest checkpoint, if there is one to continue."""
        saved = self._checkpoint(stack, at).restore()
        if saved is None:
            return
        self.best_row = self._model(stack, at).flat(saved.pop("best_model"))
        for name, value in saved.items():
            setattr(self, name, value)
        log.info("trial %d: continuing after epoch %d", self.trial.number, self.epoch)

    def _checkpoint(self, stack: Stack, at: int) -> Checkpoint:
        parts: dict[str, Part] = {
            "model": self._model(stack, at),
            "optimizer": _Moments(self, stack, at),
            "order": self.order,
        }
        return Checkpoint(self.trial.checkpoint, {**self.trial.params, "seed": self.trial.seed}, parts)

    def _model(self, stack: Stack, at: int) -> _Model:
        return _Model(self, stack, at)


@dataclass(frozen=True)
class _Model:
    """A slot's model with the `state_dict` of a single one."""

    slot: Slot
    stack: Stack
    at: int

    def of(self, weights: Tensor) -> dict[str, Tensor]:
        """A `state_dict` of weights as `Stack.weights` has them."""
        return {**self.slot.constants, **self.stack.named(weights)}

    def flat(self, state: Mapping[str, Tensor]) -> Tensor:
        return self.stack.flat(state)

    def state_dict(self) -> dict[str, Tensor]:
        return self.of(self.stack.weights(self.at))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stack.set_weights(self.at, self.flat(state))


@dataclass(frozen=True)
class _Moments:
    """A slot's moments with the `state_dict` of the optimizer that a single model has."""

    slot: Slot
    stack: Stack
    at: int

    def state_dict(self) -> dict[str, Any]:
        stack = self.stack
        moments = [stack.named(moment[self.at].cpu().clone()).values() for moment in (stack.mean, stack.square)]
        # one number each: an optimizer counts in place
        steps = torch.full((len(stack.places),), float(self.slot.steps)).unbind()
        keys = ("step", "exp_avg", "exp_avg_sq")
        each = [dict(zip(keys, values, strict=True)) for values in zip(steps, *moments, strict=True)]
        return {"state": dict(enumerate(each)), "param_groups": self.slot.groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        each: Sequence[Mapping[str, Tensor]] = [state["state"][i] for i in range(len(self.stack.places))]
        for moment, key in ((self.stack.mean, "exp_avg"), (self.stack.square, "exp_avg_sq")):
            moment[self.at].copy_(torch.cat([one[key].flatten() for one in each]))
