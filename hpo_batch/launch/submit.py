"""Carry out a plan: make the study, note the submission, start the workers. The only place that calls submitit."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from hpo_batch import processes
from hpo_batch.cluster.gpus import local_gpus
from hpo_batch.errors import HpoBatchError, SlurmRefused
from hpo_batch.launch.collector import add_collector
from hpo_batch.launch.local import LOG_PATTERN, start_workers
from hpo_batch.launch.plan import Plan
from hpo_batch.launch.provenance import command_line, describe_code, snapshot
from hpo_batch.launch.sbatch import parameters, python_command
from hpo_batch.store import sharing
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission, write_submission
from hpo_batch.study.create import create
from hpo_batch.worker.entry import Worker

KEPT_OF_SLURM = ("SLURM_CONF", "SLURM_CLUSTERS")


def submit(plan: Plan, *, toml: str, environ: Mapping[str, str], resumes: int = 0) -> Submission | None:
    """Make or revise the study and start the plan's workers; None if no worker is to be started.

    Args:
        resumes: how many submissions in a row collectors have made, this one included; they lift no marker.

    Raises:
        Irreconcilable, StorageError: see ``study.create``.
        SlurmRefused: sbatch did not take the job; nothing of it runs.
    """
    create(plan.home, plan.sweep, toml=toml, now=time.time())
    # sbatch hands the umask on to the job, local workers inherit it: their logs are the group's too
    with sharing.umask_for(shared=plan.sweep.study.shared):
        return _start(plan, environ, resumes)


def _start(plan: Plan, environ: Mapping[str, str], resumes: int) -> Submission | None:
    home = plan.home
    for marker in ("CANCELLED", "DRAIN") if resumes == 0 else ():
        home.marker(marker).unlink(missing_ok=True)
    if plan.workers == 0:
        return None
    id = secrets.token_hex(6)
    code = describe_code(home, id, workdir=plan.workdir, argv=command_line())
    if plan.sweep.objective.snapshot:
        copy = snapshot(home, id, workdir=plan.workdir)
        plan = replace(plan, workdir=copy)
        if plan.sweep.study.shared:
            sharing.open_to_group(copy)  # the copies have the modes of their originals
        code["snapshot"] = f"{home.code.name}/{id}"
    job = plan.sweep.job
    submission = Submission(
        id=id,
        kind="local" if plan.is_local else "slurm",
        workers=plan.workers,
        walltime_s=job.walltime,
        submitted=time.time(),
        gpus=job.gres or job.gpus_per_node or "",
        log_pattern=_log_pattern(plan, id),
        host=processes.host_name(environ),
        code=code,
        resumes=resumes,
    )
    # written before sbatch: if we die in between, the job's name leads back to this line
    write_submission(home, submission)
    try:
        if plan.is_local:
            job_ids = start_workers(plan, submission=id, gpus=local_gpus(environ), environ=environ)
        else:
            job_ids = (_sbatch(plan, id),)
    except HpoBatchError as error:
        write_submission(home, replace(submission, refused=str(error)))
        raise
    submission = replace(submission, job_ids=job_ids)
    write_submission(home, submission)
    if submission.kind == "slurm" and (job.collect or job.auto_resume):
        submission = add_collector(plan, submission, environ=environ)
        write_submission(home, submission)
    return submission


def job_name(home: StudyHome, submission: str) -> str:
    """The study's name for people, the submission's id for us: workers and lost submissions are found by it."""
    readable = "".join(c if c.isalnum() or c in "._" else "." for c in home.name)
    return f"{readable}-{submission}"


def _log_pattern(plan: Plan, id: str) -> str:
    if plan.is_local:
        return LOG_PATTERN.replace("{submission}", id)
    return "slurm/%A_%a_0_log.err" if plan.tasks > 1 else "slurm/%A_0_log.err"


def _sbatch(plan: Plan, id: str) -> str:
    """One array of workers; its job id."""
    home, job = plan.home, plan.sweep.job
    executor = submitit.SlurmExecutor(folder=home.slurm, python=python_command(job))
    executor.update_parameters(**parameters(job, name=job_name(home, id), workdir=plan.workdir))
    try:
        with _clean_environment():
            if plan.tasks > 1:
                with executor.batch():
                    jobs = [executor.submit(Worker(home=str(home.path))) for _ in range(plan.tasks)]
            else:
                jobs = [executor.submit(Worker(home=str(home.path)))]
    except (FailedJobError, FailedSubmissionError) as error:
        _remove_leftovers(home.slurm)
        raise SlurmRefused(f"sbatch refused the job: {_own_words(str(error))}") from error
    job_id: str = str(jobs[0].job_id).partition("_")[0]
    return job_id


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    """Hide a surrounding job's SLURM_* from the new one: submitit passes on the whole environment."""
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(("SLURM_", "SUBMITIT_")) and name not in KEPT_OF_SLURM
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def _own_words(text: str) -> str:
    """SLURM's message out of submitit's, which repeats command and output."""
    lines = [line.strip() for line in text.splitlines() if "error:" in line]
    return "; ".join(dict.fromkeys(line.partition("error:")[2].strip() for line in lines)) or text.strip()


def _remove_leftovers(folder: Path) -> None:
    """What submitit leaves behind when sbatch refuses: pickles and scripts that no job will read."""
    for pattern in ("*[0-9a-f].pkl", ".submission_file_*.sh"):
        for path in folder.glob(pattern):
            if "_submitted" not in path.name and not path.is_symlink():
                path.unlink(missing_ok=True)
