"""The job that ``doctor --cluster`` submits: as small as possible, and otherwise like a worker's."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hpo_batch.doctor.file_system import program_text
from hpo_batch.envvars import EnvVar
from hpo_batch.launch.sbatch import parameters, script_text, start_text
from hpo_batch.scheduler import gpu_request
from hpo_batch.scheduler.site import Partition
from hpo_batch.sweep.schema import Job

JOB_S: Final = 300.0
"""the job's time limit; an idle cluster needs seconds"""
MOST_MEM_GB: Final = 4.0
PROGRAM: Final = EnvVar.CONTENTION


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to test, and where."""

    job: Job
    """the sweep's job"""
    root: Path
    workdir: Path
    paths: tuple[Path, ...]
    """paths that a worker must see"""
    partitions: tuple[Partition, ...]
    with_gpus: bool
    start_within_s: float

    @property
    def nodes(self) -> int:
        """2, or 1 if no partition allows two, or if nothing would start on the second."""
        return 2 if self.why_one_node == "" else 1

    @property
    def why_one_node(self) -> str:
        if not self.job.srun:
            return "[job] srun = false starts nothing on a second node"
        if all(one.nodes < 2 or one.max_nodes == 1 for one in self.partitions):
            return f"partition '{','.join(one.name for one in self.partitions)}' gives a job one node only"
        return ""


def script(order: Order, folder: Path, question: Mapping[str, Any]) -> str:
    """The job as a worker's would be, but for its size: the same partition, account, setup, Python and launcher."""
    job = _small(order)
    options = parameters(job, name="hpo-batch-doctor", workdir=order.workdir)
    options |= {"nodes": order.nodes, "ntasks_per_node": 2 // order.nodes}
    further = options["additional_parameters"]
    # it ends within minutes, and must not be requeued after doctor has given up
    options["additional_parameters"] = {
        key: value for key, value in further.items() if key not in ("requeue", "signal")
    }
    at_end = f"echo $? > {shlex.quote(str(folder / 'ended'))}"
    # files instead of squeue: a site may limit how often that is called
    seen = [f"trap {shlex.quote(at_end)} EXIT"]
    seen += [f'echo "$SLURM_JOB_NODELIST" > {shlex.quote(str(folder / "started"))}']
    options["setup"] = [*seen, *options.get("setup", [])]
    # in the script itself, because anybody may replace a file in the logs directory meanwhile
    text = f"IFS= read -r -d '' {PROGRAM} <<'{PROGRAM}' || true\n{program_text()}{PROGRAM}"
    options["setup"] = [text, *options["setup"]]
    arguments = shlex.join((str(folder), json.dumps(question)))
    python = f'{job.python or shlex.quote(sys.executable)} -u -c "${PROGRAM}" {arguments}'
    # srun gives each task its number (SLURM_PROCID); without it the shell starts two on this node
    command = python if job.srun else f"{python} 1 & {python} 0 && wait $!"
    # then start a worker as workers are started, which nothing else tests
    return (
        f"{script_text(command, folder=folder, asked=options)}\n{start_text(job, folder=folder, pickle='probe.pkl')}\n"
    )


def _small(order: Order) -> Job:
    """The sweep's job, reduced to the smallest size."""
    job = replace(
        order.job,
        walltime=min(order.job.walltime, JOB_S),
        cpus=1,  # each resource that is requested makes the job wait longer
        mem_gb=None if order.job.mem_gb is None else min(order.job.mem_gb, MOST_MEM_GB),
        dependency=None,
        nodes=1,
        tasks_per_node=1,
        workers_per_gpu=None,
        mps=False,
    )
    # a job with GPUs would have to wait for them; --gpu tests them
    without = {"ntasks"} if order.with_gpus else {"ntasks", *gpu_request.OPTIONS}
    job = replace(job, sbatch={key: value for key, value in job.sbatch.items() if key.replace("_", "-") not in without})
    if not order.with_gpus:
        job = replace(job, gres=None, gpus_per_node=None)
    return job
