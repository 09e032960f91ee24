"""Who works on a study: cards and leases, running trials, and the rows of one squeue, brought together.

A worker is known by its name, which its card, its lease and its claims share; an array task may hold several workers.
What nobody here can tell is called so, and never guessed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hpo_batch import processes
from hpo_batch.cluster.commands import ArrayTask, QueueRow
from hpo_batch.cluster.states import TaskState
from hpo_batch.monitor.queue import Hidden
from hpo_batch.monitor.reasons import Outlook, meaning, outlook
from hpo_batch.records import Owner, TrialState
from hpo_batch.store import leases
from hpo_batch.store.scan import JournalState
from hpo_batch.store.submissions import Submission

STARTING = "starting"
LEAVING = "leaving"
SILENT = "silent"
YOUNG_S = 60.0
"""a local worker that was started so long ago may have no card yet"""


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """A worker that was started and, as far as can be told, has not ended."""

    worker: str
    """its name; empty for an array task in which no worker has begun"""
    job: str
    """array task ``A_i`` or ``local``"""
    state: str
    """pending, starting, running, suspended, ending, leaving, unknown; silent: no sign of life for a whole lease, and
    nobody here can look after its process"""
    word: str = ""
    """SLURM's own word for the state; empty for local workers, and where SLURM did not answer"""
    node: str = ""
    pid: int | None = None
    gpus: tuple[str, ...] = ()
    """that its process sees; of several ranks the first one's"""
    gpu_count: float = 0
    """that it holds: of all its ranks, on all nodes; 1/k of one that k workers share"""
    trial: int | None = None
    attempt: int | None = None
    trial_s: float | None = None
    """how long the attempt has been running"""
    seen_s: float | None = None
    """seconds since its last sign of life, by the clock of the file system; None if it has given none"""
    elapsed_s: float | None = None
    """of the array task, since its present run began"""
    left_s: float | None = None
    """of the array task, to its time limit"""
    reason: str = ""
    """why it is pending, in SLURM's words"""
    gloss: str = ""
    """what that means, for the common reasons"""
    comes_back: bool = False
    """its array task is ending, and SLURM runs it again"""
    doubt: str = ""
    """why it may not be there although it is told of, or may be there although SLURM does not tell of it"""

    @property
    def live(self) -> bool:
        """Whether it is there: all but those that have not been heard of for too long."""
        return self.state != SILENT

    @property
    def will_work(self) -> bool:
        """Whether it works or, as it stands, will: not what is ending, or can never start. Who holds his own tasks lets
        them go when he wants to."""
        if self.state == TaskState.PENDING.value:
            return outlook(self.reason) in (Outlook.STARTS, Outlook.ON_HOLD)
        return self.comes_back or self.state not in (SILENT, LEAVING, TaskState.ENDING.value)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "live": self.live, "will_work": self.will_work}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What SLURM answered when it was asked, if it did."""

    asked: float
    """seconds since the epoch"""
    rows: Mapping[ArrayTask, QueueRow] = field(default_factory=dict)
    job_ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """of submissions, those included that were lost and found by name"""
    hidden: Mapping[str, Hidden] = field(default_factory=dict)
    """of submissions of whose jobs SLURM shows nothing"""
    unseen: str = ""
    """why there is no answer"""

    def jobs_of(self, submission: Submission) -> set[int]:
        ids = self.job_ids.get(submission.id, submission.job_ids) if submission.kind == "slurm" else ()
        return {int(id) for id in ids if id.isdecimal()}

    @property
    def answered(self) -> bool:
        return not self.unseen


@dataclass(frozen=True, kw_only=True)
class Workers:
    there: tuple[WorkerStatus, ...]
    abandoned: tuple[int, ...]
    """running trials whose workers are gone: the next worker takes them over"""
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Held:
    trial: int
    attempt: int
    started: float


def find_workers(
    folder: Path,
    state: JournalState,
    submissions: Sequence[Submission],
    queue: Answer,
    *,
    lease_s: float,
    began: Callable[[str], float | None],
    now: float,
) -> Workers:
    """The workers of a study.

    Args:
        folder: of cards and leases.
        began: when the newest attempt of a job began, ``A_i`` given; None if it had none.
        lease_s: seconds without a sign of life after which a worker that nobody here can look after is silent.
    """
    unseen = []
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        unseen.append(f"cards and leases of workers: cannot read '{folder}': {error.strerror}")
    held: dict[str, _Held] = {}
    owners = dict(leases.read_owners(folder)) if not unseen else {}
    for number in state.by_state[TrialState.RUNNING]:
        trial = state.trials[number]
        facts = trial.attempt_facts(trial.attempt)
        if facts:
            held[facts["worker"]] = _Held(trial=number, attempt=trial.attempt, started=facts["started"])
            owners.setdefault(facts["worker"], _owner(facts))
    mine = {job for submission in submissions for job in queue.jobs_of(submission)}
    known = {task: row for task, row in queue.rows.items() if task.job in mine}
    rows = {task: row for task, row in known.items() if row.state.live}
    found: list[WorkerStatus] = []
    with_worker: set[ArrayTask] = set()
    for name, owner in sorted(_newest_runs(owners).items()):
        status = _judge(owner, known, queue, seen=_seen(folder, name, now), lease_s=lease_s, now=now)
        if status is None:
            continue
        if owner.job != "local":
            with_worker.add(ArrayTask.parse(owner.job))
        task = held.get(name)
        if task is not None:
            running_s = max(0.0, now - task.started)
            status = replace(status, trial=task.trial, attempt=task.attempt, trial_s=running_s)
        found.append(status)
    found += [
        _without_worker(row, began=began, now=queue.asked) for task, row in rows.items() if task not in with_worker
    ]
    found += young_workers(submissions, {w.pid for w in found}, now=now)
    working = {status.worker for status in found if status.live}
    silent = {status.worker for status in found if not status.live}
    abandoned = sorted(h.trial for name, h in held.items() if name not in working and name not in silent)
    return Workers(there=tuple(sorted(found, key=_place)), abandoned=tuple(abandoned), unseen=tuple(unseen))


def _owner(facts: Mapping[str, Any]) -> Owner:
    known = {name: facts[name] for name in Owner.__dataclass_fields__ if name in facts}
    return Owner(**{"pid": 0, "start": 0, "boot": "", **known, "gpus": tuple(facts.get("gpus", ()))})


def _newest_runs(owners: Mapping[str, Owner]) -> dict[str, Owner]:
    """Without the workers of an array task's runs before it was requeued: ``7-r0-3`` where there is ``7-r1-3``."""
    newest: dict[str, int] = {}
    for name, owner in owners.items():
        newest[owner.job] = max(newest.get(owner.job, 0), _run_of(name))
    return {name: o for name, o in owners.items() if o.job == "local" or _run_of(name) == newest[o.job]}


