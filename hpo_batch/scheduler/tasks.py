"""What a scheduler knows of jobs and array tasks, in types that no scheduler's own words are needed to read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class TaskState(StrEnum):
    """What a job or an array task is doing, or how it ended."""

    PENDING = "pending"
    """No process of it exists; it waits for its first run or, requeued, for the next."""
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDING = "ending"
    """Its processes are being ended or have just ended: what it becomes, pending included, is not known yet."""
    UNKNOWN = "unknown"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    NODE_FAIL = "node failed"
    OUT_OF_MEMORY = "out of memory"
    PREEMPTED = "preempted"

    @property
    def live(self) -> bool:
        """It may still run, or run again.

        A preempted or node-failed task that SLURM requeues is pending; as the last word the two mean that it does not.
        """
        return self in _LIVE


_LIVE = frozenset((TaskState.PENDING, TaskState.RUNNING, TaskState.SUSPENDED, TaskState.ENDING, TaskState.UNKNOWN))

_CLOCKS_APART_S = 30.0


@dataclass(frozen=True, order=True)
class ArrayTask:
    """An array task, in whichever way SLURM wrote it: a job that is no array is its own task 0."""

    job: int
    index: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`7_3`, `7` (the same as `7_0`), `7_3.batch`."""
        if (match := re.match(r"(\d{1,99})(?:_(\d{1,99}))?(?![\d_])", text)) is None:
            raise ValueError(f"not a SLURM job id: '{text}'")
        return cls(job=int(match[1]), index=int(match[2] or 0))

    def __str__(self) -> str:
        return f"{self.job}_{self.index}"


@dataclass(frozen=True, kw_only=True)
class QueueRow:
    """What squeue knows of a task."""

    task: ArrayTask
    state: TaskState
    word: str
    """SLURM's own word for the state."""
    reason: str
    """Why it is pending, as SLURM spells it; `None` where it has no reason."""
    elapsed_s: float
    """Since its present run began."""
    left_s: float | None
    """To its time limit; None without one, and beyond it."""
    node: str
    ends: float | None = None
    """When it ended or, as it stands, will, in seconds since 1970 by SLURM's clock."""
    is_unlimited: bool = False
    """Whether it has no time limit at all."""
    name: str = ""
    """The job's name."""
    script: str = ""
    """Path of the job's script where it was submitted; empty if squeue did not tell."""
    is_array: bool = True

    def comes_back(self, now: float) -> bool:
        """Whether a task whose processes are being ended is to run again: SLURM reckons with a whole run from then on
        (22.05: a task that was requeued ends in the future, one that was cancelled has ended)."""
        return self.state is TaskState.ENDING and self.ends is not None and self.ends > now + _CLOCKS_APART_S

    @property
    def id(self) -> str:
        """As scontrol takes it: it knows no `7_0` of a job that is no array."""
        return str(self.task) if self.is_array else str(self.task.job)


@dataclass(frozen=True, kw_only=True)
class FoundJob:
    """A job that squeue shows under a name that was asked for: anybody may have given it that."""

    name: str
    script: str
    """path of its script where it was submitted; empty if squeue did not tell"""


@dataclass(frozen=True, kw_only=True)
class AccountingRow:
    """What sacct knows of one run of a task: a requeue begins another."""

    task: ArrayTask
    state: TaskState
    word: str
    exit_code: int
    signal: int
    submitted: float | None
    """Seconds since 1970, as `started` and `ended`; a requeue counts as submission."""
    started: float | None
    ended: float | None
    elapsed_s: float
    """Without the time it was suspended."""
    gpus: int
    cpus: int
    node: str


class Outlook(StrEnum):
    """What a waiting task's reason means for whoever counts on it."""

    STARTS = "starts"
    """when its turn comes, or what it waits for is there"""
    ON_HOLD = "on hold"
    """not before its owner releases it, who has held it"""
    HELD = "held"
    """not before somebody releases it: SLURM or the site's staff hold it"""
    NEVER = "never"
    """as it is asked for; only a change of it, or of the site's limits, would let it start"""


@dataclass(frozen=True, kw_only=True)
class WaitReason:
    """Why a task waits, in words that need no manual."""

    outlook: Outlook = Outlook.STARTS
    meaning: str = ""
    """empty for a reason that is not known, or says nothing"""
    to_change: str = ""
    """keys of ``[job]`` to look at where a task can never start"""
