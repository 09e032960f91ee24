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

# a smaller difference is noise: SLURM reports whole seconds and takes some time to answer, and limits change by minutes
MOVED_S = 5.0
# longest wait for squeue; its own retries take 9 s while the controller is down
MOST_ASKED_S = 10.0
# time before SLURM's kill in which the worker records that its attempt is given back
LAST_WORDS_S = 10.0
# a worker counts as fresh during this share of its time
FRESH = 0.2


@dataclass(kw_only=True)
class Place:
    """Where the worker runs. Its deadline may move: users can shorten a time limit, administrators can extend it."""

    device: Device
    cpus: int
    deadline: float | None
    """seconds since the epoch"""
    lead_s: float
    """seconds before the deadline at which a trial is asked to stop"""
    is_killed: bool = False
    """whether the worker is killed at the deadline, as in SLURM"""
    is_sure: bool = False
    """whether SLURM gave the deadline; else it was counted from the worker's start, and is somewhat late"""
    grace_s: float = 30.0
    """from SIGTERM to SIGKILL"""
    began: float = field(default_factory=time.time)
    """when the worker came here"""
    ask: Callable[[float], float | None] | None = None
    """asks SLURM for the remaining seconds (infinite: no limit; None: no answer), with a time-out in seconds"""
    _asked_for: float | None = field(default=None, init=False)
    """the deadline that SLURM was asked about, so that it is asked only once about each"""
    _pid: int = field(default_factory=os.getpid, init=False, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def is_near(self, now: float) -> bool:
        """Whether it is time to stop for the deadline.

        Before the first True, SLURM is asked once whether ``scontrol update TimeLimit`` has moved the deadline.
        """
        while self.deadline is not None and now > self.deadline - self.lead_s:
            if not self._has_moved(now):
                return True
        return False

    def has_more_time(self, now: float) -> bool:
        """Whether SLURM reports more time than was known; asked before a worker exits for lack of time."""
        before = self.deadline
        return before is not None and self._has_moved(now) and (self.deadline is None or self.deadline > before)

    def is_warned(self, warned: float) -> bool:
        """Whether a time-limit warning is about the current limit; asks SLURM.

        False for a warning from before the limit was extended. A warning long before the known limit means that the
        limit was shortened, or it is not about the limit at all (``is_far``).
        """
        now, deadline = time.time(), self.deadline
        if not self._has_moved(now) or deadline is None or self._comes_early(warned, deadline):
            return True
        return self.deadline is not None and now > self.deadline - self.lead_s - EARLY_S

    def _comes_early(self, warned: float, deadline: float) -> bool:
        return warned < deadline - self.lead_s - 2 * EARLY_S

    def _has_moved(self, now: float) -> bool:
        """Ask SLURM about the deadline, at most once for each; whether it has changed."""
        if os.getpid() != self._pid:
            return False  # a forked data loader must not ask, and may have inherited the lock in its locked state
        with self._lock:
            old = self.deadline
            if self.ask is None or old is None or self._asked_for == old:
                return False
            self._asked_for = old
            left_s = self.ask(max(1.0, min(MOST_ASKED_S, self.lead_s / 4)))
            if left_s is None:
                return False
            new = None if math.isinf(left_s) else now + left_s
            if new is not None and abs(new - old) <= MOVED_S:
                return False
            log.info("SLURM has moved the time limit: %s", "none" if new is None else f"{left_s:.0f} s left")
            # a smaller difference may only mean that the worker started seconds after its task, on a busy node
            self.is_sure = self.is_sure or new is None or abs(new - old) > EARLY_S
            self.deadline = new
            return True

    @property
    def whole_s(self) -> float:
        """Seconds that a trial can have in a whole run of this worker."""
        return float("inf") if self.deadline is None else self.deadline - self.lead_s - self.began

    def is_fresh(self, now: float) -> bool:
        """Whether a trial that starts now has about all of that time."""
        return now - self.began <= FRESH * self.whole_s

    def was_whole(self, started: float, ended: float) -> bool:
        """Whether an attempt from ``started`` to ``ended`` had about all of that time."""
        if self.deadline is None:
            return False
        return self.is_fresh(started) and ended - started >= 0.8 * self.whole_s - EARLY_S

    def limit(self, warned: float | None = None) -> float:
        """When the worker gives back an attempt whose objective does not stop, in seconds since the epoch.

        Args:
            warned: arrival of SLURM's warning, ``lead_s`` before the limit or up to a minute earlier: SLURM handles
                such events with that resolution (``--signal`` in https://slurm.schedmd.com/sbatch.html).
        """
        words_s = min(LAST_WORDS_S, self.lead_s / 4)
        if warned is not None and not self.is_sure:
            return warned + self.lead_s - words_s
        if self.deadline is None or not self.is_killed:
            return float("inf")
        return self.deadline - words_s

    def is_past_limit(self) -> bool:
        """Whether to give back an attempt that has not stopped."""
        return time.time() > self.limit()

    def is_far(self, warned: float) -> bool:
        """Whether a warning came too early to be about the limit: sites may preempt with SIGUSR2."""
        return self.is_sure and self.deadline is not None and self._comes_early(warned, self.deadline)

    @property
    def patience_s(self) -> float:
        """Seconds after SIGTERM that the objective has to save and return, before its attempt is given back."""
        return self.grace_s - min(LAST_WORDS_S, self.grace_s / 2)
