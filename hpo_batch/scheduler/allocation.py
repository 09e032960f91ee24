"""Reads a worker's CPUs, GPUs and deadline from its environment.

HPO_BATCH_CPUS, HPO_BATCH_GPUS and HPO_BATCH_DEADLINE take precedence over SLURM's variables, because the launcher sets
them later, per worker. SLURM's: https://slurm.schedmd.com/sbatch.html
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from msgspec import Struct

from hpo_batch.envvars import EnvVar
from hpo_batch.scheduler.gpu_request import count_gpus
from hpo_batch.scheduler.gpus import visible
from hpo_batch.scheduler.integers import is_integer

# For a job without time limit, SLURM sets the end a year ahead; an end this far away counts as no limit.
_NO_LIMIT_S = 300 * 86_400.0


class Allocation(Struct, frozen=True, kw_only=True):
    """The resources of one worker."""

    job: str | None
    """As squeue shows it: `A_i` in an array, `A` otherwise; None outside SLURM."""
    task: str | None
    """The array index."""
    node: str
    gpus: tuple[str, ...]
    """As in CUDA_VISIBLE_DEVICES: indices or UUIDs. Empty if there are none, or the variable is not set."""
    cpus: int
    gpu_count: float
    """GPUs allocated to the worker: of all tasks of its step, on all nodes; 1/k for each of k workers sharing one."""
    deadline_s: float | None
    """End of the walltime, in seconds since 1970; None if unknown (SLURM_JOB_END_TIME exists since 23.02)."""
    restarts: int
    """How often SLURM has requeued the task."""
    partition: str | None
    is_batch: bool = False
    """Whether it is a batch job, which SLURM can requeue, and not started by salloc or srun."""


def read(environ: Mapping[str, str], now: float, *, host: str | None = None, cpus: int | None = None) -> Allocation:
    """The allocation of a process with this environment.

    Args:
        environ: its environment.
        now: seconds since 1970.
        host: name of the node if SLURM does not set it; default: this machine's.
        cpus: number of CPUs if neither SLURM nor the launcher sets it; default: those this process may use.
    """
    array, index, single = (
        _text(environ, name) for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID")
    )
    in_array = array is not None and index is not None
    gpus = visible(environ) or ()
    return Allocation(
        job=f"{array}_{index}" if in_array else single,
        task=index if in_array else None,
        node=_text(environ, "SLURMD_NODENAME") or host or os.uname().nodename,
        gpus=gpus,
        gpu_count=_gpu_count(environ, len(gpus)),
        cpus=_cpus(environ) or cpus or len(os.sched_getaffinity(0)),
        deadline_s=_deadline(environ, now),
        restarts=_integer(environ, "SLURM_RESTART_COUNT") or 0,
        partition=_text(environ, "SLURM_JOB_PARTITION"),
        # SLURM sets the first variable in batch scripts, submitit the second in its own
        is_batch=single is not None
        and (_text(environ, "ENVIRONMENT") == "BATCH" or _text(environ, "SUBMITIT_EXECUTOR") == "slurm"),
    )


def _cpus(environ: Mapping[str, str]) -> int | None:
    for name in (EnvVar.CPUS, "SLURM_CPUS_PER_TASK"):
        if cpus := _integer(environ, name):
            return cpus
    on_node = _integer(environ, "SLURM_CPUS_ON_NODE")
    if on_node is None:
        return None
    # SLURM_CPUS_ON_NODE counts the CPUs of all tasks on the node
    return max(1, on_node // (_integer(environ, "SLURM_NTASKS_PER_NODE") or 1))


def _gpu_count(environ: Mapping[str, str], visible_count: int) -> float:
    if (count := _number(environ, EnvVar.GPUS)) is not None:
        return count
    if not visible_count or "SLURM_STEP_ID" not in environ or (_integer(environ, "SLURM_STEP_NUM_TASKS") or 1) == 1:
        return visible_count
    # one of several tasks may see only its own GPUs, numbered from 0 (--gpu-bind, cgroups)
    if total := count_gpus(environ.get("SLURM_GPUS")):
        return total
    nodes = _integer(environ, "SLURM_STEP_NUM_NODES") or 1
    return max(visible_count, _integer(environ, "SLURM_GPUS_ON_NODE") or 0) * nodes


def _deadline(environ: Mapping[str, str], now: float) -> float | None:
    if (deadline := _number(environ, EnvVar.DEADLINE)) is not None:
        return deadline
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
