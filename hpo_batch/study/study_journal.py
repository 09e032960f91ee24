"""A study's journal as one worker has read it, and the revision of the sweep that it names."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from hpo_batch.errors import StorageError
from hpo_batch.journal.file import Transaction
from hpo_batch.journal.reader import JournalReader
from hpo_batch.journal.state import JournalState
from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.imported import read_imported
from hpo_batch.study.patience import raises_storage_errors
from hpo_batch.study.revision import NParams, Revision
from hpo_batch.study.translate import note_todays_keys

FRESH_S = 0.02
"""what was read so short a time ago is not read again before the lock is taken: what others wrote since is little"""


class StudyJournal:
    """``state`` is what has been read; only ``sync`` and transactions read more."""

    def __init__(self, home: StudyHome, *, n_params: NParams | None) -> None:
        self.home = home
        self.starting = 0
        """workers that were there when this one came, until it has its first trial: they may all want the lock"""
        self._n_params = n_params
        self._synced = -math.inf
        self._translated = 0
        """trials whose keys of today are noted"""
        self._read_anew(reports=False)
        self._load()

    @property
    def is_local(self) -> bool:
        """Whether no other host can write to the journal."""
        return self.file.is_local

    @property
    def is_current(self) -> bool:
        """Whether ``revision`` is the one that the journal names, as far as it has been read."""
        return self.state.revision == self.revision.number

    @property
    def running(self) -> int:
        return len(self.state.by_state[TrialState.RUNNING])

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction of the journal, with all that it holds applied.

        On a shared file system what others wrote is read before the lock is taken too: most of it is replayed while
        nobody waits. On a local disk that costs more (a tenth of the trials per second with 32 workers) than it saves.
        """
        is_stale = not self.is_local and time.monotonic() - self._synced > FRESH_S
        if self.file.was_undone or is_stale:
            self.sync()
        with self.file.transaction(waiters=max(self.running, self.starting)) as transaction:
            self.state.apply(transaction.new)
            yield transaction

    @raises_storage_errors
    def sync(self) -> None:
        """Read what is new in the journal, without its lock; all of it if records that were read were taken back."""
        self._synced = time.monotonic()
        if not self.file.was_undone:
            try:
                self._reader.read(judge=False)
                return
            except StorageError:
                if not self.file.was_undone:
                    raise
        self._read_anew(reports=self.state.reports)
        self._load()  # also the same revision: its samplers have seen trials that are not there

    def load_revision(self) -> None:
        """Read the sweep again if the journal names another revision of it.

        Raises:
            StorageError: there is no study, or the sweep cannot be read.
        """
        if not self.is_current:
            self._load()

    def note_todays_keys(self) -> None:
        """Name the trials read since the last call that count as another configuration in today's space."""
        note_todays_keys(self.revision.space, self.state.trials[self._translated :], self.state.also_known_as)
        self._translated = len(self.state.trials)

    def _load(self) -> None:
        if not self.state.revision:
            raise StorageError(f"no study in '{self.home.path}': submit a sweep first")
        self.revision = Revision.read(self.home, self.state, n_params=self._n_params)
        if self.revision.needs_reports and not self.state.reports:
            self._read_anew(reports=True)
        self.state.imported = read_imported(self.home, self.state)
        self._translated = 0

    def _read_anew(self, *, reports: bool) -> None:
        self._reader = JournalReader(self.home.journal, JournalState(reports=reports, metrics=reports))
        self.file, self.state = self._reader.journal, self._reader.state
        self._translated = 0
        self.sync()
