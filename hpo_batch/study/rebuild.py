"""Rebuild a study's journal from its trial folders, so that a deleted or damaged journal costs no finished trial.

The last claim decides each trial: if that attempt's folder has the claim's result, the trial has it too; otherwise the
trial waits for its next attempt. The old journal is kept. Called by ``doctor --rebuild`` only.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from hpo_batch import processes
from hpo_batch.errors import StorageError
from hpo_batch.files import open_regular, read_regular, sync_directory
from hpo_batch.journal.attributes import ARMED, FACTS, FAILURE, IMPORTED, attempt_attr, ended_attr
from hpo_batch.journal.decode import NONSENSE
from hpo_batch.journal.encode import Record, Writer
from hpo_batch.journal.locks import journal_lock
from hpo_batch.journal.state import JournalState
from hpo_batch.records import Complete, Configuration, Counts, Failed, GivenBack, Owner, Pruned, Reason, TrialState
from hpo_batch.space.parameters import Fixed
from hpo_batch.space.space import Space
from hpo_batch.store import liveness
from hpo_batch.store.attempt_archive import KeptAttempt, KeptEnd, KeptTrial, kept_trials, reports
from hpo_batch.store.checkpoints import moved_forward
from hpo_batch.store.home import Marker, StudyHome, is_counted
from hpo_batch.study.adopt import kept_count, kept_records
from hpo_batch.study.create import meaning, revision
from hpo_batch.study.end_records import EndRecords
from hpo_batch.study.imported import found_again
from hpo_batch.study.journal_params import JournalParams
from hpo_batch.study.quota import Quotas
from hpo_batch.study.revision import Revision
from hpo_batch.study.start_records import REPEATS, StartRecords
from hpo_batch.sweep.planned import Planned, planned_trials
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.size import target

# missing numbers that are filled in; a stray folder named 99999999 must not create 99,999,999 failed trials
MOST_HOLES = 10_000

# reported metrics -> the same with the computed ones
Completed = Callable[[Mapping[str, float]], Mapping[str, float]]


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a rebuild."""

    counts: Counts
    kept_as: Path | None
    """where the old journal is now; None if there was none"""
    revision: Path
    """the frozen sweep that the study was rebuilt from"""
    problems: tuple[str, ...]
    """what could not be read, and the consequence, one sentence each"""


def rebuild(
    home: StudyHome,
    *,
    completed: Callable[[Sweep], Completed],
    now: float,
    on_wait: Callable[[tuple[liveness.Holder, ...]], None] = lambda doubtful: None,
) -> Rebuilt:
    """Write a new journal and put it in place of the old one, which is kept beside it.

    A kill at any moment leaves the old journal or the new one; a second rebuild gives the same result.

    Args:
        completed: for a sweep, a function that adds the computed ``[metrics]`` to reported metrics.
        on_wait: called with the workers of other hosts that are watched for up to ``[study] lease_s`` seconds.

    Raises:
        StorageError: a worker is running, no frozen sweep can be read, or the journal cannot be written.
        LockTimeout: another process holds the journal's lock.
    """
    number, content, sweep = newest_revision(home)
    duration_s = float(sweep.study.lease_s)
    alive, dead = liveness.find_alive(home.workers, duration_s=duration_s, on_wait=on_wait)
    _refuse(home, alive)
    home.make()
    with journal_lock(home.journal):
        # again under the lock: a worker may have started while the first check watched leases
        alive, _ = liveness.find_alive(home.workers, duration_s=duration_s, known_dead=dead, on_wait=on_wait)
        _refuse(home, alive)
        rebuilder = _Rebuilder(home, sweep, number, now=now, completed=completed(sweep))
        lines = rebuilder.lines(content)
        kept_as = _install(home, lines)
    return Rebuilt(
        counts=rebuilder.state.counts(),
        kept_as=kept_as,
        revision=home.revision(number),
        problems=tuple(rebuilder.problems),
    )


