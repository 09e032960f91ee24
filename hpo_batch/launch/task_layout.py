"""The layout of ``[job]``'s processes in array tasks, and the number of tasks that an array may have."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpo_batch.errors import HpoBatchError
from hpo_batch.scheduler.gpu_request import GpuRequest, gpu_request
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.sweep.schema import Job

# SLURM's default of MaxArraySize (https://slurm.schedmd.com/slurm.conf.html). A site is asked for its own only if it
# could matter.
USUAL_ARRAY_LIMIT = 1001


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The resources of one array task."""

    workers: int
    """workers in the task"""
    nodes: int
    tasks_per_node: int
    """processes that srun starts on each node"""
    cpus: int
    """CPUs per process"""
    mem_gb: float | None
    """memory per node in GiB"""

    def tasks_for(self, workers: int) -> int:
        """Number of array tasks for so many workers; the last one may hold more workers than needed."""
        return math.ceil(workers / self.workers)


def gpus_of(job: Job) -> GpuRequest:
    """The GPU request of one array task."""
    keys = {"gres": job.gres, "gpus-per-node": job.gpus_per_node}
    return gpu_request(keys, job.sbatch, nodes=job.nodes, tasks_per_node=job.tasks_per_node)


def shape_of(job: Job) -> Shape:
    """The shape of ``[job]``, whose ``cpus`` and ``mem_gb`` are per training process, however many share a GPU."""
    if job.is_local:
        return Shape(workers=1, nodes=1, tasks_per_node=1, cpus=job.cpus, mem_gb=job.mem_gb)
    workers = 1
    if job.workers_per_gpu is not None:
        workers = job.workers_per_gpu * max(1, gpus_of(job).count or 0)
    on_node = workers * job.tasks_per_node
    return Shape(
        workers=workers,
        nodes=job.nodes,
        tasks_per_node=job.tasks_per_node,
        cpus=job.cpus * workers,
        mem_gb=None if job.mem_gb is None else job.mem_gb * on_node,
    )


def array_limit() -> int:
    """Maximum number of tasks in an array; 0 if arrays are disabled, SLURM's default if it does not answer."""
    try:
        return BATCH.array_limit()
    except HpoBatchError:
        return USUAL_ARRAY_LIMIT


def no_machine_named(job: Job, *, has_slurm: bool) -> str:
    """A message if the sweep does not say where to run although SLURM is here: a login node must not train unasked."""
    if job.template is not None or not has_slurm:
        return ""
    return (
        "SLURM is available, but the sweep names no [job] template. To run in SLURM jobs: "
        "'hpo-batch submit SWEEP --set job.template=NAME', where NAME is cpu, a100 or a file of ./job_templates; "
        "to run on this machine: 'hpo-batch submit SWEEP --local'"
    )
