"""A study's journal read past its damage: what the checks of a study look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hpo_batch.errors import JournalCorrupt
from hpo_batch.files import read_regular
from hpo_batch.journal.decode import decode
from hpo_batch.journal.encode import FORMAT
from hpo_batch.journal.state import JournalState
from hpo_batch.store.home import StudyHome

MOST_BYTES: Final = 1 << 40
"""No journal is that large (a million trials take 3 GB); a sparse file may say that it is."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A journal read line by line, past those that are bad."""

    state: JournalState
    """what the lines before the first bad one make: later ones may mean other trials than they did"""
    lines: int
    bad: tuple[tuple[int, str], ...]
    """number from 1, and what is wrong with it"""
    torn_bytes: int
    """length of a last line without its newline"""
    newer_format: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of it could be read."""
        return self.newer_format is None and not self.bad


@dataclass(frozen=True, kw_only=True)
class StudySubject:
    """A study to examine."""

    home: StudyHome
    reading: Reading | None
    """None if the journal is gone or cannot be read"""
    error: OSError | None = None
    """why it cannot be read"""

    @property
    def state(self) -> JournalState | None:
        """What the journal of a study of ours says; None where that is not wholly known."""
        reading = self.reading
        return reading.state if reading is not None and reading.is_whole and reading.state.is_ours else None


def read_subject(home: StudyHome) -> StudySubject:
    """A study with its journal as it is now."""
    try:
        return StudySubject(home=home, reading=read_journal(home))
    except OSError as error:
        return StudySubject(home=home, reading=None, error=error)


def read_journal(home: StudyHome) -> Reading:
    """The journal as it is, without a lock.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    *lines, torn = read_regular(home.journal, most=MOST_BYTES).split(b"\n")
    state, newer = JournalState(), None
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            decode(line)  # a scan decodes reports and metrics only when they are asked for
            if not bad:
                state.apply(line + b"\n")
        except JournalCorrupt as error:
            if state.format > FORMAT:
                newer = state.format
                break
            bad.append((number, str(error)))
    return Reading(state=state, lines=len(lines), bad=tuple(bad), torn_bytes=len(torn), newer_format=newer)
