"""Workers that ended without recording why, and the reason, from squeue and from SLURM's messages in their logs.

They are reported even while other workers run, but only for the newest submission, which replaces earlier ones. Used by
``status``, ``--wait`` and ``doctor``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from hpo_batch import processes
from hpo_batch.monitor.output import last_lines
from hpo_batch.scheduler.tasks import ArrayTask, QueueRow, TaskState
from hpo_batch.store.home import StudyHome
from hpo_batch.store.last_words import MEMORY, PREFIX
from hpo_batch.store.submissions import Submission

# logs to read, newest first: an array may have thousands of tasks, which mostly end alike
MOST_LOGS: Final = 200
# lines at the end of each: tracebacks of nested calls and srun's summary of all ranks come after the cause
LINES: Final = 100
# start of a run of a worker or supervisor; a requeued task appends to its log
_BEGINS = re.compile(r" I worker on ([^\s,]+)")
_ENDS = re.compile(r" I worker ends: ")
# SLURM's messages, the most informative first. Repetition is bounded, because user code may write long lines.
_TELLING = (
    MEMORY,
    re.compile(r"execve\(\):"),
    re.compile(r"error: .{0,300}(?:couldn't chdir|[Cc]ould not open std|No space left|Permission denied|No such file)"),
    re.compile(r"error: .{0,300}(?:Unable to create step|[Ff]ailed to launch|[Tt]ask launch)"),
    re.compile(r"\*\*\* [^*]{0,300}(?:DUE TO|CANCELLED AT)[^*]{0,300}\*\*\*"),
)
# the last line of a Python traceback
_EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning)|[\w.]*[Ee]rror)\b(?::|$)")
# what srun adds after the death of a task, which is a consequence; "Force Terminated" is 24.11's "Terminating"
_NOISE = re.compile(
    r"^(?:srun: (?:error: .*(?:task|Exited|Killed|Timed out)|Terminating|Force Term|forcing|got SIG|Job step|launch)"
    r"|slurmstepd: error: \*\*\*)"
)
# SLURM's verdict on a task, if it says more than FAILED
_STATES: Final[Mapping[TaskState, str]] = {
    TaskState.OUT_OF_MEMORY: "out of memory",
    TaskState.NODE_FAIL: "its node failed",
    TaskState.TIMEOUT: "killed at its time limit",
    TaskState.PREEMPTED: "preempted for good",
    TaskState.CANCELLED: "cancelled",
}
_SILENT: Final = "nothing in its log"
SILENT_DEATH: Final = "it died without a message, perhaps by kill -9 or for lack of memory"
# our own log messages other than errors
_AT_WORK = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [DIW] ")
NO_LOG: Final = "no log: its node may not see the study's directory, or SLURM never started it"


class Dead(Struct, frozen=True, kw_only=True):
    """Workers, or array tasks of several, that ended for one reason on one node."""

    why: str
    node: str
    """empty if unknown"""
    tasks: tuple[str, ...]
    """``A_i``; for local workers, ``worker N``"""
    of: int
    """tasks of the submission"""
    log: str
    """the log of one of them; empty if there is none"""

    def __str__(self) -> str:
        what = f"{len(self.tasks)} of {self.of} {'array tasks' if self.of > 1 else 'array task'}"
        if not any(task.partition("_")[2] or task.isdecimal() for task in self.tasks):
            what = f"{len(self.tasks)} of {self.of} workers"
        where = f" on {self.node}" if self.node else ""
        few = ", ".join(self.tasks[:4]) + (", ..." if len(self.tasks) > 4 else "")
        return f"{what} ended{where}: {self.why} ({few}{f'; {self.log}' if self.log else ''})"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def dead_workers(
    home: StudyHome,
    submissions: Sequence[Submission],
    *,
    rows: Mapping[ArrayTask, QueueRow],
    job_ids: Mapping[str, Sequence[str]],
    live: Collection[str],
    answered: bool,
) -> tuple[Dead, ...]:
    """Workers of the newest submission that ended without recording why, the largest group first.

    Args:
        rows: squeue's, including recently ended tasks.
        job_ids: by submission, including those found by name.
        live: array tasks and process ids of local workers that are still there.
        answered: whether SLURM answered; otherwise no array task is reported as ended.
    """
    started = [s for s in submissions if not s.refused and (s.job_ids or job_ids.get(s.id))]
    if not started or started[-1].cancelled:
        return ()
    newest = started[-1]
    ends = _local_ends(home, newest, live) if newest.kind == "local" else []
    if newest.is_batch and answered:
        ends = _task_ends(home, newest, rows, tuple(job_ids.get(newest.id, newest.job_ids)), live)
    tasks = -(-newest.workers // newest.workers_per_task)  # rounded up: the last task may have fewer workers
    grouped: dict[tuple[str, str], list[_End]] = {}
    for end in ends:
        grouped.setdefault((end.why, end.node), []).append(end)
    found = [
        Dead(
            why=why,
            node=node,
            tasks=tuple(end.task for end in several),
            of=max(tasks, len(several)),
            log=next((end.log for end in several if end.log), ""),
        )
        for (why, node), several in grouped.items()
    ]
    return tuple(sorted(found, key=lambda dead: (-len(dead.tasks), dead.node, dead.why)))


def true_reason(lines: Iterable[str]) -> str:
    """Why a task ended, from the end of its log: SLURM's own message, else the exception, else the last line."""
    kept = [line.strip() for line in lines if line.strip()]
    for pattern in _TELLING:
        if said := next((line for line in kept if pattern.search(line)), None):
            return PREFIX.sub("", said)
    own = [line for line in kept if not _NOISE.match(line)]
    # the last one: of a chain of exceptions, Python prints the one that ended the process last
    exception = next((line for line in reversed(own) if _EXCEPTION.match(line)), None)
    last = (own or kept or [""])[-1]
    return exception or (SILENT_DEATH if _AT_WORK.match(last) else last)


