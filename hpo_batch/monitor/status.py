"""A study at a glance: trials by state, workers, best trial, time left, GPU hours, failures.

``snapshot`` collects the facts; this module turns them into a ``StudyStatus``. SLURM is asked once for all studies. A
``View`` reads incrementally, for repeated looks.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import asdict, replace

from hpo_batch.errors import StorageError
from hpo_batch.journal.attempt_intervals import Span
from hpo_batch.journal.decode import isolated
from hpo_batch.journal.encode import DIRECTIONS
from hpo_batch.journal.pareto import front_trials
from hpo_batch.journal.state import JournalState, no_collections
from hpo_batch.monitor import eta, hours
from hpo_batch.monitor.course import EndedTrial, best_so_far
from hpo_batch.monitor.course import newest as newest_ended
from hpo_batch.monitor.ends import Dead, dead_workers
from hpo_batch.monitor.eta import Eta
from hpo_batch.monitor.failures import FailureGroup
from hpo_batch.monitor.gain import Outlook, outlook
from hpo_batch.monitor.hours import Hours
from hpo_batch.monitor.queue import Answer, ask_accounts, look_at_queue
from hpo_batch.monitor.reader import StudyHistory
from hpo_batch.monitor.snapshot import ANSWERED, NOT_ASKED, UNSEEN, Snapshot, take
from hpo_batch.monitor.usage import TrialUsage, usage
from hpo_batch.monitor.workers import WorkerStatus
from hpo_batch.records import Counts, TrialRecord, TrialState
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask
from hpo_batch.store.attempt_folder import last_sign
from hpo_batch.store.footprint import Usage
from hpo_batch.store.frozen import setting
from hpo_batch.store.home import StudyHome
from hpo_batch.store.nodes import FailingNode, failing_nodes
from hpo_batch.store.submissions import Submission, read_submissions

if TYPE_CHECKING:
    from hpo_batch.study.quota import Share
    from hpo_batch.study.stopped import Stopped

DIRECTION_MAXIMIZE = DIRECTIONS["maximize"]
# version of ``as_json`` (docs/status-json.md); new keys do not change it, and keys are never changed or removed
SCHEMA_VERSION: Final = 1
# seconds between reads of the journal while watching: reading what is new takes milliseconds
LOOK_EVERY_S: Final = 2.0
# each squeue is a request to SLURM's only controller, and SchedMD asks not to call it in loops:
# https://slurm.schedmd.com/squeue.html#SECTION_PERFORMANCE
ASK_SLURM_EVERY_S: Final = 60.0
# lost attempts whose folders are searched for their last sign of life: each takes several calls to the file server
MOST_LOOKED_AT: Final = 1000


class StudyStatus(Struct, frozen=True, kw_only=True):
    name: str
    path: str
    metric: str
    time: float
    """when this was the status, in seconds since the epoch"""
    counts: Counts
    best: TrialRecord | None
    """None if no trial is complete, or with several metrics"""
    eta: Eta
    hours: Hours
    failures: Mapping[str, int]
    """failed trials by reason"""
    failure_groups: tuple[FailureGroup, ...]
    workers: tuple[WorkerStatus, ...]
    abandoned: tuple[int, ...] = ()
    """running trials whose workers are gone"""
    dead: tuple[Dead, ...] = ()
    """workers of the newest submission that ended without recording why"""
    is_hidden: bool = False
    """SLURM answered, but shows none of the newest submission's jobs, neither pending nor ended"""
    submissions: int = 0
    files: Usage | None = None
    """approximate number of files and folders, for quotas"""
    course: tuple[float, ...] = ()
    """the best value after each complete trial; not all of them if there are many"""
    newest: tuple[EndedTrial, ...] = ()
    """the trials that ended last"""
    usage: TrialUsage | None = None
    """what the newest trials used of their machines; None if no worker has measured it"""
    failing_nodes: tuple[FailingNode, ...] = ()
    """nodes on which trials fail in a row while they succeed elsewhere"""
    front: tuple[int, ...] = ()
    """with several metrics: numbers of the trials on the Pareto front"""
    shares: tuple[Share, ...] = ()
    """shares of values that have weights, among the drawn trials"""
    markers: tuple[str, ...] = ()
    """CANCELLED, DRAIN"""
    slurm: str = NOT_ASKED
    """``answered``, ``unseen``, or ``not asked`` where no array was submitted"""
    unseen: tuple[str, ...] = ()
    """what could not be checked, and why; empty if everything was"""
    further: Outlook | None = None
    """what further trials would gain; None for too few trials, or with several metrics"""
    stopped: Stopped | None = None
    """why trials are left but no workers run; None if some run, none are needed, or it is unknown"""

    @property
    def gist(self) -> tuple[object, ...]:
        """The part that changes only when something happens, without running times."""
        workers = tuple((w.worker, w.job, w.state, w.node, w.trial, w.attempt, w.reason) for w in self.workers)
        best = None if self.best is None else self.best.number
        failures, unseen = tuple(self.failures.items()), tuple(sorted(self.unseen))
        return (self.name, self.counts, best, failures, workers, self.abandoned, unseen)

    @property
    def live_workers(self) -> tuple[WorkerStatus, ...]:
        return tuple(worker for worker in self.workers if worker.live)

    def as_json(self) -> dict[str, Any]:
        best = self.best
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.name,
            "path": self.path,
            "metric": self.metric,
            "time": self.time,
            "trials": {**asdict(self.counts), "finished": self.counts.finished, "remaining": self.counts.remaining},
            "best": None
            if best is None
            else {"number": best.number, "name": best.name, "values": best.values, "params": dict(best.params)},
            "front": list(self.front),
            "shares": [share.as_json() for share in self.shares],
            "eta": self.eta.as_json(),
            "hours": self.hours.as_json(),
            "further": None if self.further is None else self.further.as_json(),
            "failures": dict(self.failures),
            "failure_groups": [group.as_json() for group in self.failure_groups],
            "workers": [worker.as_json() for worker in self.workers],
            "abandoned": list(self.abandoned),
            "dead": [dead.as_json() for dead in self.dead],
            "failing_nodes": [node.as_json() for node in self.failing_nodes],
            "submissions": self.submissions,
            "files": None if self.files is None else self.files.as_json(),
            "usage": None if self.usage is None else self.usage.as_json(),
            "markers": list(self.markers),
            "slurm": self.slurm,
            "unseen": list(self.unseen),
            "stopped": None if self.stopped is None else self.stopped.as_json(),
        }


