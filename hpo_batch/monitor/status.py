"""A study at a glance: trials by state, workers, the best trial, when it will be done, where the hours went, failures.

Reads the journal, cards, leases and submissions; asks SLURM once for all studies together, and says what it could not
see. A ``View`` stays and reads on, for those who look again and again.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from hpo_batch.errors import CommandMissing, HpoBatchError, JournalCorrupt, StorageError
from hpo_batch.journal.attempt_intervals import Span, spans
from hpo_batch.journal.decode import isolated
from hpo_batch.journal.file import Journal
from hpo_batch.journal.pareto import front_trials
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor import eta, failures, hours
from hpo_batch.monitor.ends import Dead, dead_workers
from hpo_batch.monitor.eta import Eta
from hpo_batch.monitor.failures import FailureGroup
from hpo_batch.monitor.hours import Hours
from hpo_batch.monitor.queue import ask
from hpo_batch.monitor.workers import Answer, WorkerStatus, find_workers
from hpo_batch.records import Counts, TrialRecord, TrialState
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask
from hpo_batch.space.build import build
from hpo_batch.store.attempt_folder import last_sign
from hpo_batch.store.footprint import Usage, of_study
from hpo_batch.store.frozen import read_frozen, setting
from hpo_batch.store.home import StudyHome
from hpo_batch.store.nodes import FailingNode, failing_nodes
from hpo_batch.store.submissions import Submission, read_submissions
from hpo_batch.study.quota import Share, shares
from hpo_batch.study.read import read_revision
from hpo_batch.study.stopped import Stopped, Why, why_stopped

DIRECTION_MAXIMIZE = 2
SCHEMA_VERSION: Final = 1
"""of ``as_json``, see docs/status-json.md: a key is added without a new one, but never changed or removed"""
SQUEUE_TIMEOUT_S: Final = 10.0
"""who looks does not wait as long as who submits; SLURM's own retries take 9 s"""
SACCT_TIMEOUT_S: Final = 30.0
LAST_TRIALS: Final = 1000
"""from which the time of the next ones is estimated"""
MOST_LOOKED_AT: Final = 1000
"""lost attempts whose folders are looked at for their last sign of life"""
ANSWERED: Final = "answered"
UNSEEN: Final = "unseen"
NOT_ASKED: Final = "not asked"
LEASE_S: Final = 60.0
"""where the frozen sweep cannot be read"""


@dataclass(frozen=True, kw_only=True)
class StudyStatus:
    name: str
    path: str
    metric: str
    time: float
    """when it was so, in seconds since the epoch"""
    counts: Counts
    best: TrialRecord | None
    """None also with several metrics"""
    eta: Eta
    hours: Hours
    failures: Mapping[str, int]
    """failed trials by reason"""
    failure_groups: tuple[FailureGroup, ...]
    workers: tuple[WorkerStatus, ...]
    abandoned: tuple[int, ...] = ()
    """running trials whose workers are gone"""
    dead: tuple[Dead, ...] = ()
    """workers of the newest submission that ended without a word, and why"""
    is_hidden: bool = False
    """SLURM answered, and shows nothing of the newest submission's jobs, neither waiting nor ended"""
    submissions: int = 0
    files: Usage | None = None
    """and folders, about; quotas count them"""
    failing_nodes: tuple[FailingNode, ...] = ()
    """nodes on which trials fail in a row while they do well on others"""
    front: tuple[int, ...] = ()
    """with several metrics: the trials that no other one beats in all of them"""
    shares: tuple[Share, ...] = ()
    """of the values that have weights, among the trials that were drawn"""
    markers: tuple[str, ...] = ()
    """CANCELLED, DRAIN"""
    slurm: str = NOT_ASKED
    """``answered``, ``unseen``, or ``not asked`` where no array was submitted"""
    unseen: tuple[str, ...] = ()
    """what could not be seen, and why; empty if everything could"""
    stopped: Stopped | None = None
    """why trials are left and no worker is there; None if one is, or none is needed, or nobody can tell"""

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
            "failures": dict(self.failures),
            "failure_groups": [group.as_json() for group in self.failure_groups],
            "workers": [worker.as_json() for worker in self.workers],
            "abandoned": list(self.abandoned),
            "dead": [dead.as_json() for dead in self.dead],
            "failing_nodes": [node.as_json() for node in self.failing_nodes],
            "submissions": self.submissions,
            "files": None if self.files is None else self.files.as_json(),
            "markers": list(self.markers),
            "slurm": self.slurm,
            "unseen": list(self.unseen),
            "stopped": None if self.stopped is None else self.stopped.as_json(),
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


