"""Find the workers of studies that run or will run, with one squeue for all studies and this host's processes.

For commands that add or end workers, which must not guess: it is an error if SLURM does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from hpo_batch import processes
from hpo_batch.envvars import EnvVar
from hpo_batch.errors import StorageError
from hpo_batch.monitor.output import last_lines
from hpo_batch.monitor.queue import Queue, ask, coming
from hpo_batch.monitor.reader import load_state, newest_beginnings
from hpo_batch.monitor.snapshot import LEASE_S
from hpo_batch.monitor.workers import had_a_worker, just_started
from hpo_batch.records import Owner
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.tasks import ArrayTask, Outlook, QueueRow, TaskState
from hpo_batch.store import leases
from hpo_batch.store.frozen import read_frozen, setting
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission, is_id, is_script_of, read_submissions

# squeue's reason for a requeued task that may not start yet
HELD_BACK = "BeginTime"
ENDS = "ending"
# last log message of a worker whose task is requeued (``worker.task_exit``)
REQUEUED = "requeued: waiting for SLURM to end this run"
# lines at the end of a worker's log: srun adds a few after the worker's last message
LAST_WORDS = 30
# array tasks named in a message
MOST_NAMED = 8
# SLURM's default of MinJobAge, after which squeue forgets a job: https://slurm.schedmd.com/slurm.conf.html#OPT_MinJobAge
USUAL_MEMORY_S = 300.0


class Live(Struct, frozen=True, kw_only=True):
    """Workers of one study that run or will run."""

    workers: int
    """number that work, or will without further action"""
    held_back: tuple[str, ...]
    """array tasks among them that SLURM has requeued and delays"""
    queue: Queue
    """squeue's answer"""
    waiting: tuple[QueueRow, ...] = ()
    """pending array tasks that will start"""
    stuck: tuple[QueueRow, ...] = ()
    """array tasks that can never start unless they are changed; not counted"""
    running: tuple[QueueRow, ...] = ()
    """array tasks that have started and whose workers are counted"""
    not_counted: tuple[str, ...] = ()
    """sentences: array tasks that will not work, and why"""
    on_hold: tuple[str, ...] = ()
    """counted array tasks that wait for their owner to release them"""
    doubts: tuple[str, ...] = ()
    """sentences: what SLURM does not show, and what was assumed instead"""


class LocalWorker(Struct, frozen=True, kw_only=True):
    """A worker outside SLURM."""

    name: str
    pid: int
    host: str
    is_here: bool
    """whether its pid belongs to this host and PID namespace; outside its container, it would be another process"""
    start: int = 0
    """start time of its process (``processes.started_at``); 0 if unknown"""
    holds: tuple[Path, ...] = ()
    """files of which its process has one open for writing, which proves that the pid is still its own"""


def live(
    homes: Sequence[StudyHome], *, over: Collection[str] = (), say: Callable[[str], None] = lambda text: None
) -> dict[str, Live]:
    """The live workers of each study, by study name.

    If SLURM does not show a job, the leases of its workers are watched for at least a third of their duration.

    Args:
        over: submissions whose tasks have all ended, as SLURM guarantees to the collector.
        say: called with what is being waited for.

    Raises:
        SlurmError, CommandMissing: SLURM cannot be asked, and a study has jobs there.
    """
    submissions = {home.name: read_submissions(home) for home in homes}
    queue = ask([s for several in submissions.values() for s in several])
    hidden = {id: why for id, why in queue.hidden.items() if id not in over}
    queue = replace(queue, hidden=hidden)
    return {
        home.name: _live(home, submissions[home.name], _without_others(home, submissions[home.name], queue), say)
        for home in homes
    }


