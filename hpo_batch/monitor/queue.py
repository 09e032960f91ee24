"""Ask squeue about submissions, including jobs whose ids were lost.

A submitter records a submission before it calls sbatch, and again with the job id. If it is killed in between, or
sbatch does not answer, the job may exist all the same; it is found by its name, which ends in the submission's id. Used
by status, submit, cancel and resume.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from hpo_batch.errors import CommandMissing, HpoBatchError
from hpo_batch.processes import is_dead_here
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.scheduler import ANSWER_S, SUBMIT_S
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask, QueueRow
from hpo_batch.store.home import user_name
from hpo_batch.store.submissions import Submission

# shorter than for submit, since a reader can do without the answer; squeue's own retries take 9 s
SQUEUE_TIMEOUT_S: Final = 10.0
# sacct reads a database, which may take long for thousands of tasks
SACCT_TIMEOUT_S: Final = 30.0
# a submission from another host without a job after this time has failed: sbatch may take SUBMIT_S, and clocks differ
STARTING_S = 2 * SUBMIT_S


class Hidden(Struct, frozen=True, kw_only=True):
    """Why SLURM may show no job of a submission, though some may be there."""

    why: str
    is_elsewhere: bool = False
    """it belongs to another cluster, so that its absence here proves nothing"""


class Queue(Struct, frozen=True, kw_only=True):
    """Jobs of submissions, found by recorded ids and by name."""

    rows: Mapping[ArrayTask, QueueRow]
    """tasks, including recently ended ones; each once, even if several submissions name it"""
    job_ids: Mapping[str, tuple[str, ...]]
    """by submission: recorded ids, then those found by name"""
    hidden: Mapping[str, Hidden] = {}
    """by submission, for those of whose jobs SLURM shows none, neither pending nor ended"""

    def of(self, submission: Submission) -> dict[ArrayTask, QueueRow]:
        """The tasks of a submission."""
        ids = {int(id) for id in self.job_ids.get(submission.id, ())}
        return {task: row for task, row in self.rows.items() if task.job in ids}


def ask(submissions: Iterable[Submission], *, ended: bool = True, timeout_s: float = ANSWER_S) -> Queue:
    """Ask squeue once about all submissions; not at all if none is SLURM's.

    Jobs are recognized by name: on another cluster, or after job ids have restarted, an id may be another user's job.

    Args:
        ended: include recently ended tasks, which proves that they ended.

    Raises:
        CommandMissing, SlurmUnreachable: see ``commands.squeue``.
    """
    ours = list({s.id: s for s in submissions if s.is_batch and not s.refused}.values())
    ids = [id for s in ours for id in s.job_ids]
    # all by name, because squeue with --jobs and --name shows only jobs that match both
    names = [s.name for s in ours] if any(s.may_have_more for s in ours) else []
    found = BATCH.queue(ids, names=names, ended=ended, timeout_s=timeout_s)
    known = {s.id for s in ours}
    rows = {task: row for task, row in found.items() if row.name.rpartition("-")[2] in known}
    job_ids = {s.id: _ids(s, rows) for s in ours}
    shown = {task.job for task in rows}
    absent = [s for s in ours if s.job_ids and not any(int(id) in shown for id in job_ids[s.id])]
    return Queue(rows=rows, job_ids=job_ids, hidden=_why_hidden(absent))


def _why_hidden(absent: Sequence[Submission]) -> dict[str, Hidden]:
    if not absent:
        return {}
    here = BATCH.cluster(os.environ) if any(s.cluster for s in absent) else ""
    me = user_name(os.geteuid())
    reasons: dict[str, Hidden] = {}
    for one in absent:
        if one.cluster and here and one.cluster != here:
            why = f"it is on cluster '{one.cluster}', and this is cluster '{here}'"
            reasons[one.id] = Hidden(why=why, is_elsewhere=True)
        elif one.user and one.user != me:
            reasons[one.id] = Hidden(
                why=f"{one.user} submitted it, and a site may hide the jobs of others (PrivateData)"
            )
        else:
            reasons[one.id] = Hidden(
                why="SLURM forgets a job some minutes after its end; its answer may also lack some"
            )
    return reasons


def is_starting(submission: Submission, *, now: float | None = None) -> bool:
    """Whether its submitter is, as far as can be told, still waiting for the answer of sbatch."""
    if not submission.is_open or submission.refused:
        return False
    age = (time.time() if now is None else now) - submission.submitted
    dead = is_dead_here(submission.submitter) if submission.submitter else None
    return not dead and age < STARTING_S


def coming(submission: Submission, queue: Queue) -> int:
    """Workers still to come of a submission whose sbatch is being called."""
    if not is_starting(submission):
        return 0
    there = sum(submission.workers_per_task for row in queue.of(submission).values() if row.state.live)
    return max(0, submission.asked - there)


def _ids(submission: Submission, rows: Mapping[ArrayTask, QueueRow]) -> tuple[str, ...]:
    if not submission.may_have_more:
        return submission.job_ids
    found = sorted({task.job for task, row in rows.items() if row.name.endswith(f"-{submission.id}")})
    return tuple(dict.fromkeys((*submission.job_ids, *map(str, found))))


class Answer(Struct, frozen=True, kw_only=True):
    """SLURM's answer, or why there is none."""

    asked: float
    """seconds since the epoch"""
    rows: Mapping[ArrayTask, QueueRow] = {}
    job_ids: Mapping[str, tuple[str, ...]] = {}
    """by submission, including lost ids that were found by name"""
    hidden: Mapping[str, Hidden] = {}
    """by submission, for those of whose jobs SLURM shows none"""
    unseen: str = ""
    """why there is no answer"""

    def jobs_of(self, submission: Submission) -> set[int]:
        ids = self.job_ids.get(submission.id, submission.job_ids) if submission.is_batch else ()
        return {int(id) for id in ids if id.isdecimal()}

    @property
    def answered(self) -> bool:
        return not self.unseen


def look_at_queue(submissions: Sequence[Submission], *, now: float) -> Answer:
    """What SLURM shows of some submissions. That it does not answer is not an error here, but part of the result."""
    # a job can be in the queue long after its walltime only if it was requeued; allow a month for that
    recent = [s for s in submissions if now - s.submitted < s.walltime_s * 10 + 30 * 86400]
    try:
        queue = ask(recent, timeout_s=SQUEUE_TIMEOUT_S)
        return Answer(rows=queue.rows, job_ids=queue.job_ids, hidden=queue.hidden, asked=now)
    except CommandMissing:
        why = "there is no squeue on this machine"
    except HpoBatchError as error:
        why = str(error)
    return Answer(asked=now, unseen=f"array tasks: {why}; workers are told by their leases, waiting ones not")


def ask_accounts(
    submissions: Sequence[Submission],
) -> tuple[Mapping[ArrayTask, tuple[AccountingRow, ...]] | None, str]:
    """SLURM's accounting of some submissions, or None and the reason."""
    ids = [id for s in submissions if s.is_batch for id in s.job_ids]
    if not ids:
        return {}, ""
    try:
        found = BATCH.accounts(ids, timeout_s=SACCT_TIMEOUT_S)
    except CommandMissing:
        return None, "accounting: there is no sacct on this machine"
    except HpoBatchError as error:
        return None, f"accounting: {error}"
    return (found, "") if found is not None else (None, "accounting: this site keeps no accounts")
