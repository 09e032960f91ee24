"""Convert ``[job]`` to submitit's parameters and build the sbatch script. Works without SLURM.

All tasks of a submission share one pickle; on the node, the script links it to the name that submitit's runner looks
for. So a job does not depend on what happens to the submitter after sbatch. Submitit itself renames one pickle per task
after sbatch (``_internal_process_submissions`` in
https://github.com/facebookincubator/submitit/blob/main/submitit/slurm/slurm.py), and an array whose submitter was
killed before that fails after a minute.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from submitit.core.utils import DelayedSubmission
from submitit.slurm.slurm import _make_sbatch_string  # private, but SlurmExecutor cannot be created without srun

from hpo_batch.errors import UserError
from hpo_batch.launch.task_layout import Shape, shape_of
from hpo_batch.scheduler.gpu_request import speaks_of_gpus
from hpo_batch.scheduler.slurm.options import replaced_by
from hpo_batch.sweep.controls import check_line
from hpo_batch.sweep.sbatch_options import given_options, sbatch_problems
from hpo_batch.sweep.schema import Job
from hpo_batch.sweep.walltime import lead_s


def parameters(job: Job, *, name: str, workdir: Path) -> dict[str, Any]:
    """Arguments of submitit's ``_make_sbatch_string``, without options that the sweep leaves open.

    Raises:
        UserError: ``[job] sbatch`` has an option that users cannot set.
    """
    for problem in sbatch_problems(job):
        do = f"; use {problem.allowed}" if problem.allowed else ""
        raise UserError(f"[job.sbatch] {problem.key[-1]}: {problem.message}{do}")
    given = given_options(job)
    taken = replaced_by(given)
    further: dict[str, Any] = {**({} if "requeue" in taken else {"requeue": True}), "chdir": str(workdir), **given}
    if job.reservation is not None:
        further["reservation"] = job.reservation
    shape, signal_delay_s = shape_of(job), int(lead_s(job.walltime, job.signal_lead_s))
    if not job.srun:
        # without srun there is no step to signal, so "B:" signals the batch shell, which the worker replaces (exec)
        further["signal"] = f"B:USR2@{signal_delay_s}"
    if job.gres is not None and not speaks_of_gpus("gres", job.gres):
        taken -= {"gres"} - set(given)  # other resources do not conflict with GPUs requested elsewhere
    options = {**_resources(job, shape), "job_name": name}
    return {
        # without options that [job] sbatch sets or replaces
        **{k: v for k, v in options.items() if v is not None and k.replace("_", "-") not in taken},
        "array_parallelism": job.max_running or 100_000,  # submitit's default is 256 tasks at once
        **({"setup": list(job.setup)} if job.setup else {}),
        "signal_delay_s": signal_delay_s,
        "use_srun": job.srun,
        **({"srun_args": _srun_args(job, shape)} if job.srun else {}),
        "additional_parameters": further,
        "wckey": None,  # submitit's default, "submitit", is refused by sites that enforce wckeys; None leaves it out
    }


def _resources(job: Job, shape: Shape) -> dict[str, Any]:
    """Resource options by submitit's names; None if the sweep leaves them open."""
    keys = ("gres", "gpus_per_node", "partition", "account", "qos", "constraint", "exclude", "nodelist", "dependency")
    return {
        "time": math.ceil(job.walltime / 60),  # minutes, SLURM's resolution of time limits
        "nodes": shape.nodes,
        "ntasks_per_node": shape.tasks_per_node,
        "cpus_per_task": shape.cpus,
        "mem": None if shape.mem_gb is None else f"{math.ceil(shape.mem_gb * 1024)}M",
        **{key: getattr(job, key) for key in keys},
    }


def asked_options(job: Job) -> dict[str, object]:
    """The sbatch options in the script, by long name."""
    asked = parameters(job, name="", workdir=Path("/"))
    for key in ("array_parallelism", "setup", "signal_delay_s", "use_srun", "srun_args", "wckey"):
        asked.pop(key, None)
    further = asked.pop("additional_parameters")
    options = {key.replace("_", "-"): value for key, value in {**asked, **further}.items()}
    return {**dict.fromkeys(("array", "error", "open-mode", "output", "signal")), **options}


def write_pickle(path: Path, worker: Callable[[], int], job: Job) -> None:
    """Write the pickle that submitit's runner loads on the node."""
    delayed = DelayedSubmission(worker)
    delayed.set_timeout(math.ceil(job.walltime / 60), 3)
    delayed.dump(path)


def _srun_args(job: Job, shape: Shape) -> list[str]:
    # --export=ALL: if the job was submitted with --export=NONE, srun would pass on nothing, not even the variables that
    # submitit's runner needs. --cpus-per-task: since SLURM 22.05, srun does not inherit it from sbatch
    # (https://slurm.schedmd.com/sbatch.html#OPT_cpus-per-task).
    arguments = ["--export=ALL", f"--cpus-per-task={shape.cpus}"]
    if job.ranks > 1:
        arguments.append("--kill-on-bad-exit=1")  # otherwise the other ranks wait for a dead one until the time limit
    return [*arguments, *job.srun_args]


def python_command(job: Job) -> str:
    """The shell command for Python on the node."""
    command = job.python or shlex.quote(sys.executable)
    return command if job.srun else f"exec {command}"


def sbatch_text(
    job: Job,
    *,
    folder: Path,
    name: str,
    workdir: Path,
    tasks: int | None,
    pickle: str,
    max_running: int | None = None,
) -> str:
    """The script for an array of ``tasks`` tasks, or for a plain job if None.

    Args:
        pickle: name of the worker's pickle in ``folder``.
        max_running: this array's share of ``[job] max_running``.
    """
    asked = parameters(job, name=name, workdir=workdir)
    if max_running is not None:
        asked["array_parallelism"] = max_running
    asked["setup"] = [_link(folder, pickle), *asked.get("setup", ())]
    return _written(command=_worker(job, folder), folder=folder, map_count=tasks, **asked)


def start_text(job: Job, *, folder: Path, pickle: str) -> str:
    """The lines of a worker's script that start it, without ``setup``; they return when the worker has ended."""
    asked = parameters(job, name="", workdir=Path("/")) | {"setup": []}
    text = _written(command=_worker(job, folder), folder=folder, **asked)
    lines = text.partition("\n# command\n")[2].strip()
    return f"{_link(folder, pickle)}\n(\n{lines}\n)"  # in a subshell, because without srun the command is `exec`


def _worker(job: Job, folder: Path) -> str:
    return f"{python_command(job)} -u -m submitit.core._submit {shlex.quote(str(folder))}"


def _link(folder: Path, pickle: str) -> str:
    """The shell line that links the pickle to the name that submitit's runner looks for."""
    id = "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
    return f'ln -sfn {shlex.quote(pickle)} {shlex.quote(str(folder))}/"{id}"_submitted.pkl'


def script_text(command: str, *, folder: Path, asked: dict[str, Any]) -> str:
    """A script for one job with any command and the options from ``parameters``; its output goes to ``folder``."""
    return _written(command=command, folder=folder, **asked)


def _written(*, command: str, folder: Path, **asked: Any) -> str:
    further = asked.get("additional_parameters", {})
    lines = {key: value for key, value in asked.items() if key not in ("setup", "additional_parameters")}
    for key, value in {**lines, **further, "command": command, "folder": folder}.items():
        for one in value if isinstance(value, list) else (value,):
            check_line(key, one)
    text: str = _make_sbatch_string(command=command, folder=folder, **asked)
    return text
