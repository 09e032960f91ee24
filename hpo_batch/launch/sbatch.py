"""``[job]`` as submitit's parameters, and the sbatch text they make. Works without SLURM."""

from __future__ import annotations

import math
import shlex
import sys
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import _make_sbatch_string  # private, but the executor cannot be made without srun

from hpo_batch.sweep.schema import Job


def parameters(job: Job, *, name: str, workdir: Path) -> dict[str, Any]:
    """Arguments of submitit's ``SlurmExecutor.update_parameters``. What the sweep leaves open is not asked of SLURM."""
    further: dict[str, Any] = {"requeue": True, "chdir": str(workdir), **job.sbatch}
    if job.reservation is not None:
        further["reservation"] = job.reservation
    asked: dict[str, Any] = {
        "job_name": name,
        "time": math.ceil(job.walltime / 60),
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": job.cpus,
        "mem": None if job.mem_gb is None else f"{math.ceil(job.mem_gb * 1024)}M",
        "gres": job.gres,
        "gpus_per_node": job.gpus_per_node,
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "constraint": job.constraint,
        "exclude": job.exclude,
        "nodelist": job.nodelist,
        "dependency": job.dependency,
        "array_parallelism": job.max_running or 100_000,
        "setup": list(job.setup) or None,
        "signal_delay_s": min(job.signal_lead_s, int(job.walltime / 4)),
        "use_srun": job.srun,
        # srun of SLURM 22.05 to 23.02 does not inherit --cpus-per-task from sbatch
        "srun_args": [f"--cpus-per-task={job.cpus}", *job.srun_args] if job.srun else None,
    }
    if not job.srun:
        # without srun only the batch shell is signalled: the worker must be that shell's process
        further["signal"] = f"B:USR2@{asked['signal_delay_s']}"
    asked["additional_parameters"] = further
    # submitit's default, which sites that enforce wckeys refuse; None leaves it out
    asked["wckey"] = None
    return {key: value for key, value in asked.items() if value is not None or key == "wckey"}


def python_command(job: Job) -> str:
    """What starts Python on the node."""
    command = job.python or shlex.quote(sys.executable)
    return command if job.srun else f"exec {command}"


def sbatch_text(job: Job, *, folder: Path, name: str, workdir: Path, tasks: int) -> str:
    """The script that submitit would hand to sbatch for ``tasks`` array tasks."""
    text: str = _make_sbatch_string(
        command=f"{python_command(job)} -u -m submitit.core._submit {shlex.quote(str(folder))}",
        folder=folder,
        map_count=tasks if tasks > 1 else None,
        **parameters(job, name=name, workdir=workdir),
    )
    return text


def script_text(command: str, *, folder: Path, asked: dict[str, Any]) -> str:
    """A script for one job with any command, from what ``parameters`` returned; its output goes to ``folder``."""
    text: str = _make_sbatch_string(command=command, folder=folder, **asked)
    return text
