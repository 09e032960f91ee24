"""Reads a study from its journal without a lock, once or repeatedly."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from hpo_batch.errors import StorageError
from hpo_batch.journal.file import Journal
from hpo_batch.journal.state import JournalState, StudyTrials

State = TypeVar("State", bound=StudyTrials)


class JournalReader(Generic[State]):
    """A journal and the state built from its records. Each ``read`` applies what was appended since the last.

    A missing or empty journal is not an error but an empty state (``study_name`` is None): a study looks like that
    while it is being created, and if ``submit`` was killed, the next ``submit`` creates it. Callers that need a study
    call ``read_study``.
    """

    def __init__(self, path: Path, state: State) -> None:
        self.journal = Journal(path)
        self.state = state

    def read(self, *, judge: bool = True) -> State:
        """The state with everything that is in the journal now.

        Args:
            judge: see ``Journal.read_new``.

        Raises:
            StorageError: the journal cannot be read.
        """
        for lines in self.journal.pieces(judge=judge):
            self.state.apply(lines)
        return self.state

    def read_study(self) -> State:
        """The same, for a journal that must contain a study.

        Raises:
            StorageError: there is no study in it, or it cannot be read.
        """
        state = self.read()
        if state.study_name is None:
            raise StorageError(f"the journal '{self.journal.path}' contains no study")
        return state


def summary_reader(path: Path, *, metrics: bool = False) -> JournalReader[JournalState]:
    """A reader that skips reports, which are most of a journal, and by default metrics too."""
    return JournalReader(path, JournalState(reports=False, metrics=metrics))