def newest_revision(home: StudyHome) -> tuple[int, bytes, Sweep]:
    """Number, file content and sweep of the newest frozen sweep that can be read.

    Raises:
        StorageError: there is none.
    """
    paths = {path: path.name.split(".")[1] for path in home.path.glob("sweep.*.json")}
    for number in sorted((int(text) for text in paths.values() if is_counted(text)), reverse=True):
        with contextlib.suppress(OSError, *NONSENSE):
            content = read_regular(home.revision(number))
            return number, content, Sweep.from_json(content)
    raise StorageError(
        f"cannot read any frozen sweep (sweep.1.json ...) in '{home.path}', and the trials mean nothing without one; "
        f"restore it from a backup, then rebuild"
    )


def _refuse(home: StudyHome, alive: liveness.Holder | None) -> None:
    if alive is not None:
        raise StorageError(
            f"{alive} is working on '{home.name}', and a journal can only be rebuilt while no worker runs. Wait until "
            f"it ends, or stop all workers of the study with 'touch {home.marker(Marker.CANCELLED)}', then rebuild"
        )


class _Rebuilder:
    """Turns trial folders into records, one trial after the other, and keeps the resulting state."""

    def __init__(self, home: StudyHome, sweep: Sweep, number: int, *, now: float, completed: Completed) -> None:
        self.state = JournalState()
        self.problems: list[str] = []
        self._home = home
        self._sweep = sweep
        self._number = number
        self._completed = completed
        self._writer = Writer("doctor")
        self._spaces = {number: sweep.space}
        self._lines: list[bytes] = []
        self._now = now
        self._revision = Revision(
            number=number,
            sweep=sweep,
            space=sweep.space,
            planned=tuple(_without_extremes(sweep)),
            quotas=Quotas(sweep.space),
            journal_params=JournalParams(sweep.space),
            sources={},
        )

    def lines(self, content: bytes) -> list[bytes]:
        """The whole journal."""
        writer, sweep = self._writer, self._sweep
        self._append([writer.create_study(sweep.path, sweep.study.direction), *meaning(writer, sweep)])
        imported = found_again(self._home, sweep)
        self._append([writer.study_attr(IMPORTED, imported)] if imported is not None else [])
        self._append([revision(writer, number=self._number, content=content, wanted=target(sweep))])
        adopted = kept_records(self._home)
        self.state.apply(b"".join(line + b"\n" for line in adopted))
        self._lines += adopted
        trials = self._plausible(kept_trials(self._home))
        made = {_identity(trial) for trial in trials}
        repeats = [planned for planned in self._revision.planned if _identity_of(planned) not in made]
        for trial in trials:
            while len(self.state.trials) < trial.number:
                self._fill(repeats)
            self._trial(trial)
        while self._has_room() and self._repeat(repeats):  # repeats with numbers behind the last folder
            continue
        self._append([writer.study_attr(ARMED, self._now)])
        return self._lines

    def _plausible(self, kept: Iterable[KeptTrial]) -> list[KeptTrial]:
        """The trials without outliers among the numbers: every number without a folder becomes a failed trial."""
        trials: list[KeptTrial] = []
        for trial in kept:
            if trial.number > MOST_HOLES + 10 * len(trials):
                self.problems.append(
                    f"'{self._home.trial(trial.number)}' has a number far behind the {len(trials)} others: left out"
                )
            else:
                trials.append(trial)
        return trials

    def _start_records(self, now: float) -> StartRecords:
        return StartRecords(revision=self._revision, owner=_nobody(), writer=self._writer, now=now)

    def _append(self, records: Sequence[Record]) -> None:
        lines = [msgspec.json.encode(record) for record in records]
        self.state.apply(b"".join(line + b"\n" for line in lines))
        self._lines += lines

    def _has_room(self) -> bool:
        counts = self.state.counts()
        return counts.finished + counts.waiting < counts.target

    def _fill(self, repeats: list[Planned]) -> None:
        """Fill a number without a folder: with a planned repeat, which never had one, or as a lost trial."""
        if not self._repeat(repeats):
            self._hole("none of its attempts left a folder")

    def _repeat(self, repeats: list[Planned]) -> bool:
        for planned in repeats:
            source = self.state.number_of_key.get(planned.configuration.key)
            if source is not None and self.state.trials[source].state.finished:
                repeats.remove(planned)
                trial = self.state.trials[source]
                self._append([self._start_records(trial.ended or 0.0).answered(planned, trial)])
                return True
        return False

    def _hole(self, why: str) -> None:
        number = len(self.state.trials)
        message = f"added by 'doctor --rebuild' to keep the numbers of the other trials: {why}"
        self.problems.append(f"trial {number} is lost and now FAIL: {why}")
        self._append(
            [
                self._writer.create_trial(
                    now=self._now,
                    state=TrialState.FAIL,
                    params={},
                    distributions={},
                    system_attrs={FAILURE: {"reason": Reason.LOST.value, "message": message}},
                )
            ]
        )

    def _trial(self, kept: KeptTrial) -> None:
        """Create a trial as its last claim left it, then end it with the result in that attempt's folder."""
        if kept.claim is None:
            self._hole("; ".join(kept.problems) or f"'{self._home.trial(kept.number)}' holds no attempt")
            return
        self.problems += [f"trial {kept.number}: {problem}" for problem in kept.problems]
        last, end = kept.attempts[-1], self._usable_end(kept)
        outcome = None if end is None or isinstance(end.ended, GivenBack) else end.ended
        params, distributions = JournalParams(self._space(kept))(kept.claim.configuration)
        record = self._writer.create_trial(
            now=last.claim.started if last.claim is not None else kept.claim.started,
            state=TrialState.WAITING if outcome is None else TrialState.RUNNING,
            params=params,
            distributions=distributions,
            system_attrs={FACTS: dict(kept.claim.trial), **_attempts(kept, end)},
            user_attrs=_earlier_metrics(kept),
            steps=self._steps(kept),
        )
        self._append([record])
        if outcome is not None and end is not None:
            records = EndRecords(sweep=self._sweep, writer=self._writer, now=end.time)
            moved = isinstance(outcome, Failed) and moved_forward(self._home, kept.number, last.number)
            self._append(records.told(self.state.trials[-1], outcome, moved=moved))

    def _usable_end(self, kept: KeptTrial) -> KeptEnd | None:
        if kept.end is None or not isinstance(kept.end.ended, Complete):
            return kept.end
        count = len(kept.end.ended.values)
        if count == len(self.state.directions):
            return kept.end
        self.problems.append(f"trial {kept.number}: its result has {count} values; ignored")
        return None

    def _steps(self, kept: KeptTrial) -> dict[int, float]:
        """The first metric by step over all attempts, without reports of an attempt after its successor began."""
        metric, steps = self._sweep.study.metric[0], {}
        for attempt, until in _with_end(kept, math.inf):
            for report in reports(attempt.folder):
                value = self._completed(report.metrics).get(metric)
                if value is not None and math.isfinite(value) and report.time <= until:
                    steps[report.step] = value
        return steps

    def _space(self, kept: KeptTrial) -> Space:
        """The space of the trial's revision, or else of the newest one, extended by the trial's own parameters."""
        assert kept.claim is not None
        number = kept.claim.trial.get("revision", self._number)
        if not isinstance(number, int) or not 0 <= number < 10**9:
            number = self._number
        if number not in self._spaces:
            self._spaces[number] = self._sweep.space
            with contextlib.suppress(OSError, *NONSENSE):
                self._spaces[number] = Sweep.from_json(read_regular(self._home.revision(number))).space
        return _with_all(self._spaces[number], kept.claim.configuration)