def _without_others(home: StudyHome, submissions: Sequence[Submission], queue: Queue) -> Queue:
    """The queue without jobs whose script belongs to another study.

    A copied study has the original's submissions, and updates of its tasks must not reach the original's.
    """
    theirs = {
        task
        for one in submissions
        for task, row in queue.of(one).items()
        if row.script.startswith("/") and not is_script_of(home, one.id, row.script)
    }
    return replace(queue, rows={task: row for task, row in queue.rows.items() if task not in theirs})


def _live(home: StudyHome, submissions: Sequence[Submission], queue: Queue, say: Callable[[str], None]) -> Live:
    # a cancelled job that squeue still shows is about to end
    mine = [s for s in submissions if not s.cancelled]
    per_task = {task: s.workers_per_task for s in mine for task in queue.of(s)}
    rows = {task: row for s in mine for task, row in sorted(queue.of(s).items()) if row.state.live}
    owners = leases.read_owners(home.workers)
    leaving = _leaving(home, rows, owners)
    counted: dict[ArrayTask, QueueRow] = {}
    stuck: list[QueueRow] = []
    others: dict[str, list[str]] = {}
    for task, row in rows.items():
        fate = leaving.get(task) or _why_it_will_not_work(home, row)
        if fate is None:
            counted[task] = row
            continue
        others.setdefault(fate, []).append(row.id)
        if row.state is TaskState.PENDING and BATCH.explain(row.reason).outlook is Outlook.NEVER:
            stuck.append(row)
    here = [worker for worker in local_workers(home, submissions) if worker.is_here]
    by_lease, doubts = _hidden_workers(home, mine, queue, owners, say)
    pending = [row for row in counted.values() if row.state is TaskState.PENDING]
    return Live(
        workers=sum(per_task[task] for task in counted) + sum(coming(s, queue) for s in mine) + len(here) + by_lease,
        held_back=tuple(row.id for row in pending if row.reason == HELD_BACK),
        queue=queue,
        waiting=tuple(pending),
        stuck=tuple(stuck),
        running=tuple(row for row in counted.values() if row.state is not TaskState.PENDING),
        not_counted=tuple(f"{_tasks(ids)}: {fate}" for fate, ids in others.items()),
        on_hold=tuple(row.id for row in pending if BATCH.explain(row.reason).outlook is Outlook.ON_HOLD),
        doubts=tuple(doubts),
    )


def _tasks(ids: Sequence[str]) -> str:
    few = ",".join(ids[:MOST_NAMED]) + (",..." if len(ids) > MOST_NAMED else "")
    return f"array task {few}" if len(ids) == 1 else f"{len(ids)} array tasks ({few})"


def _why_it_will_not_work(home: StudyHome, row: QueueRow) -> str | None:
    """Why a task in the queue will not work, to print after its name; None if it works or will."""
    if row.state is TaskState.ENDING and not (row.comes_back(time.time()) or _comes_back(home, row.task)):
        return f"{ENDS} ({row.word})"
    if row.state is not TaskState.PENDING:
        return None
    why = BATCH.explain(row.reason)
    match why.outlook:
        case Outlook.STARTS | Outlook.ON_HOLD:  # users who hold their own tasks will release them
            return None
        case Outlook.HELD:
            return f"held until 'scontrol release' ({row.reason}: {why.meaning})"
        case Outlook.NEVER:
            return (
                f"can never start ({row.reason}: {why.meaning}); neither can new ones until you change {why.to_change}"
            )


def _leaving(
    home: StudyHome, rows: Mapping[ArrayTask, QueueRow], owners: Mapping[str, Owner]
) -> dict[ArrayTask, str | None]:
    """Running tasks whose worker has ended, with a remark."""
    with_card = {ArrayTask.parse(owner.job) for owner in owners.values() if owner.job != "local"}
    bare = {task: row for task, row in rows.items() if row.state is TaskState.RUNNING and task not in with_card}
    if not bare:
        return {}
    begun = newest_beginnings(home)
    now = time.time()
    return {
        task: f"{ENDS}, its worker has left"
        for task, row in bare.items()
        if had_a_worker(row, begun.get(row.id), now=now) and not _comes_back(home, task)
    }


