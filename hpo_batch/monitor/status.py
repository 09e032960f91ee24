"""A study at a glance: trials by state, workers, the best trial, failures by reason.

Reads the journal and the submissions; asks SLURM once for all studies together, and says so if it gets no answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpo_batch import processes
from hpo_batch.cluster.commands import ArrayTask, QueueRow, squeue
from hpo_batch.cluster.states import TaskState
from hpo_batch.errors import HpoBatchError, StorageError
from hpo_batch.monitor.queue import Queue, ask, workers_of
from hpo_batch.records import Counts, TrialRecord, TrialState
from hpo_batch.store import leases
from hpo_batch.store.front import front_trials
from hpo_batch.store.home import StudyHome
from hpo_batch.store.journal import Journal
from hpo_batch.store.nodes import FailingNode, failing_nodes
from hpo_batch.store.scan import JournalState
from hpo_batch.store.submissions import Submission, read_submissions

DIRECTION_MAXIMIZE = 2


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """A worker that was started and, as far as can be told, has not ended."""

    job: str
    """array task ``A_i`` or ``local``"""
    state: str
    """SLURM's word, or ``running`` for a local process"""
    node: str
    reason: str = ""
    """why it is pending"""
    trial: int | None = None
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    name: str
    path: str
    metric: str
    counts: Counts
    best: TrialRecord | None
    """None also with several metrics"""
    failures: Mapping[str, int]
    workers: tuple[WorkerStatus, ...]
    submissions: int
    failing_nodes: tuple[FailingNode, ...] = ()
    """nodes on which trials fail in a row while they do well on others"""
    front: tuple[int, ...] = ()
    """with several metrics: the trials that no other one beats in all of them"""
    unseen: str = ""
    """what could not be asked, and why; empty if everything could"""

    def as_json(self) -> dict[str, Any]:
        best = self.best
        return {
            "study": self.name,
            "path": self.path,
            "metric": self.metric,
            "trials": {**asdict(self.counts), "remaining": self.counts.remaining},
            "best": None
            if best is None
            else {"number": best.number, "name": best.name, "values": best.values, "params": dict(best.params)},
            "front": list(self.front),
            "failures": dict(self.failures),
            "workers": [asdict(worker) for worker in self.workers],
            "failing_nodes": [node.as_json() for node in self.failing_nodes],
            "submissions": self.submissions,
            "unseen": self.unseen,
        }


def load_state(home: StudyHome, *, metrics: bool = False) -> JournalState:
    """The journal, read without a lock and without changing anything; reports are left out.

    Args:
        metrics: keep what was noted with each trial.
    """
    state = JournalState(reports=False, metrics=metrics)
    journal = Journal(home.journal)
    while lines := journal.read_new():
        state.apply(lines)
    if state.study_name is None:
        raise StorageError(f"the journal '{home.journal}' holds no study")
    return state


def study_statuses(homes: Sequence[StudyHome]) -> list[StudyStatus]:
    """The status of each study, with one squeue for all of them."""
    submissions = {home.name: read_submissions(home) for home in homes}
    rows, unseen = _ask_slurm([s for several in submissions.values() for s in several])
    return [_status(home, submissions[home.name], rows, unseen) for home in homes]


def live_workers(home: StudyHome, queue: Queue | None = None) -> int:
    """Workers of a study that run or will run. An unreachable SLURM raises: submitting blindly could double them.

    Args:
        queue: SLURM's answer for several studies; asked for if left out.
    """
    submissions = read_submissions(home)
    return len(_local_workers(home, submissions)) + workers_of(submissions, queue or ask(submissions))


def last_words(home: StudyHome) -> list[tuple[str, str]]:
    """How the workers of the newest submission ended, for those that ended with an error: log and last line."""
    submissions = [s for s in read_submissions(home) if s.job_ids]
    if not submissions:
        return []
    pattern = submissions[-1].log_pattern.replace("%a", "*").replace("%i", "*")
    patterns = {pattern.replace("%A", id) for id in submissions[-1].job_ids}
    logs = sorted(log for one in patterns for log in home.path.glob(one))
    told = []
    for log in logs:
        lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
        if lines and _ENDED_WELL not in lines[-1] and not lines[-1].endswith("successful completion"):
            told.append((str(log), lines[-1]))
    return told


