"""Where a worker runs, and how much time it has there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from hpo_batch.sweep.walltime import WARNED_EARLY_S as EARLY_S
from hpo_batch.worker.devices import Device

LAST_WORDS_S = 10.0
"""before SLURM kills the worker, to write that its attempt is given back"""
FRESH = 0.2
"""share of the time after which a worker is no longer taken for one that has it all"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the worker runs."""

    device: Device
    cpus: int
    deadline: float | None
    """seconds since the epoch"""
    lead_s: float
    """a trial is asked to stop so long before the deadline"""
    is_killed: bool = False
    """whether the worker is killed at the deadline, as in SLURM"""
    is_sure: bool = False
    """whether SLURM gave the deadline; else it was counted from the worker's start, and is somewhat late"""
    grace_s: float = 30.0
    """from SIGTERM to SIGKILL"""
    began: float = field(default_factory=time.time)
    """when the worker came here"""

    @property
    def whole_s(self) -> float:
        """All the time that there is for a trial here."""
        return float("inf") if self.deadline is None else self.deadline - self.lead_s - self.began

    def is_fresh(self, now: float) -> bool:
        """Whether a trial that begins now has about all that time."""
        return now - self.began <= FRESH * self.whole_s

    def was_whole(self, started: float, ended: float) -> bool:
        """Whether an attempt from ``started`` to ``ended`` had about all the time that there is for a trial here."""
        if self.deadline is None:
            return False
        return self.is_fresh(started) and ended - started >= 0.8 * self.whole_s - EARLY_S

    def limit(self, warned: float | None = None) -> float:
        """When an attempt is given back by the worker itself, if the objective does not stop.

        Args:
            warned: when SLURM warned of the limit; it does so ``lead_s`` before it or earlier.
        """
        words_s = min(LAST_WORDS_S, self.lead_s / 4)
        if warned is not None and not self.is_sure:
            return warned + self.lead_s - words_s
        if self.deadline is None or not self.is_killed:
            return float("inf")
        return self.deadline - words_s

    def is_far(self, warned: float) -> bool:
        """Whether a warning came so early that it was no warning of the limit: sites may preempt with SIGUSR2."""
        return self.is_sure and self.deadline is not None and warned < self.deadline - self.lead_s - 2 * EARLY_S

    @property
    def patience_s(self) -> float:
        """How long after SIGTERM the objective may take to save and return, before its attempt is given back."""
        return self.grace_s - min(LAST_WORDS_S, self.grace_s / 2)
