"""Read a study's journal for ``status`` and similar commands: without a lock, changes or reports."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hpo_batch.errors import HpoBatchError, JournalCorrupt, StorageError
from hpo_batch.journal.attempt_intervals import Span, spans
from hpo_batch.journal.reader import summary_reader
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor import failures
from hpo_batch.monitor.failures import FailureGroup
from hpo_batch.records import TrialState
from hpo_batch.store.footprint import Usage, of_study
from hpo_batch.store.home import StudyHome, all_homes
from hpo_batch.study.read import read_revision
from hpo_batch.study.stopped import Stopped, Why, why_stopped

# number of most recent trials from which durations are estimated
LAST_TRIALS: Final = 1000


def load_state(home: StudyHome, *, metrics: bool = False) -> JournalState:
    """The study as it is now.

    Args:
        metrics: keep what was noted with each trial.

    Raises:
        StorageError: the journal cannot be read, or holds no study.
    """
    return summary_reader(home.journal, metrics=metrics).read_study()


def unfinished_studies(root: Path) -> tuple[StudyHome, ...]:
    """The studies below ``root`` that have trials left, or some that run; one that cannot be read is left out."""
    unfinished = []
    for home in all_homes(root):
        with contextlib.suppress(StorageError):  # whoever means that one names it
            counts = load_state(home).counts()
            if counts.remaining or counts.running:
                unfinished.append(home)
    return tuple(unfinished)


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


class StudyReader:
    """A study's journal, read on at each call, without a lock and without changing anything; reports are left out."""

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
    """With what follows from the trials that have ended, which is not worked out again at each look."""

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