def study_statuses(homes: Sequence[StudyHome], *, accounting: bool = False) -> list[StudyStatus]:
    """The status of each study, with one squeue for all of them, and one sacct if asked for."""
    return View(homes).look(accounting=accounting)


class View:
    """Studies for repeated looks: journals are read incrementally, and SLURM is asked only on request."""

    def __init__(self, homes: Sequence[StudyHome], *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.unreadable: dict[str, StorageError] = {}
        """errors by name of the studies that the last look could not read"""
        self._studies = [StudyHistory(home) for home in homes]
        self._queue: Answer | None = None
        self._dead: dict[Path, tuple[Dead, ...]] = {}
        self._accounts: Mapping[ArrayTask, tuple[AccountingRow, ...]] | None = None
        self._no_accounts = ""

    def look(self, *, ask_slurm: bool = True, accounting: bool = False) -> list[StudyStatus]:
        """The status of each study now.

        Args:
            ask_slurm: whether to ask SLURM again; if not, its last answer is used.
            accounting: also ask sacct.

        Raises:
            StorageError: none of the studies can be read. If some can, ``unreadable`` has the errors of the others.
        """
        with no_collections():  # what a look makes stays until the next: the collector found nothing in 100,000 trials
            return self._look(ask_slurm=ask_slurm, accounting=accounting)

    def _look(self, *, ask_slurm: bool, accounting: bool) -> list[StudyStatus]:
        submissions, broken = {}, {}
        for study in self._studies:
            try:
                with isolated(study.home.name):
                    submissions[study.home.path] = read_submissions(study.home)
            except StorageError as error:
                broken[study.home.path] = error
        every = [s for several in submissions.values() for s in several]
        if ask_slurm or self._queue is None:
            self._queue, self._dead = look_at_queue(every, now=self._clock()), {}
        if accounting:
            self._accounts, self._no_accounts = ask_accounts(every)
        now = self._clock()
        statuses = []
        for study in self._studies:
            try:
                if study.home.path in broken:
                    raise broken[study.home.path]
                with isolated(study.home.name):
                    statuses.append(self._status(study, submissions[study.home.path], now))
            except StorageError as error:
                if len(self._studies) == 1:
                    raise
                self.unreadable[study.home.name] = error
            else:
                self.unreadable.pop(study.home.name, None)
        if not statuses:
            raise next(iter(self.unreadable.values()))
        return statuses

    def watch(self, *, accounting: bool = False) -> Iterator[list[StudyStatus]]:
        """The status of each study every ``LOOK_EVERY_S``, without end. SLURM is asked every ``ASK_SLURM_EVERY_S``."""
        asked = float("-inf")
        while True:
            is_due = time.monotonic() - asked >= ASK_SLURM_EVERY_S
            asked = time.monotonic() if is_due else asked
            yield self.look(ask_slurm=is_due, accounting=is_due and accounting)
            time.sleep(LOOK_EVERY_S)

    def _status(self, study: StudyHistory, submissions: Sequence[Submission], now: float) -> StudyStatus:
        assert self._queue is not None
        snapshot = take(study, submissions, self._queue, now=now)
        charged = charged_rows(snapshot, self._accounts)
        unseen = (*snapshot.unseen, self._no_accounts) if self._no_accounts else snapshot.unseen
        dead = self._dead_of(snapshot)
        return replace(make_status(snapshot, study, charged), unseen=unseen, dead=dead)

    def _dead_of(self, snapshot: Snapshot) -> tuple[Dead, ...]:
        """Dead workers, searched once per answer of SLURM, since that reads the logs of all ended tasks."""
        path = snapshot.home.path
        if not snapshot.state.counts().remaining:
            return ()
        if path not in self._dead:
            self._dead[path] = dead_workers(
                snapshot.home,
                snapshot.submissions,
                rows=snapshot.queue.rows,
                job_ids=snapshot.queue.job_ids,
                live={w.job if w.job != "local" else str(w.pid) for w in snapshot.live},
                answered=snapshot.queue.answered,
            )
        return self._dead[path]


def make_status(snapshot: Snapshot, study: StudyHistory, charged: Sequence[AccountingRow] | None = None) -> StudyStatus:
    """The status of a study from a snapshot, without any further question to SLURM.

    Args:
        study: derives and keeps what follows from ended trials.
        charged: its tasks in SLURM's accounting; None if it was not asked, or keeps none.
    """
    home, state, submissions = snapshot.home, snapshot.state, snapshot.submissions
    newest = next((s for s in reversed(submissions) if s.is_batch and not s.refused), None)
    remaining_time = _eta(state, study, snapshot.live)
    groups = study.failures(snapshot.spans)
    used = _hours(snapshot, remaining_time, charged)
    return StudyStatus(
        name=home.name,
        path=str(home.path),
        metric=", ".join(state.metrics) or "value",
        time=snapshot.now,
        counts=state.counts(),
        best=best_trial(state),
        front=tuple(front_trials(state)) if len(state.directions) > 1 else (),
        shares=_shares(state, snapshot.frozen),
        eta=remaining_time,
        hours=used,
        further=_further(state, used),
        failures={group.reason: group.trials for group in groups if group.trials},
        failure_groups=groups,
        workers=snapshot.workers.there,
        abandoned=snapshot.workers.abandoned,
        is_hidden=snapshot.slurm == ANSWERED and newest is not None and newest.id in snapshot.queue.hidden,
        files=study.files(snapshot.frozen),
        course=best_so_far(state),
        newest=newest_ended(state),
        usage=usage(state.trials),
        failing_nodes=failing_nodes(state),
        submissions=sum(1 for submission in submissions if not submission.refused),
        markers=home.markers(),
        slurm=snapshot.slurm,
        unseen=snapshot.unseen,
        stopped=None if snapshot.live else study.stopped(snapshot.frozen, is_sure=snapshot.slurm != UNSEEN),
    )


def best_trial(state: JournalState) -> TrialRecord | None:
    """The complete trial with the best value, the earliest one of equals; None with several metrics.

    Values of a journal from elsewhere may be infinite, or NaN, which cannot be compared.
    """
    if len(state.directions) != 1:
        return None
    sign = -1 if state.directions[0] == DIRECTION_MAXIMIZE else 1
    done = map(state.trials.__getitem__, state.by_state[TrialState.COMPLETE])
    values = ((trial.values[0], trial.number) for trial in done if trial.values)
    best = min(((sign * value, number) for value, number in values if math.isfinite(value)), default=None)
    return None if best is None else state.trials[best[1]].record()


def _further(state: JournalState, used: Hours) -> Outlook | None:
    if len(state.directions) != 1:
        return None
    done = sorted(state.by_state[TrialState.COMPLETE])
    values = [trial.values[0] for trial in map(state.trials.__getitem__, done) if trial.values]
    return outlook(
        [value for value in values if math.isfinite(value)],
        state.counts(),
        maximize=state.directions[0] == DIRECTION_MAXIMIZE,
        used=used.complete + used.pruned + used.failed + used.lost,
    )


def _shares(state: JournalState, frozen: Mapping[str, Any] | None) -> tuple[Share, ...]:
    table = (frozen or {}).get("space", {})
    if not any(isinstance(one, dict) and "weights" in one for one in table.values()):
        return ()  # most studies have no weights, and decoding all trials takes time
    from hpo_batch.study.quota import shares_in

    with_n_params = setting(frozen, "objective", "n_params", None) is not None
    return tuple(shares_in(table, state.trials, with_n_params=with_n_params))


def _eta(state: JournalState, study: StudyHistory, live: Sequence[WorkerStatus]) -> Eta:
    ended = study.last_seconds()
    working = [worker for worker in live if worker.state == "running"]
    return eta.estimate(
        [seconds for seconds, _ in ended],
        finished=sum(is_finished for _, is_finished in ended),
        remaining=state.counts().remaining,
        running=[seconds for worker in working for seconds in worker.trials_s],
        left=[worker.left_s for worker in working],
    )


def _hours(snapshot: Snapshot, remaining_time: Eta, charged: Sequence[AccountingRow] | None) -> Hours:
    state, now = snapshot.state, snapshot.now
    running = {number for worker in snapshot.live for number in worker.trials}
    looks = itertools.count()

    def end_of(span: Span) -> float:
        if span.ended is None and span.trial in running:
            return now
        noticed = now if span.ended is None else span.ended
        seen = last_sign(snapshot.home.attempt(span.trial, span.attempt)) if next(looks) < MOST_LOOKED_AT else None
        return noticed if seen is None else min(noticed, max(seen, span.started))

    sums = hours.add_up(
        snapshot.spans,
        state_of=lambda number: state.trials[number].state,
        end_of=end_of,
        workers=snapshot.live,
        task_gpus=hours.task_gpus(snapshot.frozen),
        work_s=remaining_time.work_s,
    )
    if charged is None:
        return sums
    allocated = sum(row.elapsed_s * (row.gpus if sums.unit == "GPU" else 1) for row in charged) / hours.HOUR_S
    return replace(sums, allocated=allocated, idle=max(0.0, allocated - (sums.used - sums.idle)))


def charged_rows(
    snapshot: Snapshot, accounts: Mapping[ArrayTask, tuple[AccountingRow, ...]] | None
) -> Sequence[AccountingRow] | None:
    """A study's tasks in SLURM's accounting; None if it was not asked, or keeps none."""
    if accounts is None:
        return None
    mine = {job for submission in snapshot.submissions for job in snapshot.queue.jobs_of(submission)}
    return [row for task, rows in accounts.items() if task.job in mine for row in rows]