def _run_of(worker: str) -> int:
    match = re.match(r"\d+-r(\d{1,9})-", worker)
    return int(match[1]) if match else 0


def _judge(
    owner: Owner,
    rows: Mapping[ArrayTask, QueueRow],
    queue: Answer,
    *,
    seen: float | None,
    lease_s: float,
    now: float,
) -> WorkerStatus | None:
    """What a card is worth; None if its worker is gone. ``seen``: age of its lease, None if it has none.

    That SLURM shows a task, waiting or ended, is evidence that its process is gone. That it shows none is not: the job
    may be another user's, or another cluster's. Then a process of this host speaks, or the lease.
    """
    here = leases.is_dead_here(asdict(owner))
    if here is True:
        return None
    status = WorkerStatus(
        worker=owner.worker,
        job=owner.job,
        state=TaskState.RUNNING.value,
        node=owner.host,
        pid=owner.pid or None,
        gpus=owner.gpus,
        gpu_count=len(owner.gpus) if owner.gpu_count is None else owner.gpu_count,
        seen_s=seen,
    )
    if owner.job != "local" and queue.answered:
        row, hidden = rows.get(ArrayTask.parse(owner.job)), queue.hidden.get(owner.submission)
        if row is not None and row.state.live and row.state is not TaskState.PENDING:
            return replace(
                status,
                state=row.state.value,
                word=row.word,
                elapsed_s=row.elapsed_s,
                left_s=row.left_s,
                comes_back=row.comes_back(now),
            )
        if row is not None:
            # begun since SLURM was asked, or its task waits for another run and its process is no more
            return status if seen is not None and now - seen > queue.asked else None
        if here is None and seen is not None and seen <= lease_s:
            why = f": {hidden.why}" if hidden is not None else ""
            doubt = f"its lease was refreshed {seen:.0f} s ago, but SLURM does not show its job{why}"
            return replace(status, doubt=doubt)
        if here is None and not (hidden is not None and hidden.is_elsewhere):
            return None
    if here is False:
        return status
    if seen is None:
        return None  # its lease was given up: it has ended, or was about to
    return replace(status, state=SILENT) if seen > lease_s else status


def _seen(folder: Path, worker: str, now: float) -> float | None:
    with contextlib.suppress(OSError):
        return max(0.0, now - leases.refreshed_ns(leases.lease_path(folder, worker)) / 1e9)
    return None


def had_a_worker(row: QueueRow, last: float | None, *, now: float) -> bool:
    """Whether the newest attempt of a task that runs began in its present run, at ``last``; ``now``: of the row."""
    return last is not None and last >= now - row.elapsed_s - 5.0  # the clocks of node and this host


def _without_worker(row: QueueRow, *, began: Callable[[str], float | None], now: float) -> WorkerStatus:
    """An array task in which there is no worker: not yet, or not any more."""
    state = row.state.value
    if row.state is TaskState.RUNNING:
        state = LEAVING if had_a_worker(row, began(row.id), now=now) else STARTING
    is_pending = row.state is TaskState.PENDING
    reason = row.reason if is_pending and row.reason != "None" else ""
    return WorkerStatus(
        worker="",
        job=row.id,
        state=state,
        word=row.word,
        node=row.node,
        elapsed_s=None if is_pending else row.elapsed_s,
        left_s=row.left_s,
        reason=reason,
        gloss=meaning(reason),
        comes_back=row.comes_back(now),
    )


def young_workers(
    submissions: Sequence[Submission], known: Collection[int | None], *, now: float
) -> list[WorkerStatus]:
    """Local processes of this host that were started just now and have no card yet."""
    found = []
    for submission in submissions:
        here = submission.kind == "local" and submission.host == processes.host_name()
        if here and now - submission.submitted < YOUNG_S:
            pids = [int(pid) for pid in submission.job_ids if pid.isdecimal() and int(pid) not in known]
            found += [
                WorkerStatus(worker="", job="local", state=STARTING, node=submission.host, pid=pid)
                for pid in pids
                if processes.is_alive(pid)
            ]
    return found


def _place(worker: WorkerStatus) -> tuple[int, int, int, str]:
    """Array tasks by number, then local workers by name."""
    if worker.job == "local":
        return 1, 0, 0, worker.worker
    task = ArrayTask.parse(worker.job)
    return 0, task.job, task.index, worker.worker
