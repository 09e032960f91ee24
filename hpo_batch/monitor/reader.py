"""Read a study's journal for ``status`` and similar commands: without a lock, without changes, without reports."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpo_batch.errors import JournalCorrupt, StorageError, UserError
from hpo_batch.journal.attempt_intervals import Span, spans, spans_of
from hpo_batch.journal.reader import summary_reader
from hpo_batch.journal.state import JournalState, StudyTrials
from hpo_batch.monitor import failures
from hpo_batch.monitor.failures import FailureGroup
from hpo_batch.records import TrialState
from hpo_batch.store.footprint import Usage, of_study
from hpo_batch.store.home import StudyHome, all_homes

if TYPE_CHECKING:
    from hpo_batch.study.stopped import Stopped

# most recent trials from which durations are estimated: a search drifts to larger or smaller models
LAST_TRIALS: Final = 1000


def load_state(home: StudyHome, *, metrics: bool = False) -> JournalState:
    """The study as it is now.

    Args:
        metrics: also keep the metrics recorded with each trial.

    Raises:
        StorageError: the journal cannot be read, or holds no study.
    """
    return summary_reader(home.journal, metrics=metrics).read_study()


def unfinished_studies(root: Path) -> tuple[StudyHome, ...]:
    """The studies below ``root`` with trials left or running. Unreadable ones are left out."""
    unfinished = []
    for home in all_homes(root):
        with contextlib.suppress(StorageError):  # naming it gives the error
            counts = load_state(home).counts()
            if counts.remaining or counts.running:
                unfinished.append(home)
    return tuple(unfinished)


def trial_names(state: StudyTrials) -> dict[str, int]:
    """The numbers of the trials that have a name."""
    return {trial.facts["name"]: trial.number for trial in state.trials if trial.facts.get("name")}


def trial_numbers(state: StudyTrials, *texts: str) -> list[int]:
    """The trials that are meant by numbers, names or ranges (``1-3``), in the order given.

    Raises:
        UserError: there is no such trial.
    """
    names = trial_names(state)
    return [number for text in texts for number in _numbers(text, names, len(state.trials))]


def _numbers(text: str, names: Mapping[str, int], count: int) -> list[int]:
    if text in names:
        return [names[text]]
    # [0-9], since \d also matches digits such as "²" that int() rejects; 18 of them, since int() rejects more than 4300
    # (https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation)
    if match := re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", text):
        first, last = int(match[1]), int(match[2] or match[1])
        if first <= last < count:  # checked first: a range of 10^18 numbers would fill the memory
            return list(range(first, last + 1))
    trials = f"there are trials 0 to {count - 1}" if count else "there are no trials yet"
    named = f", and {', '.join(sorted(names)[:10])}" if names else ""
    raise UserError(f"no trial '{text}': {trials}{named}")


def newest_beginnings(home: StudyHome) -> dict[str, float]:
    """Start of the newest attempt of each array task, by ``A_i``; empty if the journal cannot be read."""
    begun: dict[str, float] = {}
    try:
        state = load_state(home)
    except StorageError:
        return begun
    for trial in state.trials:
        for span in spans(trial):
            begun[span.job] = max(begun.get(span.job, span.started), span.started)
    return begun


class StudyReader:
    """A study's journal, of which each call reads what is new."""

    def __init__(self, home: StudyHome) -> None:
        self.home = home
        self._begin()

    def _begin(self) -> None:
        self._reader = summary_reader(self.home.journal)
        self.state = self._reader.state

    def read(self) -> JournalState:
        """The study as it is now.

        Raises:
            StorageError: the journal cannot be read, or holds no study.
        """
        try:
            self._read_on()
        except JournalCorrupt:
            if not self._reader.journal.cursor.offset:
                raise
            self._begin()  # `doctor --rebuild` may have replaced the journal
            self._read_on()
        return self.state

    def _read_on(self) -> None:
        self._reader.read_study()


class StudyHistory(StudyReader):
    """A ``StudyReader`` that keeps what it has derived from ended trials, for repeated looks."""

    def _begin(self) -> None:
        super()._begin()
        self._ended: list[Span] = []
        self._seconds: list[tuple[float, bool]] = []
        """for each ended trial: seconds of a worker for all its attempts together, and whether it is finished"""
        self._counted = 0
        self._failures: tuple[FailureGroup, ...] = ()
        self._failures_at: tuple[int, int] | None = None
        self._files: Usage | None = None
        self._files_at = (-1, -1)
        self._stopped: Stopped | None = None
        self._stopped_at: tuple[object, ...] = ()

    def _read_on(self) -> None:
        super()._read_on()
        ended = [self.state.trials[number] for _, number in self.state.endings[self._counted :]]
        for trial, found in zip(ended, spans_of(ended), strict=True):
            self._ended += found
            if found:
                # of a worker's time: trials that it trains together have one part of it each
                seconds = sum((span.seconds or 0.0) / span.fused for span in found if span.how != "lost")
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
        """Number of files and folders, updated only if a trial has started or ended."""
        now = (len(self.state.trials), len(self.state.endings))
        if self._files is None or now != self._files_at:
            self._files, self._files_at = of_study(self.home, self.state, frozen), now
        return self._files

    def stopped(self, frozen: Mapping[str, Any] | None, *, is_sure: bool) -> Stopped | None:
        """Why no worker runs, updated only if something has happened.

        Args:
            frozen: the sweep; None if it cannot be read.
            is_sure: whether it is certain that none runs. If not, only what would stop workers is a reason.
        """
        counts = self.state.counts()
        if not counts.remaining:
            return None
        from hpo_batch.study import stopped  # with the expressions of spaces, which running studies do not need

        now = (counts, len(self.state.endings), self.state.revision, self.state.armed, *self.home.markers())
        if now != self._stopped_at:
            self._stopped, self._stopped_at = stopped.why_frozen_stopped(self.home, self.state, frozen), now
        if self._stopped is not None and self._stopped.why is stopped.Why.NO_WORKER and not is_sure:
            return None
        return self._stopped

    def failures(self, every: Sequence[Span]) -> tuple[FailureGroup, ...]:
        """Failed attempts by cause, updated only if another attempt has ended."""
        now = (len(self.state.endings), sum(1 for span in every if span.ended is not None))
        if now != self._failures_at:
            self._failures, self._failures_at = failures.group(self.state, every), now
        return self._failures
