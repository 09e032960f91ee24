"""What a worker was given to run on: by SLURM, or by the local launcher. Read from the environment, once, at its start.

The launcher's variables (HPO_BATCH_CPUS, HPO_BATCH_GPUS, HPO_BATCH_DEADLINE) come before SLURM's: they were set
later, nearer to the worker.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from hpo_batch.envvars import EnvVar
from hpo_batch.scheduler.gpu_request import count_gpus
from hpo_batch.scheduler.gpus import visible
from hpo_batch.scheduler.integers import is_integer

_NO_LIMIT_S = 300 * 86_400.0
"""SLURM lets a job without time limit end in a year; nobody plans with an end as far away as this."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The place of one worker."""

    job: str | None
    """As squeue shows it: `A_i` in an array, `A` otherwise; None outside SLURM."""
    task: str | None
    """The array index."""
    node: str
    gpus: tuple[str, ...]
    """As in CUDA_VISIBLE_DEVICES: numbers or UUIDs. Empty means none, or that nobody said."""
    cpus: int
    gpu_count: float
    """GPUs that the worker holds: those of all tasks of its step, on all nodes; 1/k of one that k workers share."""
    deadline_s: float | None
    """When it ends, in seconds since 1970; None if nobody said: SLURM tells since 23.02."""
    restarts: int
    """How often SLURM has requeued the task."""
    partition: str | None
    is_batch: bool = False
    """Whether it is a batch job, which SLURM can requeue; not what salloc or srun started."""


def read(environ: Mapping[str, str], now: float, *, host: str | None = None, cpus: int | None = None) -> Allocation:
    """The allocation of a process with this environment.

    Args:
        environ: its environment.
        now: seconds since 1970.
        host: name of the node where SLURM does not give one; this machine's if left out.
        cpus: where neither SLURM nor the launcher gives a number; those this process may use if left out.
    """
    array, index, single = (
        _text(environ, name) for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID")
    )
    in_array = array is not None and index is not None
    gpus = visible(environ) or ()
    return Allocation(
        job=f"{array}_{index}" if in_array else single,
        task=index if in_array else None,
        node=_text(environ, "SLURMD_NODENAME") or host or socket.gethostname(),
        gpus=gpus,
        gpu_count=_gpu_count(environ, len(gpus)),
        cpus=_cpus(environ) or cpus or len(os.sched_getaffinity(0)),
        deadline_s=_deadline(environ, now),
        restarts=_integer(environ, "SLURM_RESTART_COUNT") or 0,
        partition=_text(environ, "SLURM_JOB_PARTITION"),
        # SLURM sets the one in batch scripts, submitit the other in its own
        is_batch=single is not None
        and (_text(environ, "ENVIRONMENT") == "BATCH" or _text(environ, "SUBMITIT_EXECUTOR") == "slurm"),
    )


def _cpus(environ: Mapping[str, str]) -> int | None:
    for name in (EnvVar.CPUS, "SLURM_CPUS_PER_TASK"):
        if given := _integer(environ, name):
            return given
    on_node = _integer(environ, "SLURM_CPUS_ON_NODE")
    if on_node is None:
        return None
    return max(1, on_node // (_integer(environ, "SLURM_NTASKS_PER_NODE") or 1))


def _gpu_count(environ: Mapping[str, str], seen: int) -> float:
    if (given := _number(environ, EnvVar.GPUS)) is not None:
        return given
    if not seen or "SLURM_STEP_ID" not in environ or (_integer(environ, "SLURM_STEP_NUM_TASKS") or 1) == 1:
        return seen
    # a task of several may see its own only, and numbers them from 0 where the others cannot be reached
    if total := count_gpus(environ.get("SLURM_GPUS")):
        return total
    return max(seen, _integer(environ, "SLURM_GPUS_ON_NODE") or 0) * (_integer(environ, "SLURM_STEP_NUM_NODES") or 1)


def _deadline(environ: Mapping[str, str], now: float) -> float | None:
    if (given := _number(environ, EnvVar.DEADLINE)) is not None:
        return given
    end = _number(environ, "SLURM_JOB_END_TIME")
    return None if end is None or end - now > _NO_LIMIT_S else end


def _text(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(name, "").strip() or None


def _integer(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "").strip()
    return int(text) if is_integer(text) else None


def _number(environ: Mapping[str, str], name: str) -> float | None:
    try:
        number = float(environ[name])
    except (KeyError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
