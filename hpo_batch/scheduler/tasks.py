"""Jobs and array tasks, in types independent of the scheduler."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Self

from msgspec import Struct


class TaskState(StrEnum):
    """State of a job or array task."""

    PENDING = "pending"
    """Not running; waiting for its first run or, requeued, for the next."""
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDING = "ending"
    """Its processes are ending or have just ended; its next state, which may be pending, is not known yet."""
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
        """Whether it may still run, or run again.

        PREEMPTED and NODE_FAIL are final: if SLURM requeues such a task, it is pending.
        """
        return self in _LIVE


_LIVE = frozenset((TaskState.PENDING, TaskState.RUNNING, TaskState.SUSPENDED, TaskState.ENDING, TaskState.UNKNOWN))

# tolerated difference between our clock and SLURM's
_CLOCKS_APART_S = 30.0


class ArrayTask(Struct, frozen=True, order=True):
    """An array task. A job that is not an array counts as its own task 0."""

    job: int
    index: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `7_3`, `7` (the same as `7_0`) or `7_3.batch`."""
        if (match := re.match(r"(\d{1,99})(?:_(\d{1,99}))?(?![\d_])", text)) is None:
            raise ValueError(f"not a SLURM job id: '{text}'")
        return cls(job=int(match[1]), index=int(match[2] or 0))

    def __str__(self) -> str:
        return f"{self.job}_{self.index}"


class QueueRow(Struct, frozen=True, kw_only=True):
    """A task in the queue, as shown by squeue."""

    task: ArrayTask
    state: TaskState
    word: str
    """the state in SLURM's words"""
    reason: str
    """why it is pending, in SLURM's words; the text `None` if there is no reason"""
    elapsed_s: float
    """since its current run started"""
    left_s: float | None
    """to its time limit; None without a limit, and after it"""
    node: str
    ends: float | None = None
    """its actual or expected end, in seconds since 1970 by SLURM's clock"""
    is_unlimited: bool = False
    """whether it has no time limit"""
    name: str = ""
    """name of the job"""
    script: str = ""
    """path of the job's script on the submitting machine; empty if unknown"""
    is_array: bool = True

    def comes_back(self, now: float) -> bool:
        """Whether an ending task will run again. SLURM shows an end in the future for a requeued task, since it expects
        another full run, and in the past for a cancelled one (seen with 22.05)."""
        return self.state is TaskState.ENDING and self.ends is not None and self.ends > now + _CLOCKS_APART_S

    @property
    def id(self) -> str:
        """The id for scontrol, which does not accept `7_0` for a job that is not an array."""
        return str(self.task) if self.is_array else str(self.task.job)


class FoundJob(Struct, frozen=True, kw_only=True):
    """A job with a requested name. Other users' jobs may have the same name."""

    name: str
    script: str
    """path of its script on the submitting machine; empty if unknown"""


class AccountingRow(Struct, frozen=True, kw_only=True):
    """One run of a task, as shown by sacct. A requeue starts another run."""

    task: ArrayTask
    state: TaskState
    word: str
    exit_code: int
    signal: int
    submitted: float | None
    """seconds since 1970, like `started` and `ended`; a requeue counts as a submission"""
    started: float | None
    ended: float | None
    elapsed_s: float
    """without time suspended"""
    gpus: int
    cpus: int
    node: str


class Outlook(StrEnum):
    """Whether a pending task will start."""

    STARTS = "starts"
    """when its turn comes, or what it waits for becomes available"""
    ON_HOLD = "on hold"
    """when its owner, who has held it, releases it"""
    HELD = "held"
    """when it is released; SLURM or an administrator has held it"""
    NEVER = "never"
    """only if its requests or the site's limits change"""


class WaitReason(Struct, frozen=True, kw_only=True):
    """Why a task is pending, for people."""

    outlook: Outlook = Outlook.STARTS
    meaning: str = ""
    """empty if the reason is unknown, or needs no explanation"""
    to_change: str = ""
    """keys of ``[job]`` to change if a task can never start"""
