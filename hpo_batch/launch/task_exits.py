"""Find out how a submission's tasks ended, for ``collector``: from squeue, sacct, the tasks' logs and trial folders.

squeue forgets a job after MinJobAge (300 s by default, https://slurm.schedmd.com/slurm.conf.html#OPT_MinJobAge), many
sites have no accounting, and the collector may have waited for hours. Then only the logs, in which SLURM writes why it
ended a task, and the trial folders are left.
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

# endings in the journal of attempts that SIGTERM or a marker ended
TOLD_TO_END = (Cause.PREEMPTED.value, Cause.CANCELLED.value)
LINES = 100
# start of a run; a requeued task appends to its log
_BEGINS = re.compile(r" I (\[slot \d+\] )?worker on ")
# a process failed by itself; with KillOnBadExit, srun then ends the others, which looks like a cancellation
_BREAKS = re.compile(r"srun: (error: .{0,300}: task|Terminating StepId|Force Terminated StepId)")
# 26.05 writes "DUE to SIGNAL Terminated" after scancel, where earlier versions give no cause
_ENDS = re.compile(
    r"error: \*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT \S+ (?:DUE TO (.{1,300}) |DUE to SIGNAL .{1,99} )?\*\*\*"
)
# after other causes (TIME LIMIT, NODE FAILURE, ...) the collector may resume
_WHY = {"": TaskState.CANCELLED, "PREEMPTION": TaskState.PREEMPTED}


def how_they_ended(
    home: StudyHome, submission: Submission, queue: Queue, *, state: JournalState
) -> tuple[TaskState, ...]:
    """The final states of a submission's tasks, as far as known. A task may appear several times.

    Args:
        queue: squeue's answer, including ended tasks. sacct is asked too.
    """
    states = [row.state for row in queue.of(submission).values()]
    try:
        accounted = BATCH.accounts(submission.job_ids) or {}
    except (SlurmError, CommandMissing) as error:
        log.warning("sacct cannot tell how the workers' jobs ended: %s", error)
        accounted = {}
    states += [runs[-1].state for runs in accounted.values() if runs]
    logs = list(_logs(home, queue.job_ids.get(submission.id, submission.job_ids)))
    states += [ended for path in logs if (ended := last_word(last_lines(path, LINES))) is not None]
    states += [TaskState.CANCELLED] * _never_begun(home, submission, logs)
    states += [TaskState.CANCELLED for _ in _told_while_they_ran(home, state, submission.id)]
    return tuple(states)


def last_word(lines: Sequence[str]) -> TaskState | None:
    """Whether the end of a worker's log shows that its task was cancelled or preempted; None if neither."""
    why: TaskState | None = None
    broke = False
    for line in lines:
        if _BEGINS.search(line):
            why, broke = None, False
        elif _BREAKS.search(line):
            broke = True
        elif (match := _ENDS.search(line)) and why is None and not broke:
            why = _WHY.get(match[1] or "")
    return why


def _logs(home: StudyHome, job_ids: Sequence[str]) -> Iterator[Path]:
    for id in job_ids:
        yield from home.slurm.glob(f"{id}_*_0_log.err")
        yield from home.slurm.glob(f"{id}_0_log.err")


def _never_begun(home: StudyHome, submission: Submission, logs: Sequence[Path]) -> int:
    """Number of tasks without a log; the collector runs after all of them, so they were cancelled while pending."""
    if submission.may_have_more or not home.slurm.is_dir() or not logs:
        return 0  # the total is unknown, or somebody has removed the logs
    return max(0, -(-submission.workers // submission.workers_per_task) - len(logs))


def _told_while_they_ran(home: StudyHome, state: JournalState, submission: str) -> Iterator[int]:
    """Trials whose worker was told to stop, and killed before it could record that in the journal."""
    for number in state.by_state[TrialState.RUNNING]:
        trial = state.trials[number]
        if trial.attempt_facts(trial.attempt).get("submission") != submission:
            continue
        with suppress(OSError, ValueError, AttributeError):
            result = loads(read_regular(home.attempt(number, trial.attempt) / RESULT))
            if result.get("cause") in TOLD_TO_END:
                yield number
