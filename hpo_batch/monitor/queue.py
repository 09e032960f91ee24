"""What SLURM's queue has of some submissions: one squeue, which also finds the jobs whose ids were lost.

A submitter writes a submission down before it calls sbatch and again with the job's id. If it is killed in between, or
if sbatch gives no answer, the job may be there all the same: its name, which ends in the submission's id, leads back.
Used by everything that asks who is at work: status, submit, cancel, resume.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hpo_batch.cluster.commands import SBATCH_TIMEOUT_S, TIMEOUT_S, ArrayTask, QueueRow, squeue
from hpo_batch.store.leases import is_dead_here
from hpo_batch.store.submissions import Submission

STARTING_S = 2 * SBATCH_TIMEOUT_S
"""a submission of another host that has no job after so long has failed"""


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Jobs of submissions, by the ids that are written down and by name."""

    rows: Mapping[ArrayTask, QueueRow]
    """the tasks that have not ended, each once, also if several submissions name it"""
    job_ids: Mapping[str, tuple[str, ...]]
    """of each submission: those that it has, then those that were found"""

    def of(self, submission: Submission) -> dict[ArrayTask, QueueRow]:
        """Its tasks that have not ended."""
        ids = {int(id) for id in self.job_ids.get(submission.id, ())}
        return {task: row for task, row in self.rows.items() if task.job in ids}


def ask(submissions: Iterable[Submission], *, ended: bool = False, timeout_s: float = TIMEOUT_S) -> Queue:
    """One squeue for all of them; none if none is SLURM's.

    Args:
        ended: with the tasks that ended not long ago.

    Raises:
        CommandMissing, SlurmUnreachable: see ``commands.squeue``.
    """
    ours = list({s.id: s for s in submissions if s.kind == "slurm" and not s.refused}.values())
    ids = [id for s in ours for id in s.job_ids]
    # then the others by name too, since SLURM gives only the jobs of the ids *and* the names
    names = [s.name for s in ours] if any(s.may_have_more for s in ours) else []
    rows = squeue(ids, names=names, ended=ended, timeout_s=timeout_s)
    return Queue(rows=rows, job_ids={s.id: _ids(s, rows) for s in ours})


def is_starting(submission: Submission, *, now: float | None = None) -> bool:
    """Whether its submitter is, as far as can be told, still between writing it down and the answer of sbatch."""
    if not submission.is_open or submission.refused:
        return False
    age = (time.time() if now is None else now) - submission.submitted
    dead = is_dead_here(submission.submitter) if submission.submitter else None
    return not dead and age < STARTING_S


def workers_of(submissions: Sequence[Submission], queue: Queue) -> int:
    """Workers of these submissions that are in the queue or about to be, none of them twice."""
    per_task: dict[ArrayTask, int] = {}
    coming = 0
    for submission in {s.id: s for s in submissions}.values():
        live = [task for task, row in queue.of(submission).items() if row.state.live]
        per_task.update(dict.fromkeys(live, submission.workers_per_task))
        if is_starting(submission):
            coming += max(0, submission.asked - len(live) * submission.workers_per_task)
    return coming + sum(per_task.values())


def _ids(submission: Submission, rows: Mapping[ArrayTask, QueueRow]) -> tuple[str, ...]:
    if not submission.may_have_more:
        return submission.job_ids
    found = sorted({task.job for task, row in rows.items() if row.name.endswith(f"-{submission.id}")})
    return tuple(dict.fromkeys((*submission.job_ids, *map(str, found))))
