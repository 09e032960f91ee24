"""Where a worker runs, and how much time it has there."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hpo_batch.sweep.walltime import WARNED_EARLY_S as EARLY_S
from hpo_batch.worker.devices import Device

log = logging.getLogger(__name__)

MOVED_S = 5.0
"""SLURM tells whole seconds, and an answer takes some; limits are moved by minutes"""
MOST_ASKED_S = 10.0
"""SLURM's own retries on a controller that is down take 9 s"""
LAST_WORDS_S = 10.0
"""before SLURM kills the worker, to write that its attempt is given back"""
FRESH = 0.2
"""share of the time after which a worker is no longer taken for one that has it all"""


@dataclass(kw_only=True)
class Place:
    """Where the worker runs. Its deadline may move: users may shorten a limit, administrators lengthen it."""

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
    ask: Callable[[float], float | None] | None = None
    """asks SLURM, for so many seconds at most, for the seconds that are left (infinite: no limit); None: no answer"""
    _asked_for: float | None = field(default=None, init=False)
    """the deadline that SLURM has confirmed, or did not answer about: no second question for the same one"""
    _pid: int = field(default_factory=os.getpid, init=False, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def is_near(self, now: float) -> bool:
        """Whether it is time to stop for the deadline. Before it says so for the first time, SLURM is asked once
        whether that is the deadline still: it may have been moved by ``scontrol update TimeLimit``."""
        while self.deadline is not None and now > self.deadline - self.lead_s:
            if not self._has_moved(now):
                return True
        return False

    def has_more_time(self, now: float) -> bool:
        """Whether SLURM, asked before a trial is given up for time, gives more of it than was known."""
        before = self.deadline
        return before is not None and self._has_moved(now) and (self.deadline is None or self.deadline > before)

    def is_warned(self, warned: float) -> bool:
        """Whether a warning of the limit means the limit as it is now, asked of SLURM.

        False for one that came before the limit was lengthened. One that came long before the limit that was known is
        of a limit that was shortened, or it is no warning of the limit (``is_far``).
        """
        now, known = time.time(), self.deadline
        if not self._has_moved(now) or known is None or self._comes_early(warned, known):
            return True
        return self.deadline is not None and now > self.deadline - self.lead_s - EARLY_S

    def _comes_early(self, warned: float, deadline: float) -> bool:
        return warned < deadline - self.lead_s - 2 * EARLY_S

    def _has_moved(self, now: float) -> bool:
        """Ask SLURM about the deadline, unless it was asked about this one; whether it is another one now."""
        if os.getpid() != self._pid:
            return False  # a forked data loader asks nobody, and the lock may have been held when it was forked
        with self._lock:
            known = self.deadline
            if self.ask is None or known is None or self._asked_for == known:
                return False
            self._asked_for = known
            left = self.ask(max(1.0, min(MOST_ASKED_S, self.lead_s / 4)))
            if left is None:
                return False
            found = None if math.isinf(left) else now + left
            if found is not None and abs(found - known) <= MOVED_S:
                return False
            log.info("SLURM has moved the time limit: %s", "none" if found is None else f"{left:.0f} s are left")
            # a worker on a busy node comes seconds after its task, which is no other limit: those are moved by minutes
            self.is_sure = self.is_sure or found is None or abs(found - known) > EARLY_S
            self.deadline = found
            return True

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

    def is_past_limit(self) -> bool:
        """Whether an attempt that has not stopped is given back now."""
        return time.time() > self.limit()

    def is_far(self, warned: float) -> bool:
        """Whether a warning came so early that it was no warning of the limit: sites may preempt with SIGUSR2."""
        return self.is_sure and self.deadline is not None and self._comes_early(warned, self.deadline)

    @property
    def patience_s(self) -> float:
        """How long after SIGTERM the objective may take to save and return, before its attempt is given back."""
        return self.grace_s - min(LAST_WORDS_S, self.grace_s / 2)
