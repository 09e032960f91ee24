"""How the processes of ``[job]`` lie in array tasks: several workers to a GPU, or several processes to a worker."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpo_batch.scheduler.gpu_request import GpuRequest, gpu_request
from hpo_batch.sweep.schema import Job


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One array task, as it is asked of SLURM."""

    workers: int
    """that pull trials in it"""
    nodes: int
    tasks_per_node: int
    """processes that srun starts on each node"""
    cpus: int
    """of each of these"""
    mem_gb: float | None
    """of each node"""

    def tasks_for(self, workers: int) -> int:
        """Array tasks that hold so many workers; the last one may hold more than are left for it."""
        return math.ceil(workers / self.workers)


def gpus_of(job: Job) -> GpuRequest:
    """The GPUs that one array task asks for."""
    keys = {"gres": job.gres, "gpus-per-node": job.gpus_per_node}
    return gpu_request(keys, job.sbatch, nodes=job.nodes, tasks_per_node=job.tasks_per_node)


def shape_of(job: Job) -> Shape:
    """``cpus`` and ``mem_gb`` are of each process that trains, so that neither changes with the sharing of GPUs."""
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
