"""Find a study's workers by combining cards and leases, running trials, and the rows of one squeue.

Card, lease and claims of a worker share its name; an array task may hold several workers. States that cannot be
determined are called unknown, never guessed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from hpo_batch import processes
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor.queue import Answer
from hpo_batch.records import Owner, TrialState
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.tasks import ArrayTask, Outlook, QueueRow, TaskState
from hpo_batch.store import leases
from hpo_batch.store.submissions import Submission
from hpo_batch.store.worker_name import WorkerName

STARTING = "starting"
LEAVING = "leaving"
SILENT = "silent"
# time for a local worker to write its card: importing torch from a network disk takes tens of seconds
JUST_STARTED_S = 60.0


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """A worker that was started and, as far as can be told, has not ended."""

    worker: str
    """its name; empty for an array task in which no worker has started"""
    job: str
    """array task ``A_i`` or ``local``"""
    state: str
    """pending, starting, running, suspended, ending, leaving, unknown; silent: its lease has expired, and its process
    cannot be checked from here"""
    word: str = ""
    """SLURM's own word for the state; empty for local workers, or if SLURM did not answer"""
    node: str = ""
    pid: int | None = None
    gpus: tuple[str, ...] = ()
    """the GPUs its process sees; with several ranks, the first one's"""
    gpu_count: float = 0
    """GPUs it holds: of all ranks on all nodes; 1/k of one shared by k workers"""
    trial: int | None = None
    attempt: int | None = None
    trial_s: float | None = None
    """how long the attempt has been running"""
    trials: tuple[int, ...] = ()
    """all trials that it runs; several only with [job] fuse, and then ``trial`` is the first of them"""
    trials_s: tuple[float, ...] = ()
    """how long each has been running, divided by the trials that share the worker"""
    seen_s: float | None = None
    """seconds since it refreshed its lease, by the clock of the file system; None if it has none"""
    elapsed_s: float | None = None
    """seconds since the array task's current run began"""
    left_s: float | None = None
    """seconds until the array task's time limit"""
    reason: str = ""
    """why it is pending, in SLURM's words"""
    gloss: str = ""
    """the reason's meaning, for common ones"""
    comes_back: bool = False
    """whether its array task is ending and SLURM will run it again"""
    doubt: str = ""
    """why it may be gone although it is listed, or there although SLURM does not show it"""

    @property
    def live(self) -> bool:
        """Whether it is there, as far as known: all but silent ones."""
        return self.state != SILENT

    @property
    def will_work(self) -> bool:
        """Whether it works, or will without further action. Users who hold their own tasks will release them."""
        if self.state == TaskState.PENDING.value:
            return BATCH.explain(self.reason).outlook in (Outlook.STARTS, Outlook.ON_HOLD)
        return self.comes_back or self.state not in (SILENT, LEAVING, TaskState.ENDING.value)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "live": self.live, "will_work": self.will_work}


class Workers(Struct, frozen=True, kw_only=True):
    there: tuple[WorkerStatus, ...]
    abandoned: tuple[int, ...]
    """running trials whose workers are gone: the next worker takes them over"""
    unseen: tuple[str, ...] = ()


class _Running(Struct, frozen=True, kw_only=True):
    """A running trial, according to its claim."""

    number: int
    attempt: int
    started: float
    fused: int
    owner: Owner


def _with_trials(status: WorkerStatus, running: Sequence[_Running], now: float) -> WorkerStatus:
    """A worker with the trials that it runs."""
    first = running[0]
    return replace(
        status,
        trial=first.number,
        attempt=first.attempt,
        trial_s=max(0.0, now - first.started),
        trials=tuple(one.number for one in running),
        trials_s=tuple(max(0.0, now - one.started) / one.fused for one in running),
    )


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
        folder: where cards and leases are.
        began: returns the start of the newest attempt of a job ``A_i``; None if it had none.
        lease_s: age of a lease, in seconds, after which a worker that cannot be checked from here is silent.
        now: seconds since the epoch.
    """
    owners, unseen = _read_cards(folder)
    running = _running_trials(state)
    for name, trials in running.items():
        owners.setdefault(name, trials[0].owner)
    mine = {job for submission in submissions for job in queue.jobs_of(submission)}
    rows = {task: row for task, row in queue.rows.items() if task.job in mine}
    found: list[WorkerStatus] = []
    for name, owner in sorted(_newest_runs(owners).items()):
        status = _judge(owner, rows, queue, seen=_seen(folder, name, now), lease_s=lease_s, now=now)
        if status is not None:
            found.append(_with_trials(status, running[name], now) if name in running else status)
    with_worker = {ArrayTask.parse(worker.job) for worker in found if worker.job != "local"}
    bare = [row for task, row in rows.items() if row.state.live and task not in with_worker]
    found += [_without_worker(row, began=began, now=queue.asked) for row in bare]
    found += _young_workers(submissions, {worker.pid for worker in found}, now=now)
    there = {worker.worker for worker in found}
    abandoned = sorted(trial.number for name, trials in running.items() if name not in there for trial in trials)
    return Workers(there=tuple(sorted(found, key=_place)), abandoned=tuple(abandoned), unseen=unseen)


def _read_cards(folder: Path) -> tuple[dict[str, Owner], tuple[str, ...]]:
    """Owners of cards and leases by worker's name, and why they could not be read."""
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        return {}, (f"cards and leases of workers: cannot read '{folder}': {error.strerror}",)
    return dict(leases.read_owners(folder)), ()


