"""Which workers of a study are there now: one squeue for all studies, and the processes of this host.

For commands that add or end workers: they must not guess, so a SLURM that does not answer is an error here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hpo_batch import processes
from hpo_batch.cluster.states import TaskState
from hpo_batch.monitor.queue import Queue, ask, workers_of
from hpo_batch.monitor.reasons import is_held
from hpo_batch.store import leases
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission, read_submissions

SUBMISSION_VARIABLE = "HPO_BATCH_SUBMISSION"
HELD_BACK = "BeginTime"
"""SLURM's reason for a task that was requeued and may not start yet"""
JUST_STARTED_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Live:
    """Workers of one study that run or will run."""

    workers: int
    held_back: tuple[str, ...]
    """those among them that SLURM has requeued and lets wait"""
    on_hold: tuple[str, ...]
    """those that do not start before somebody releases them"""
    queue: Queue
    """what squeue said"""


@dataclass(frozen=True, kw_only=True)
class LocalWorker:
    """A worker that is no array task."""

    name: str
    pid: int
    host: str
    is_here: bool
    """whether its pid is one of this host and PID namespace: outside of its container it is somebody else's"""


def live(homes: Sequence[StudyHome], *, ended: bool = False) -> dict[str, Live]:
    """The live workers of each study, by its name.

    Args:
        ended: ask for tasks too that ended not long ago.

    Raises:
        SlurmError, CommandMissing: SLURM cannot be asked, and a study has jobs there.
    """
    submissions = {home.name: read_submissions(home) for home in homes}
    queue = ask([s for several in submissions.values() for s in several], ended=ended)
    return {home.name: _live(home, submissions[home.name], queue) for home in homes}


def _live(home: StudyHome, submissions: Sequence[Submission], queue: Queue) -> Live:
    # a cancelled job that SLURM still shows is about to end
    mine = [s for s in submissions if not s.cancelled]
    rows = {task: row for s in mine for task, row in queue.of(s).items()}
    pending = [row for _, row in sorted(rows.items()) if row.state is TaskState.PENDING]
    here = [worker for worker in local_workers(home, submissions) if worker.is_here]
    return Live(
        workers=workers_of(mine, queue) + len(here),
        held_back=tuple(row.id for row in pending if row.reason == HELD_BACK),
        on_hold=tuple(row.id for row in pending if is_held(row.reason)),
        queue=queue,
    )


def local_workers(home: StudyHome, submissions: Sequence[Submission]) -> list[LocalWorker]:
    """Workers outside of SLURM: on this host those that are not proven gone, on others all that have left a card."""
    found = []
    for name, owner in leases.read_owners(home.workers).items():
        if owner.job == "local" and leases.is_dead_here(owner.facts) is not True:
            is_here = leases.is_from_here(owner.facts)
            found.append(LocalWorker(name=name, pid=owner.pid, host=owner.host, is_here=is_here))
    here, now = processes.host_name(), time.time()
    known = {worker.pid for worker in found if worker.is_here}
    for submission in submissions:
        if submission.kind != "local" or submission.host != here or now - submission.submitted > JUST_STARTED_S:
            continue
        # one that has just been started has no card yet; a pid alone could be anybody's by now
        ours = set(processes.with_environment(SUBMISSION_VARIABLE, submission.id))
        for pid in ours.intersection(map(int, submission.job_ids)) - known:
            found.append(LocalWorker(name=f"{submission.id} (pid {pid})", pid=pid, host=here, is_here=True))
    return found
