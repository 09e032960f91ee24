"""What a worker needs for every trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hpo_batch.objective.load import Objective
from hpo_batch.worker.resources import Place
from hpo_batch.worker.signals import Signals
from hpo_batch.worker.tally import Tally
from hpo_batch.worker.usage import Meter
from hpo_batch.worker.walltime import NParams

if TYPE_CHECKING:  # it brings Optuna and NumPy, which read their number of threads when they are imported
    from hpo_batch.study.study import Study
    from hpo_batch.worker.gpu_memory import MemoryCheck


def _never() -> bool:
    return False


def _just_end(tally: Tally) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class WorkerContext:
    """The same for all trials of a worker."""

    study: Study
    objective: Objective
    """runs a trial"""
    place: Place
    signals: Signals
    tally: Tally = field(default_factory=Tally)
    """updated after every trial"""
    n_params: NParams | None = None
    """counts a model's parameters, to predict a trial's duration"""
    meter: Meter = field(default_factory=Meter)
    """measures what attempts use"""
    gpu_memory: MemoryCheck | None = None
    """asked before each claim, if the sweep says what a trial needs"""
    is_over: Callable[[], bool] = _never
    """whether the objective cannot run another trial"""
    leave: Callable[[Tally], None] = _just_end
    """called as the worker's last act if a trial's function does not return"""
    sleep: Callable[[float], None] = time.sleep
