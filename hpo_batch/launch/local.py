"""Start workers as detached processes of this machine, on its GPUs in turn."""

from __future__ import annotations

import itertools
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping

from hpo_batch.envvars import EnvVar
from hpo_batch.launch.plan import Plan
from hpo_batch.scheduler.gpus import Gpu
from hpo_batch.scheduler.registry import SCHEDULERS
from hpo_batch.scheduler.scheduler import JobCommand

# ``StudyHome.local_log`` for readers
LOG_PATTERN = "local/{submission}_%i.log"


def start_workers(plan: Plan, *, submission: str, gpus: tuple[Gpu, ...], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Start the plan's workers in sessions of their own: they outlive this process and its terminal.

    Returns:
        Process ids.
    """
    job, home = plan.sweep.job, plan.home
    (home.path / "local").mkdir(exist_ok=True)
    gpu_of = itertools.cycle(gpus) if gpus and job.device != "cpu" else itertools.repeat(None)
    placed = list(zip(range(plan.workers), gpu_of, strict=False))
    sharing = Counter(gpu for _, gpu in placed)
    pids = []
    for index, gpu in placed:
        # without SLURM's variables, from which a worker would take itself for an array task of a surrounding job
        env = {
            **{name: value for name, value in environ.items() if not name.startswith(("SLURM_", "SUBMITIT_"))},
            EnvVar.SUBMISSION: submission,
            EnvVar.WORKER: str(index),
            EnvVar.CPUS: str(job.cpus),
            EnvVar.DEADLINE: str(time.time() + job.walltime),
        }
        if gpu is not None:
            # the UUID, since indexes depend on CUDA_DEVICE_ORDER and on the caller's CUDA_VISIBLE_DEVICES
            env["CUDA_VISIBLE_DEVICES"] = gpu.uuid
            env[EnvVar.GPUS] = str(1 / sharing[gpu])
        python = shlex.split(job.python) if job.python else [sys.executable]
        log = home.local_log(submission, index)
        argv = (*python, "-m", "hpo_batch", "worker", str(home.path))
        pids.append(SCHEDULERS["local"].submit(JobCommand(argv=argv, env=env, log=log, workdir=plan.workdir)))
    return tuple(pids)