class _End(Struct, frozen=True, kw_only=True):
    task: str
    node: str
    why: str
    log: str


def _task_ends(
    home: StudyHome,
    submission: Submission,
    rows: Mapping[ArrayTask, QueueRow],
    job_ids: Sequence[str],
    live: Collection[str],
) -> list[_End]:
    alive = {ArrayTask.parse(task) for task in live}
    mine = {int(id) for id in job_ids if id.isdecimal()}
    ended = {task: row for task, row in rows.items() if task.job in mine and not row.state.live}
    alive |= {task for task, row in rows.items() if row.state.live}
    logs = {task: log for task, log in _logs(home, job_ids) if task not in alive}
    known = {*logs, *ended}
    looked_at = sorted(known, key=lambda task: (task.job, task.index), reverse=True)[:MOST_LOGS]
    found = []
    for task in sorted(looked_at):
        row, log = ended.get(task), logs.get(task)
        if (end := _end(str(task) if _is_array(task, row, log) else str(task.job), row, log)) is not None:
            found.append(end)
    expected = -(-submission.workers // submission.workers_per_task)
    # of one array the numbers of all tasks are known: SLURM forgets, and a node that cannot write leaves nothing
    if len(mine) == 1 and expected > 1 and not submission.may_have_more and logs:
        (job,) = mine
        every = {ArrayTask(job=job, index=index) for index in range(expected)}
        found += [_End(task=str(task), node="", why=NO_LOG, log="") for task in sorted(every - known - alive)]
    return found


def _logs(home: StudyHome, job_ids: Sequence[str]) -> Iterable[tuple[ArrayTask, Path]]:
    for id in job_ids:
        for path in home.slurm.glob(f"{id}_*0_log.err"):
            if match := re.fullmatch(rf"({id}(?:_\d+)?)_0_log\.err", path.name):
                yield ArrayTask.parse(match[1]), path


def _is_array(task: ArrayTask, row: QueueRow | None, log: Path | None) -> bool:
    return row.is_array if row is not None else log is not None and log.name.startswith(f"{task}_")


def _end(task: str, row: QueueRow | None, log: Path | None) -> _End | None:
    """How a task ended; None if it ended normally."""
    lines = [] if log is None else last_lines(log, LINES)
    begun = max((i for i, line in enumerate(lines) if _BEGINS.search(line)), default=0)
    # a requeued task appends to its log: only the last run counts
    lines = lines[begun:]
    in_order = any(_ENDS.search(line) for line in lines)
    if in_order or (row is not None and row.state is TaskState.DONE) or _is_submitit_done(lines):
        return None
    told = true_reason(lines)
    # a message about memory says more than SLURM's state, which may be FAILED
    state = "" if row is None else _STATES.get(row.state, "")
    why = "; ".join(part for part in (state, told) if part) if not MEMORY.search(told) else told
    if not why and row is not None:
        reason = "" if row.reason in ("None", "") else f", {row.reason}"
        why = f"{row.word}{reason}; {_SILENT if log is not None else 'no log'}"
    at = next((match[1] for line in lines if (match := _BEGINS.search(line))), "")
    node = (row.node if row is not None else "") or at or _named_node(lines)
    return _End(task=task, node=node, why=_general(why or _SILENT), log=str(log or ""))


def _is_submitit_done(lines: Sequence[str]) -> bool:
    return bool(lines) and lines[-1].endswith("successful completion")


def _named_node(lines: Sequence[str]) -> str:
    for line in lines:
        if match := re.search(r"\*\*\* (?:JOB|STEP) \S+ ON (\S+) |^srun: error: ([\w.-]+): task", line):
            return match[1] or match[2]
    return ""


def _general(why: str) -> str:
    """Without ids and times, so that tasks that ended alike are grouped."""
    why = re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ", "", why)
    why = re.sub(r"\b(?:StepId|JobId|job|step)[= ]?\d+(?:_\d+)?(?:\.\w+)?", "the step", why, flags=re.IGNORECASE)
    return re.sub(r"(\*\*\* (?:JOB|STEP)) \S+ ON \S+ CANCELLED AT [\dT:-]+", r"\1 CANCELLED", why)[:300]


def _local_ends(home: StudyHome, submission: Submission, live: Collection[str]) -> list[_End]:
    if submission.host != processes.host_name():
        return []
    found = []
    for index, pid in enumerate(submission.job_ids):
        log = home.path / submission.log_pattern.replace("%i", str(index))
        if pid in live or not log.is_file():
            continue
        if (end := _end(f"worker {index}", None, log)) is not None:
            found.append(end)
    return found
