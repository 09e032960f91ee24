"""SLURM's states in our words: one table over its base states and the flags that may stand in their place.

A word that is not in it is UNKNOWN, which neither crashes nor looks finished. Used by `commands`; the vocabulary of
`monitor` and `launch`.
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
    "CONFIGURING": TaskState.PENDING,  # nodes are given but still booting: whoever ran before is gone
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
    """The state in a word of squeue or sacct: also `CANCELLED by 1000`, `RUNNING+`, or several joined by `+` or `,`."""
    words = [part.split()[0].upper() for part in re.split(r"[+,]", text) if part.strip()]
    found = [_STATES.get(word, TaskState.UNKNOWN) for word in words]
    live = [state for state in found if state.live]
    return (live or found or [TaskState.UNKNOWN])[0]