def _tail(path: Path) -> str:
    """The last few kilobytes of a log; nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


_ENDED_WELL = " I worker ends: "
"""in the last line of a worker that was not interrupted by an error"""


def best_trial(state: JournalState) -> TrialRecord | None:
    """The complete trial with the best value; the earliest of equals. None for several metrics."""
    if len(state.directions) != 1:
        return None
    sign = -1 if state.directions[0] == DIRECTION_MAXIMIZE else 1
    done = map(state.trials.__getitem__, state.by_state[TrialState.COMPLETE])
    best = min(((sign * trial.values[0], trial.number) for trial in done if trial.values), default=None)
    return None if best is None else state.trials[best[1]].record()


def _status(
    home: StudyHome, submissions: Sequence[Submission], rows: Mapping[ArrayTask, QueueRow], unseen: str
) -> StudyStatus:
    state = load_state(home)
    running: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
    for number in state.by_state[TrialState.RUNNING]:
        facts = state.trials[number].attempt_facts(state.trials[number].attempt)
        if facts:
            place = facts["job"] if facts["job"] != "local" else facts["worker"]
            running.setdefault(place, []).append((number, tuple(facts["gpus"])))
    mine = {int(id) for s in submissions if s.kind == "slurm" for id in s.job_ids}
    workers = _local_workers(home, submissions)
    for task, row in sorted(rows.items()):
        if task.job in mine and row.state.live:
            reason = row.reason if row.state is TaskState.PENDING else ""
            workers.append(WorkerStatus(job=str(task), state=row.word, node=row.node, reason=reason))
    placed = []
    for worker in workers:
        # several trials where workers share an array task: a line for each
        held = running.get(worker.job) or running.get(worker.job.removesuffix("_0")) or []
        placed += [replace(worker, trial=number, gpus=gpus) for number, gpus in held] or [worker]
    failures = Counter(reason for reason, _ in state.endings if reason)
    return StudyStatus(
        name=home.name,
        path=str(home.path),
        metric=", ".join(state.metrics) or "value",
        counts=state.counts(),
        best=best_trial(state),
        front=tuple(front_trials(state)) if len(state.directions) > 1 else (),
        failures=dict(failures.most_common()),
        workers=tuple(placed),
        failing_nodes=failing_nodes(state),
        submissions=sum(1 for submission in submissions if not submission.refused),
        unseen=unseen,
    )


def _ask_slurm(submissions: Sequence[Submission]) -> tuple[Mapping[ArrayTask, QueueRow], str]:
    # a job whose walltime is long over cannot be in the queue unless it was requeued: a day is allowed for that
    now = time.time()
    recent = [s for s in submissions if s.kind == "slurm" and now - s.submitted < s.walltime_s * 10 + 30 * 86400]
    ids = [id for s in recent for id in s.job_ids]
    if not ids:
        return {}, ""
    try:
        return squeue(ids), ""
    except HpoBatchError as error:
        return {}, f"workers in SLURM are unknown: {error}"


def _local_workers(home: StudyHome, submissions: Sequence[Submission]) -> list[WorkerStatus]:
    """Local processes of this host, but for those proven gone: a card of such a one was left by a killed worker."""
    found = []
    carded = set()
    for name, owner in leases.read_owners(home.workers).items():
        here = owner.host == processes.host_name()
        if owner.job == "local" and here and leases.is_dead_here(asdict(owner)) is not True:
            carded.add(str(owner.pid))
            found.append(WorkerStatus(job=name, state="running", node=owner.host, gpus=owner.gpus))
    now = time.time()
    for submission in submissions:
        # a worker that has just been started has no card yet
        if submission.kind == "local" and submission.host == processes.host_name() and now - submission.submitted < 60:
            for pid in set(submission.job_ids) - carded:
                if processes.is_alive(int(pid)):
                    found.append(WorkerStatus(job=f"pid {pid}", state="starting", node=submission.host))
    return found