def _with_all(space: Space, configuration: Configuration) -> Space:
    """The space with each parameter that it does not know (if its revision's file is gone) as a fixed one."""
    values = {**configuration.searched, **configuration.fixed}
    missing = [Fixed(name=name, value=value) for name, value in values.items() if name not in space.by_name]
    return replace(space, parameters=(*space.parameters, *missing)) if missing else space


def _with_end(kept: KeptTrial, last: float) -> Iterator[tuple[KeptAttempt, float]]:
    """Each attempt with the start of its successor; with ``last`` for the last one."""
    for i, attempt in enumerate(kept.attempts):
        later = (a.claim.started for a in kept.attempts[i + 1 :] if a.claim is not None)
        yield attempt, next(later, last)


def _last_sign(attempt: KeptAttempt) -> float:
    """The last sign of life of an attempt without an end: the time of its newest file, in seconds since the epoch."""
    times = [attempt.claim.started] if attempt.claim is not None else [0.0]
    with contextlib.suppress(OSError):
        times += [path.stat().st_mtime for path in attempt.folder.iterdir()]
    return max(times)


def _ordered(attempt: KeptAttempt, until: float) -> KeptEnd | None:
    """The end of an attempt that has a successor, if it was given back or failed; None if it was lost."""
    end = attempt.end
    return end if end is not None and isinstance(end.ended, Failed | GivenBack) and end.time <= until else None


