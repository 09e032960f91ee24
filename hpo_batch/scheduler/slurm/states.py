"""Maps SLURM's job states and flags to ``TaskState``.

https://slurm.schedmd.com/squeue.html, JOB STATE CODES. An unlisted state is UNKNOWN, which does not count as finished.
"""

from __future__ import annotations

import re

from hpo_batch.scheduler.tasks import TaskState

_STATES = {
    # Base states
    "BOOT_FAIL": TaskState.NODE_FAIL,
    "CANCELLED": TaskState.CANCELLED,
    "COMPLETED": TaskState.DONE,
    "DEADLINE": TaskState.TIMEOUT,
    "FAILED": TaskState.FAILED,
    "NODE_FAIL": TaskState.NODE_FAIL,
    "OUT_OF_MEMORY": TaskState.OUT_OF_MEMORY,
    "PENDING": TaskState.PENDING,
    "PREEMPTED": TaskState.PREEMPTED,
    "RUNNING": TaskState.RUNNING,
    "SUSPENDED": TaskState.SUSPENDED,
    "TIMEOUT": TaskState.TIMEOUT,
    # Flags, shown instead of the base state
    "COMPLETING": TaskState.ENDING,
    "CONFIGURING": TaskState.PENDING,  # nodes are allocated but booting; no process of an earlier run exists
    "EXPEDITING": TaskState.PENDING,
    "LAUNCH_FAILED": TaskState.PENDING,  # requeued and held
    "POWER_UP_NODE": TaskState.PENDING,
    "RECONFIG_FAIL": TaskState.PENDING,
    "REQUEUED": TaskState.PENDING,
    "REQUEUE_FED": TaskState.PENDING,
    "REQUEUE_HOLD": TaskState.PENDING,
    "RESIZING": TaskState.RUNNING,
    "RESV_DEL_HOLD": TaskState.PENDING,
    "REVOKED": TaskState.CANCELLED,  # a sibling in a federation runs instead
    "SIGNALING": TaskState.RUNNING,
    "SPECIAL_EXIT": TaskState.PENDING,  # requeued and held
    "STAGE_OUT": TaskState.ENDING,
    "STOPPED": TaskState.SUSPENDED,  # SIGSTOP, resources kept
    "UPDATE_DB": TaskState.UNKNOWN,
}


def parse(text: str) -> TaskState:
    """Parse a state from squeue or sacct, such as `CANCELLED by 1000`, `RUNNING+`, or several joined by `+` or `,`."""
    words = [part.split()[0].upper() for part in re.split(r"[+,]", text) if part.strip()]
    states = [_STATES.get(word, TaskState.UNKNOWN) for word in words]
    # with several flags the task counts as ended only if all say so
    live = [state for state in states if state.live]
    return (live or states or [TaskState.UNKNOWN])[0]