def _comes_back(home: StudyHome, task: ArrayTask) -> bool:
    """Whether the worker of an ending task has requeued it, according to its log."""
    for log in (home.slurm / f"{task}_0_log.err", home.slurm / f"{task.job}_0_log.err"):
        lines = last_lines(log, LAST_WORDS)
        begun = max((i for i, line in enumerate(lines) if " I worker on " in line), default=0)
        if any(REQUEUED in line for line in lines[begun:]):
            return True
    return False


def _hidden_workers(
    home: StudyHome,
    submissions: Sequence[Submission],
    queue: Queue,
    owners: Mapping[str, Owner],
    say: Callable[[str], None],
) -> tuple[int, list[str]]:
    """The number of workers, found by their leases, of jobs that SLURM does not show, and sentences about them."""
    count, sentences = 0, []
    lease_s = _lease_s(home)
    for submission in submissions:
        hidden = queue.hidden.get(submission.id)
        if hidden is None:
            continue
        mine = [owner for owner in owners.values() if owner.submission == submission.id and owner.job != "local"]
        watched = leases.silent_by_server(home.workers, [owner.worker for owner in mine])
        maybe = [
            o for o in mine if processes.is_dead_here(o.facts) is False or watched.get(o.worker, lease_s) < lease_s
        ]
        if maybe:
            who = f"{len(maybe)} worker{'s' if len(maybe) > 1 else ''} of job {','.join(submission.job_ids)}"
            say(f"watching the leases of {who} for up to {lease_s:.0f} s: SLURM does not show it ({hidden.why})")
        alive = leases.seen_to_live(home.workers, [owner.facts for owner in maybe], duration_s=lease_s)
        count += len(alive)
        if alive:
            sentences.append(
                f"SLURM does not show job {','.join(submission.job_ids)} ({hidden.why}), but {len(alive)} of its "
                f"workers refresh their leases and are counted; its pending tasks cannot be seen"
            )
        elif hidden.is_elsewhere or _is_young(submission):
            sentences.append(
                f"SLURM does not show job {','.join(submission.job_ids)} ({hidden.why}): its pending tasks cannot be "
                f"seen, and none is counted"
            )
    return count, sentences


def _is_young(submission: Submission) -> bool:
    """Whether SLURM would still show an ended job of this submission; if it shows none, it hides them."""
    return time.time() - submission.submitted < USUAL_MEMORY_S


def _lease_s(home: StudyHome) -> float:
    try:
        state = load_state(home)
    except StorageError:
        return LEASE_S
    return float(setting(read_frozen(home, state.revision), "study", "lease_s", LEASE_S))


def local_workers(home: StudyHome, submissions: Sequence[Submission]) -> list[LocalWorker]:
    """Workers outside SLURM: on this host those that may be alive, on other hosts all that have a card."""
    found = []
    for name, owner in leases.read_owners(home.workers).items():
        if owner.job == "local" and processes.is_dead_here(owner.facts) is not True:
            is_here = processes.is_from_here(owner.facts)
            holds = (leases.proof(home.workers, name),)
            found.append(
                LocalWorker(name=name, pid=owner.pid, host=owner.host, is_here=is_here, start=owner.start, holds=holds)
            )
    with_card = {worker.pid for worker in found if worker.is_here}
    for submission, pids in just_started(submissions, now=time.time()):
        if not is_id(submission.id):
            continue
        # a pid alone could be anybody's by now: its environment names the submission
        ours = set(processes.with_environment(EnvVar.SUBMISSION, submission.id))
        logs = tuple(home.local_log(submission.id, index) for index in range(len(submission.job_ids)))
        for pid in (ours & pids) - with_card:
            name = f"{submission.id} (pid {pid})"
            found.append(LocalWorker(name=name, pid=pid, host=submission.host, is_here=True, holds=logs))
    return found
