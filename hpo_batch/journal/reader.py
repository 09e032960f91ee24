"""Reading a study from its journal without a lock, once or again and again. Every reader goes through here."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

from hpo_batch.errors import StorageError
from hpo_batch.journal.file import Journal
from hpo_batch.journal.state import JournalState, StudyTrials

State = TypeVar("State", bound=StudyTrials)


class JournalReader(Generic[State]):
    """A journal and the state that its records make; each call of ``read`` applies what was appended since the last.

    A journal that is absent or empty makes an empty state (``study_name`` is None), and no error: a study that is being
    made looks like that for a moment, and one whose ``submit`` was killed is made by the next. Callers that need a
    study call ``read_study``.
    """

    def __init__(self, path: Path, state: State) -> None:
        self.journal = Journal(path)
        self.state = state

    def read(self, *, judge: bool = True) -> State:
        """The state with everything that is in the journal now.

        Args:
            judge: as of ``Journal.read_new``.

        Raises:
            StorageError: the journal cannot be read.
        """
        for lines in self.journal.pieces(judge=judge):
            self.state.apply(lines)
        return self.state

    def read_study(self) -> State:
        """The same, of a journal that holds a study.

        Raises:
            StorageError: it holds none, or cannot be read.
        """
        state = self.read()
        if state.study_name is None:
            raise StorageError(f"the journal '{self.journal.path}' holds no study")
        return state


def summary_reader(path: Path, *, metrics: bool = False) -> JournalReader[JournalState]:
    """A reader that decodes no reports, which are most of a journal, and metrics only if asked to."""
    return JournalReader(path, JournalState(reports=False, metrics=metrics))