def _running_trials(state: JournalState) -> dict[str, list[_Running]]:
    """Running trials by their worker's name, in order."""
    running: dict[str, list[_Running]] = {}
    for number in sorted(state.by_state[TrialState.RUNNING]):
        trial = state.trials[number]
        if facts := trial.attempt_facts(trial.attempt):
            one = _Running(
                number=number,
                attempt=trial.attempt,
                started=facts["started"],
                fused=facts.get("fused", 1),
                owner=_owner(facts),
            )
            running.setdefault(facts["worker"], []).append(one)
    return running


def _owner(facts: Mapping[str, Any]) -> Owner:
    known = {name: facts[name] for name in Owner.__struct_fields__ if name in facts}
    if facts.get("fused", 1) > 1 and known.get("gpu_count") is not None:
        known["gpu_count"] *= facts["fused"]  # the claim has the trial's part
    return Owner(**{"pid": 0, "start": 0, "boot": "", **known, "gpus": tuple(facts.get("gpus", ()))})


def _newest_runs(owners: Mapping[str, Owner]) -> dict[str, Owner]:
    """Without workers of an array task's earlier runs: ``7-r0-3`` if there is ``7-r1-3``."""
    newest: dict[str, int] = {}
    for name, owner in owners.items():
        newest[owner.job] = max(newest.get(owner.job, 0), (WorkerName.parse(name).run or 0))
    return {
        name: o for name, o in owners.items() if o.job == "local" or (WorkerName.parse(name).run or 0) == newest[o.job]
    }


def _judge(
    owner: Owner,
    rows: Mapping[ArrayTask, QueueRow],
    queue: Answer,
    *,
    seen: float | None,
    lease_s: float,
    now: float,
) -> WorkerStatus | None:
    """The status of a card's worker; None if the worker is gone.

    If SLURM shows the task as pending or ended, the process is gone. If SLURM does not show it, that proves nothing:
    the job may belong to another user or cluster. Then this host's processes decide, or the lease.

    Args:
        seen: age of its lease in seconds, None if it has none.
    """
    is_dead = processes.is_dead_here(asdict(owner))  # None where this host cannot tell
    if is_dead is True:
        return None
    status = _from_card(owner, seen)
    if owner.job != "local" and queue.answered:
        row, hidden = rows.get(ArrayTask.parse(owner.job)), queue.hidden.get(owner.submission)
        if row is not None:
            return _by_row(status, row, asked=queue.asked, now=now)
        if is_dead is None and seen is not None and seen <= lease_s:
            why = f": {hidden.why}" if hidden is not None else ""
            doubt = f"its lease was refreshed {seen:.0f} s ago, but SLURM does not show its job{why}"
            return replace(status, doubt=doubt)
        if is_dead is None and not (hidden is not None and hidden.is_elsewhere):
            return None
    if is_dead is False:
        return status
    if seen is None:
        return None  # it has released its lease, so it has ended or is about to
    return replace(status, state=SILENT) if seen > lease_s else status


def _from_card(owner: Owner, seen: float | None) -> WorkerStatus:
    """A worker according to its card, assumed to run."""
    return WorkerStatus(
        worker=owner.worker,
        job=owner.job,
        state=TaskState.RUNNING.value,
        node=owner.host,
        pid=owner.pid or None,
        gpus=owner.gpus,
        gpu_count=len(owner.gpus) if owner.gpu_count is None else owner.gpu_count,
        seen_s=seen,
    )


def _by_row(status: WorkerStatus, row: QueueRow, *, asked: float, now: float) -> WorkerStatus | None:
    """A worker whose array task SLURM shows."""
    if row.state.live and row.state is not TaskState.PENDING:
        return replace(
            status,
            state=row.state.value,
            word=row.word,
            elapsed_s=row.elapsed_s,
            left_s=row.left_s,
            comes_back=row.comes_back(now),
        )
    # started after SLURM was asked, or its task was requeued and its process is gone
    return status if status.seen_s is not None and now - status.seen_s > asked else None


def _seen(folder: Path, worker: str, now: float) -> float | None:
    with contextlib.suppress(OSError):
        return max(0.0, now - leases.refreshed_ns(leases.lease_path(folder, worker)) / 1e9)
    return None


def had_a_worker(row: QueueRow, last: float | None, *, now: float) -> bool:
    """Whether a running task's newest attempt, started at ``last``, belongs to its current run."""
    # 5 s for the difference between the clocks of the node and of this host
    return last is not None and last >= now - row.elapsed_s - 5.0


def _without_worker(row: QueueRow, *, began: Callable[[str], float | None], now: float) -> WorkerStatus:
    """An array task without a worker: not yet, or not any more."""
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
        gloss=BATCH.explain(reason).meaning,
        comes_back=row.comes_back(now),
    )


def just_started(submissions: Sequence[Submission], *, now: float) -> Iterator[tuple[Submission, set[int]]]:
    """Submissions of this host so recent that their local workers may have no card yet, and their pids."""
    here = processes.host_name()
    for submission in submissions:
        if submission.kind == "local" and submission.host == here and now - submission.submitted <= JUST_STARTED_S:
            yield submission, {int(pid) for pid in submission.job_ids if pid.isdecimal()}


def _young_workers(
    submissions: Sequence[Submission], with_card: Collection[int | None], *, now: float
) -> Iterator[WorkerStatus]:
    """Local processes that have no card yet."""
    for submission, pids in just_started(submissions, now=now):
        for pid in sorted(pids.difference(with_card)):
            if processes.is_alive(pid):
                yield WorkerStatus(worker="", job="local", state=STARTING, node=submission.host, pid=pid)


def _place(worker: WorkerStatus) -> tuple[int, int, int, str]:
    """Array tasks by number, then local workers by name."""
    if worker.job == "local":
        return 1, 0, 0, worker.worker
    task = ArrayTask.parse(worker.job)
    return 0, task.job, task.index, worker.worker
