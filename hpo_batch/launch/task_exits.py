"""How the tasks of a submission have ended, from whoever remembers: squeue, the accounts, and what they left here.

squeue forgets after some minutes, many sites keep no accounts, and the job that asks may have waited for hours. Then
the logs tell, in which SLURM writes why it ends a task, and the folders of trials. For ``collector``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hpo_batch.errors import CommandMissing, SlurmError
from hpo_batch.files import loads, read_regular
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor.output import last_lines
from hpo_batch.monitor.queue import Queue
from hpo_batch.records import Cause, TrialState
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.tasks import TaskState
from hpo_batch.store.attempt_folder import RESULT
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission

log = logging.getLogger(__name__)

TOLD_TO_END = (Cause.PREEMPTED.value, Cause.CANCELLED.value)
"""how the journal says that an attempt was ended by SIGTERM, or by a marker"""
LINES = 100
_BEGINS = re.compile(r" I (\[slot \d+\] )?worker on ")
"""a run of a task: a requeued one appends to the log"""
_BREAKS = re.compile(r"srun: (error: .{0,300}: task|Terminating StepId)")
"""a process that ended by itself; where KillOnBadExit is set, srun then has SLURM end the others"""
_ENDS = re.compile(r"error: \*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT \S+ (?:DUE TO (.{1,300}) )?\*\*\*")
_WHY = {"": TaskState.CANCELLED, "PREEMPTION": TaskState.PREEMPTED}
"""the other words (TIME LIMIT, NODE FAILURE, ...) are no reason not to go on"""


def how_they_ended(
    home: StudyHome, submission: Submission, queue: Queue, *, state: JournalState
) -> tuple[TaskState, ...]:
    """How the submission's tasks have ended, as far as can be known. One of them may be told of several times.

    Args:
        queue: with the tasks that have ended, which squeue forgets after some minutes. sacct is asked too.
    """
    states = [row.state for row in queue.of(submission).values()]
    try:
        accounted = BATCH.accounts(submission.job_ids) or {}
    except (SlurmError, CommandMissing) as error:
        log.warning("how the workers' jobs ended is not in the accounts: %s", error)
        accounted = {}
    states += [runs[-1].state for runs in accounted.values() if runs]
    logs = list(_logs(home, queue.job_ids.get(submission.id, submission.job_ids)))
    states += [ended for path in logs if (ended := last_word(last_lines(path, LINES))) is not None]
    states += [TaskState.CANCELLED] * _never_begun(home, submission, logs)
    states += [TaskState.CANCELLED for _ in _told_while_they_ran(home, state, submission.id)]
    return tuple(states)


def last_word(lines: Sequence[str]) -> TaskState | None:
    """What the end of a worker's log says: cancelled, or preempted and not requeued; None if neither."""
    why: TaskState | None = None
    broke = False
    for line in lines:
        if _BEGINS.search(line):
            why, broke = None, False
        elif _BREAKS.search(line):
            broke = True
        elif (found := _ENDS.search(line)) and why is None and not broke:
            why = _WHY.get(found[1] or "")
    return why


def _logs(home: StudyHome, job_ids: Sequence[str]) -> Iterator[Path]:
    for id in job_ids:
        yield from home.slurm.glob(f"{id}_*_0_log.err")
        yield from home.slurm.glob(f"{id}_0_log.err")


def _never_begun(home: StudyHome, submission: Submission, logs: Sequence[Path]) -> int:
    """Tasks without a log: the job that asks waits for all of them, so they were cancelled while they were pending."""
    if submission.may_have_more or not home.slurm.is_dir() or not logs:
        return 0  # unknown: of how many, or whether somebody has removed them
    return max(0, -(-submission.workers // submission.workers_per_task) - len(logs))


def _told_while_they_ran(home: StudyHome, state: JournalState, submission: str) -> Iterator[int]:
    """Trials whose worker was told to end and killed before it could say so in the journal."""
    for number in state.by_state[TrialState.RUNNING]:
        trial = state.trials[number]
        if trial.attempt_facts(trial.attempt).get("submission") != submission:
            continue
        with suppress(OSError, ValueError, AttributeError):
            kept = loads(read_regular(home.attempt(number, trial.attempt) / RESULT))
            if kept.get("cause") in TOLD_TO_END:
                yield number