def study_statuses(homes: Sequence[StudyHome], *, accounting: bool = False) -> list[StudyStatus]:
    """The status of each study, with one squeue for all of them, and one sacct if asked for."""
    return View(homes).look(accounting=accounting)


class View:
    """Studies that are looked at again and again: the journals are read on, SLURM is asked when it is said."""

    def __init__(self, homes: Sequence[StudyHome], *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.unreadable: dict[str, StorageError] = {}
        """studies that the last look could not read; the others are told all the same"""
        self._studies = [_Study(home) for home in homes]
        self._queue: Answer | None = None
        self._dead: dict[Path, tuple[Dead, ...]] = {}
        self._accounts: Mapping[ArrayTask, tuple[AccountingRow, ...]] | None = None
        self._no_accounts = ""

    def look(self, *, ask_slurm: bool = True, accounting: bool = False) -> list[StudyStatus]:
        """The status of each study now.

        Args:
            ask_slurm: else SLURM's last answer counts still.
            accounting: ask sacct too.

        Raises:
            StorageError: none of the studies can be read; of several, ``unreadable`` tells what is wrong with some.
        """
        submissions, broken = {}, {}
        for study in self._studies:
            try:
                with isolated(study.home.name):
                    submissions[study.home.path] = read_submissions(study.home)
            except StorageError as error:
                broken[study.home.path] = error
        every = [s for several in submissions.values() for s in several]
        if ask_slurm or self._queue is None:
            self._queue, self._dead = _ask_slurm(every, now=self._clock()), {}
        if accounting:
            self._accounts, self._no_accounts = _ask_accounts(every)
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

    def _status(self, study: _Study, submissions: Sequence[Submission], now: float) -> StudyStatus:
        assert self._queue is not None
        home, state, unseen = study.home, study.read(), []
        frozen = read_frozen(home, state.revision)
        if frozen is None and state.revision:
            unseen.append(f"the frozen sweep '{home.revision(state.revision)}' cannot be read")
        every = study.spans()
        found = find_workers(
            home.workers,
            state,
            submissions,
            self._queue,
            lease_s=float(setting(frozen, "study", "lease_s", LEASE_S)),
            began=lambda job: _newest_beginning(every, job),
            now=now,
        )
        slurm = NOT_ASKED
        if any(s.kind == "slurm" and not s.refused for s in submissions):
            slurm = UNSEEN if self._queue.unseen else ANSWERED
            unseen += [self._queue.unseen] if self._queue.unseen else []
        unseen += [*found.unseen, *_gone_folders(home, submissions)]
        if self._no_accounts:
            unseen.append(self._no_accounts)
        live = [worker for worker in found.there if worker.live]
        there = {worker.job if worker.job != "local" else str(worker.pid) for worker in live}
        newest = next((s for s in reversed(submissions) if s.kind == "slurm" and not s.refused), None)
        is_answered = slurm == ANSWERED
        expected = _eta(state, study, live)
        groups = study.failures(every)
        return StudyStatus(
            name=home.name,
            path=str(home.path),
            metric=", ".join(state.metrics) or "value",
            time=now,
            counts=state.counts(),
            best=best_trial(state),
            front=tuple(front_trials(state)) if len(state.directions) > 1 else (),
            shares=_shares(state, frozen),
            eta=expected,
            hours=_hours(home, state, every, live, frozen, expected, self._charged(submissions), now),
            failures={group.reason: group.trials for group in groups if group.trials},
            failure_groups=groups,
            workers=found.there,
            abandoned=found.abandoned,
            dead=self._dead_of(home, submissions, there, state.counts().remaining),
            is_hidden=is_answered and newest is not None and newest.id in self._queue.hidden,
            files=study.files(frozen),
            failing_nodes=failing_nodes(state),
            submissions=sum(1 for submission in submissions if not submission.refused),
            markers=home.markers(),
            slurm=slurm,
            unseen=tuple(unseen),
            stopped=None if live else study.stopped(is_sure=slurm != UNSEEN),
        )

    def _dead_of(
        self, home: StudyHome, submissions: Sequence[Submission], there: Collection[str], remaining: int
    ) -> tuple[Dead, ...]:
        """Looked for once for each answer of SLURM: it reads the logs of all tasks that have ended."""
        assert self._queue is not None
        if not remaining:
            return ()
        if home.path not in self._dead:
            self._dead[home.path] = dead_workers(
                home,
                submissions,
                rows=self._queue.rows,
                job_ids=self._queue.job_ids,
                live=there,
                answered=self._queue.answered,
            )
        return self._dead[home.path]

    def _charged(self, submissions: Sequence[Submission]) -> Sequence[AccountingRow] | None:
        """What sacct knows of a study's tasks; None if it was not asked, or keeps no accounts."""
        if self._accounts is None:
            return None
        assert self._queue is not None
        mine = {job for submission in submissions for job in self._queue.jobs_of(submission)}
        return [row for task, rows in self._accounts.items() if task.job in mine for row in rows]


class StudyReader:
    """A study's journal, read on at each call, without a lock and without changing anything; reports are left out."""

    def __init__(self, home: StudyHome) -> None:
        self.home = home
        self._begin()

    def _begin(self) -> None:
        self._journal = Journal(self.home.journal)
        self.state = JournalState(reports=False, metrics=False)

    def read(self) -> JournalState:
        """The study as it is now.

        Raises:
            StorageError: the journal cannot be read, or holds no study.
        """
        try:
            self._read_on()
        except JournalCorrupt:
            if not self._journal.cursor.offset:
                raise
            self._begin()  # another journal may lie there now: `doctor --rebuild` makes one
            self._read_on()
        if self.state.study_name is None:
            raise StorageError(f"the journal '{self.home.journal}' holds no study")
        return self.state

    def _read_on(self) -> None:
        while lines := self._journal.read_new():
            self.state.apply(lines)


class _Study(StudyReader):
    """Beside it what follows from the trials that have ended: it is not worked out anew."""

    def _begin(self) -> None:
        super()._begin()
        self._ended: list[Span] = []
        self._seconds: list[tuple[float, bool]] = []
        """of each trial that ended: all its attempts together, and whether it is finished"""
        self._counted = 0
        self._failures: tuple[FailureGroup, ...] = ()
        self._failures_at: tuple[int, int] | None = None
        self._files: Usage | None = None
        self._files_at = (-1, -1)
        self._stopped: Stopped | None = None
        self._stopped_at: tuple[object, ...] = ()

    def _read_on(self) -> None:
        super()._read_on()
        for _, number in itertools.islice(self.state.endings, self._counted, None):
            trial = self.state.trials[number]
            found = spans(trial)
            self._ended += found
            if found:
                seconds = sum(span.seconds or 0.0 for span in found if span.how != "lost")
                self._seconds.append((seconds, trial.state.finished))
        self._counted = len(self.state.endings)

    def spans(self) -> list[Span]:
        """All attempts of the study."""
        by_state = self.state.by_state
        open_ones = sorted(by_state[TrialState.RUNNING] | by_state[TrialState.WAITING])
        return self._ended + [span for number in open_ones for span in spans(self.state.trials[number])]

    def last_seconds(self) -> list[tuple[float, bool]]:
        return self._seconds[-LAST_TRIALS:]

    def files(self, frozen: Mapping[str, Any] | None) -> Usage:
        """Files and folders; looked at again only if a trial has begun or ended."""
        now = (len(self.state.trials), len(self.state.endings))
        if self._files is None or now != self._files_at:
            self._files, self._files_at = of_study(self.home, self.state, frozen), now
        return self._files

    def stopped(self, *, is_sure: bool) -> Stopped | None:
        """Why there is no worker; thought over again only if something has happened.

        Args:
            is_sure: whether there is none. Else only what would keep workers from going on counts.
        """
        counts = self.state.counts()
        now = (counts, len(self.state.endings), self.state.revision, self.state.armed, *self.home.markers())
        if now != self._stopped_at:
            sweep = None
            with contextlib.suppress(HpoBatchError):
                sweep = read_revision(self.home, self.state)
            self._stopped, self._stopped_at = why_stopped(self.home, self.state, sweep), now
        if self._stopped is not None and self._stopped.why is Why.NO_WORKER and not is_sure:
            return None
        return self._stopped

    def failures(self, every: Sequence[Span]) -> tuple[FailureGroup, ...]:
        """Failed attempts by cause; looked at again only if another attempt has ended."""
        now = (len(self.state.endings), sum(1 for span in every if span.ended is not None))
        if now != self._failures_at:
            self._failures, self._failures_at = failures.group(self.state, every), now
        return self._failures


def best_trial(state: JournalState) -> TrialRecord | None:
    """The complete trial with the best value; the earliest of equals. None for several metrics.

    Of a foreign journal a value may be NaN, which is less than nothing and more than nothing, or infinite.
    """
    if len(state.directions) != 1:
        return None
    sign = -1 if state.directions[0] == DIRECTION_MAXIMIZE else 1
    done = map(state.trials.__getitem__, state.by_state[TrialState.COMPLETE])
    values = ((trial.values[0], trial.number) for trial in done if trial.values)
    best = min(((sign * value, number) for value, number in values if math.isfinite(value)), default=None)
    return None if best is None else state.trials[best[1]].record()


def _shares(state: JournalState, frozen: Mapping[str, Any] | None) -> tuple[Share, ...]:
    table = (frozen or {}).get("space", {})
    if not any(isinstance(one, dict) and "weights" in one for one in table.values()):
        return ()  # nothing is decoded of the trials of most studies
    with_n_params = setting(frozen, "objective", "n_params", None) is not None
    space, _ = build(table, with_n_params=with_n_params)
    return tuple(shares(space, state.trials))


def _newest_beginning(every: Iterable[Span], job: str) -> float | None:
    """When the newest attempt of an array task began; None if it had none."""
    return max((span.started for span in every if span.job == job), default=None)


def newest_beginnings(home: StudyHome) -> dict[str, float]:
    """When the newest attempt of each array task began, by ``A_i``. Reads the journal; empty if that cannot be read."""
    begun: dict[str, float] = {}
    try:
        state = load_state(home)
    except StorageError:
        return begun
    for trial in state.trials:
        for span in spans(trial):
            begun[span.job] = max(begun.get(span.job, span.started), span.started)
    return begun


def _eta(state: JournalState, study: _Study, live: Sequence[WorkerStatus]) -> Eta:
    ended = study.last_seconds()
    working = [worker for worker in live if worker.state == "running"]
    return eta.estimate(
        [seconds for seconds, _ in ended],
        finished=sum(is_finished for _, is_finished in ended),
        remaining=state.counts().remaining,
        running=[worker.trial_s for worker in working if worker.trial_s is not None],
        left=[worker.left_s for worker in working],
    )


def _hours(
    home: StudyHome,
    state: JournalState,
    every: Sequence[Span],
    live: Sequence[WorkerStatus],
    frozen: Mapping[str, Any] | None,
    expected: Eta,
    charged: Sequence[AccountingRow] | None,
    now: float,
) -> Hours:
    working = {(worker.trial, worker.attempt) for worker in live}
    looked = itertools.count()

    def end_of(span: Span) -> float:
        if span.ended is None and (span.trial, span.attempt) in working:
            return now
        noticed = now if span.ended is None else span.ended
        seen = last_sign(home.attempt(span.trial, span.attempt)) if next(looked) < MOST_LOOKED_AT else None
        return noticed if seen is None else min(noticed, max(seen, span.started))

    found = hours.add_up(
        every,
        state_of=lambda number: state.trials[number].state,
        end_of=end_of,
        workers=live,
        task_gpus=hours.task_gpus(frozen),
        work_s=expected.work_s,
    )
    if charged is None:
        return found
    allocated = sum(row.elapsed_s * (row.gpus if found.unit == "GPU" else 1) for row in charged) / hours.HOUR_S
    return replace(found, allocated=allocated, idle=max(0.0, allocated - (found.used - found.idle)))


def _ask_slurm(submissions: Sequence[Submission], *, now: float) -> Answer:
    # a job whose walltime is long over cannot be in the queue unless it was requeued: a month is allowed for that
    recent = [s for s in submissions if now - s.submitted < s.walltime_s * 10 + 30 * 86400]
    try:
        queue = ask(recent, timeout_s=SQUEUE_TIMEOUT_S)
        return Answer(rows=queue.rows, job_ids=queue.job_ids, hidden=queue.hidden, asked=now)
    except CommandMissing:
        why = "there is no squeue on this machine"
    except HpoBatchError as error:
        why = str(error)
    return Answer(asked=now, unseen=f"array tasks: {why}; workers are told by their leases, waiting ones not")


def _ask_accounts(
    submissions: Sequence[Submission],
) -> tuple[Mapping[ArrayTask, tuple[AccountingRow, ...]] | None, str]:
    ids = [id for s in submissions if s.kind == "slurm" for id in s.job_ids]
    if not ids:
        return {}, ""
    try:
        found = BATCH.accounts(ids, timeout_s=SACCT_TIMEOUT_S)
    except CommandMissing:
        return None, "accounting: there is no sacct on this machine"
    except HpoBatchError as error:
        return None, f"accounting: {error}"
    return (found, "") if found is not None else (None, "accounting: this site keeps no accounts")


def _gone_folders(home: StudyHome, submissions: Iterable[Submission]) -> list[str]:
    """What was removed although there must have been something in it."""
    kinds = {s.kind for s in submissions if s.job_ids}
    wanted = [(home.slurm, "logs of array tasks")] if "slurm" in kinds else []
    wanted += [(home.path / "local", "logs of local workers")] if "local" in kinds else []
    wanted += [(home.path / "trials", "output of trials")]
    return [f"{what}: '{folder}' is not there" for folder, what in wanted if not folder.is_dir()]
