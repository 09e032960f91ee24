"""Carry out a plan: create the study, record the submission, start the workers."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from hpo_batch import processes
from hpo_batch.errors import HpoBatchError, SlurmError, StorageError, SubmissionUnknown
from hpo_batch.launch.arrays import LOG_OF_JOB, LOG_OF_TASK, submit_arrays
from hpo_batch.launch.collector import add_collector
from hpo_batch.launch.environment import option_of, sbatch_environment
from hpo_batch.launch.local import LOG_PATTERN, start_workers
from hpo_batch.launch.plan import Plan
from hpo_batch.launch.provenance import command_line, describe_code, snapshot
from hpo_batch.launch.rollback import look_before, put_back, remove_unused, take_markers
from hpo_batch.launch.sbatch import asked_options
from hpo_batch.launch.task_layout import gpus_of, shape_of
from hpo_batch.monitor.queue import Queue, is_starting
from hpo_batch.scheduler.gpu_request import speaks_of_gpus
from hpo_batch.scheduler.gpus import local_gpus
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.store import leases, sharing
from hpo_batch.store.home import StudyHome, user_name
from hpo_batch.store.submissions import Submission, job_name, read_submissions, write_submission
from hpo_batch.study.create import create
from hpo_batch.sweep.schema import Job

log = logging.getLogger(__name__)


def carry_out(
    plan: Plan, *, toml: str, environ: Mapping[str, str], resumes: int = 0, predicted: bytes | None = None
) -> Submission | None:
    """Create or revise the study and start the plan's workers; None if the plan has no workers.

    If SLURM rejects the workers of a new study, the study is removed again.

    Args:
        resumes: number of submissions in a row made by collectors, including this one; those keep the markers.
        predicted: the decisions file of the sweep, which a new study keeps.

    Raises:
        Irreconcilable, StorageError: see ``study.create``.
        SlurmRefused, SlurmUnreachable, SubmissionUnknown: see ``arrays.submit_arrays``.
    """
    # random rather than counted: unique without a lock, also when a study was copied
    id = secrets.token_hex(6)
    before = None if plan.home.exists else look_before(plan.home)
    _create(plan, toml, predicted)
    try:
        # jobs get the umask of sbatch, and local workers inherit it, so that the group can read their logs
        with sharing.umask_for(shared=plan.sweep.study.shared):
            return _start(plan, id, environ, resumes)
    except SlurmError as error:
        if before is not None and not isinstance(error, SubmissionUnknown):
            remove_unused(plan.home, id, before=before)
        raise


def note_found(home: StudyHome, queue: Queue) -> None:
    """Record the ids of jobs that were found by name, since sacct needs them once the jobs have left the queue."""
    for submission in read_submissions(home):
        ids = queue.job_ids.get(submission.id, submission.job_ids)
        if ids != submission.job_ids and not is_starting(submission):
            write_submission(home, structs.replace(submission, job_ids=ids, is_open=False))


def _create(plan: Plan, toml: str, predicted: bytes | None) -> None:
    try:
        create(plan.home, plan.sweep, toml=toml, now=time.time(), predicted=predicted)
    except StorageError:
        if plan.home.path.exists():
            raise
        # another submission was rejected at this moment and has removed the study that it had created
        create(plan.home, plan.sweep, toml=toml, now=time.time(), predicted=predicted)


def _start(plan: Plan, id: str, environ: Mapping[str, str], resumes: int) -> Submission | None:
    home = plan.home
    markers = take_markers(home) if resumes == 0 else {}
    if plan.workers == 0:
        return None
    leases.remove_left_over(home.workers, duration_s=plan.sweep.study.lease_s)
    code = describe_code(home, id, workdir=plan.workdir, argv=command_line())
    if plan.sweep.objective.snapshot:
        plan = replace(plan, workdir=_snapshot(plan, id))
        code["snapshot"] = f"{home.code.name}/{id}"
    submission = structs.replace(_submission(plan, id, environ), code=code, resumes=resumes)
    # before sbatch: if this process dies in between, the job can be traced back by its name
    write_submission(home, submission)
    try:
        submission = _start_workers(plan, submission, environ)
    except SubmissionUnknown:
        raise
    except HpoBatchError as error:
        write_submission(home, structs.replace(submission, refused=str(error), is_open=False))
        put_back(home, markers)
        raise
    if plan.collects:
        submission = add_collector(plan, submission, environ=environ)
        write_submission(home, submission)
    return submission


def _start_workers(plan: Plan, submission: Submission, environ: Mapping[str, str]) -> Submission:
    """Start the workers; returns the submission with their ids."""
    if not plan.is_local:
        return submit_arrays(plan, submission, environ=environ)
    job_ids = start_workers(plan, submission=submission.id, gpus=local_gpus(environ), environ=environ)
    submission = structs.replace(submission, job_ids=job_ids)
    write_submission(plan.home, submission)
    return submission


def _submission(plan: Plan, id: str, environ: Mapping[str, str]) -> Submission:
    """The submission before anything is started."""
    job = plan.sweep.job
    submission = Submission(
        id=id,
        kind=plan.sweep.job.scheduler,
        workers=plan.workers,
        workers_per_task=shape_of(job).workers,
        walltime_s=job.walltime,
        submitted=time.time(),
        gpus=_gpus(job, environ),
        log_pattern=_log_pattern(plan, id),
        host=processes.host_name(environ),
        user=user_name(os.geteuid()),
        asked=plan.workers,
    )
    if plan.is_local:
        return submission
    return structs.replace(
        submission,
        name=job_name(plan.home, id),
        cluster=BATCH.cluster(environ),
        is_open=True,
        # lets others tell whether this process is still calling sbatch
        submitter=dict(processes.identity()),
    )


def _snapshot(plan: Plan, id: str) -> Path:
    """Copy the code into the study and return the copy's path."""
    home = plan.home
    copy, private = snapshot(home, id, workdir=plan.workdir)
    if plan.sweep.study.shared:
        # copies keep their modes; untracked files may be secrets, and stay private
        sharing.open_to_group(copy, below=home.path, leaves=private.__contains__)
        closed = sorted(path.name for path in private if path.is_file() and not path.lstat().st_mode & 0o040)
        if closed:
            names = ", ".join(closed)
            log.warning("the group cannot read %s in the snapshot: untracked by git, readable only by you", names)
    return copy


def _log_pattern(plan: Plan, id: str) -> str:
    if plan.is_local:
        return LOG_PATTERN.replace("{submission}", id)
    return LOG_OF_TASK if plan.tasks > 1 else LOG_OF_JOB


def _gpus(job: Job, environ: Mapping[str, str]) -> str:
    """The GPU request of a task, from the sweep or else from the caller's ``SBATCH_*``."""
    if text := gpus_of(job).text:
        return text
    of_caller = sbatch_environment(environ, asked=asked_options(job)).filled
    return next((value for name, value in of_caller.items() if speaks_of_gpus(option_of(name), value)), "")
