"""What the fused trainer needs to know of a trial. A trainer that wants to be fused writes one function for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from hpo_batch.training.fused.block import Task


class Trial(Protocol):
    """What is used of `hpo_batch.Trial`."""

    @property
    def number(self) -> int: ...
    @property
    def params(self) -> Mapping[str, Any]: ...
    @property
    def seed(self) -> int: ...
    @property
    def checkpoint(self) -> Path: ...
    @property
    def resumes(self) -> bool: ...
    @property
    def cpus(self) -> int: ...
    @property
    def device(self) -> str: ...
    def report(self, step: int, **metrics: float) -> None: ...
    def should_stop(self) -> bool: ...


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
    model: Callable[[], nn.Module]
    """a new model, drawn from torch's global generator"""
    task: Task
    val_inputs: Tensor
    """(N, ...)"""
    validate: Callable[[Tensor], dict[str, float]]
    """outputs (N, ...) -> metrics of the validation set"""
    metric: str
    """of the validation set; the best epoch has the highest"""
    rate: Callable[[int], float]
    """optimizer step, from 1 -> learning rate"""
    epochs: int
    weight_decay: float = 0.0
    grad_clip: float = 0.0
    patience: int = 0
    checkpoint_every: int = 1
    loss: Mapping[str, float] = field(default_factory=dict)
    """parameters of the loss"""
    identity: Mapping[str, object] = field(default_factory=dict)
    """what the numbers depend on, apart from the seed: a checkpoint of another identity is not continued"""
