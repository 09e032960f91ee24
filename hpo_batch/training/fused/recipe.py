"""What the fused trainer needs to know of a trial. A trainer that wants to be fused writes one function for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hpo_batch.training import loop
from hpo_batch.training.fused.block import Task, Tensors


class Trial(loop.Trial, Protocol):
    """What is used of `hpo_batch.Trial`."""

    @property
    def number(self) -> int: ...


class Trials(Protocol):
    """What is used of `hpo_batch.Trials`."""

    @property
    def cpus(self) -> int: ...
    @property
    def device(self) -> str: ...
    def take(self, at_most: int | None = None) -> Sequence[Trial]: ...
    def end(self, trial: Any, result: object) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One trial: its model, its data and how to train it. `Task` and inputs are those of the block's first trial."""

    shape: Mapping[str, object]
    """parameters that must be equal for all trials of a block"""
    kind: str = ""
    """what the shape of its model depends on besides; each kind has a block of its own"""
    model: Callable[[], nn.Module]
    """a new model, drawn from torch's global generator"""
    task: Task
    val_inputs: Tensors
    """(N, ...)"""
    validate: Callable[[Tensor], dict[str, float]]
    """outputs (N, ...) -> metrics of the validation set"""
    schedule: loop.Schedule
    rate: loop.Rate
    flop: Callable[[int], float]
    """of a training of so many epochs"""
    test_inputs: Tensors | None = None
    """None: there is no test set"""
    test: Callable[[Tensor, Mapping[str, float]], dict[str, float]] | None = None
    """outputs and the validation metrics of the best epoch -> metrics of the test set"""
    draw: Callable[[Tensor, torch.Generator], Mapping[str, Tensor]] | None = None
    """the order of an epoch's samples and the trial's generator -> `Task.drawn` of each, in this order"""
    weight_decay: float = 0.0
    grad_clip: float = 0.0
    loss: Mapping[str, float] = field(default_factory=dict)
    """parameters of the loss"""