def _earlier_metrics(kept: KeptTrial) -> dict[str, object]:
    """Metrics of failed attempts that were retried, as the old journal had them."""
    metrics: dict[str, object] = {}
    for attempt, until in list(_with_end(kept, math.inf))[:-1]:
        end = _ordered(attempt, until)
        if end is not None and not isinstance(end.ended, GivenBack):
            metrics |= {name: value for name, value in end.ended.metrics.items() if math.isfinite(value)}
    return metrics


def _attempts(kept: KeptTrial, end: KeptEnd | None) -> dict[str, object]:
    """Attributes for who ran each attempt and how it ended; an attempt with an unreadable claim keeps its number only.

    Args:
        end: of the last attempt. Only a give-back is used here; ``EndRecords`` handles outcomes.
    """
    attrs: dict[str, object] = {}
    for attempt, until in _with_end(kept, _last_sign(kept.attempts[-1])):
        attrs[attempt_attr(attempt.number)] = dict(attempt.claim.attempt) if attempt.claim else {}
        is_last = attempt is kept.attempts[-1]
        attempt_end = end if is_last else _ordered(attempt, until)
        if attempt_end is None:
            attrs[ended_attr(attempt.number)] = {"how": Reason.LOST.value, "time": until}
        elif not is_last or isinstance(attempt_end.ended, GivenBack):
            used = {} if attempt_end.ended.usage is None else {"usage": attempt_end.ended.usage.known()}
            attrs[ended_attr(attempt.number)] = {"how": attempt_end.how, "time": attempt_end.time, **used}
    return attrs


def _without_extremes(sweep: Sweep) -> Iterator[Planned]:
    """The planned trials without extremes, which depend on the user's ``n_params``; only workers import user code."""
    return (planned for planned in planned_trials(sweep) if not planned.origin.startswith("extreme"))


def _identity(trial: KeptTrial) -> tuple[object, object, object]:
    facts = trial.claim.trial if trial.claim is not None else {}
    return facts.get("origin"), facts.get("name"), facts.get("key")


def _identity_of(planned: Planned) -> tuple[object, object, object]:
    return planned.origin, planned.name, planned.configuration.key


def _nobody() -> Owner:
    return Owner(worker="doctor", job="local", host=processes.host_name(), pid=os.getpid(), start=0, boot="")


def _install(home: StudyHome, lines: Sequence[bytes]) -> Path | None:
    """Put the new journal in place of the old one, which keeps its content under another name."""
    # a fixed name is safe under the lock, and lets a rebuild replace the leftovers of a killed one
    arriving = home.path / f".{home.journal.name}.rebuild.tmp"
    try:
        arriving.unlink(missing_ok=True)
        with os.fdopen(open_regular(arriving, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.writelines(line + b"\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        kept_as = _keep(home)
        os.replace(arriving, home.journal)
    except OSError as error:
        raise StorageError.because(f"cannot write the journal again, '{arriving}'", error) from error
    sync_directory(home.path)
    return kept_as


def _keep(home: StudyHome) -> Path | None:
    """Give the old journal a second name; a hard link, so that there is never a moment without a journal."""
    if not home.journal.exists():
        return None
    number = 1
    while (kept := home.path / f"journal.before-rebuild.{number}.jsonl").exists():
        if kept.samefile(home.journal):
            return kept  # a killed rebuild got this far
        number += 1
    try:
        os.link(home.journal, kept)
    except OSError:  # exFAT and some FUSE file systems have no hard links
        os.replace(home.journal, kept)
    return kept


def unkept(home: StudyHome, state: JournalState) -> tuple[int, ...]:
    """Finished trials whose results are missing from the folders: a rebuild would lose them."""
    have = {trial.number for trial in kept_trials(home) if trial.end and isinstance(trial.end.ended, Complete | Pruned)}
    have |= set(range(kept_count(home)))
    return tuple(t.number for t in state.trials if t.state.finished and t.number not in have and REPEATS not in t.facts)
