"""Reads a study's journal past damaged lines, for the checks of a study."""

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
"""No journal is that large (a million trials take 3 GB), but a sparse file may claim to be."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The result of reading a journal line by line, past bad ones."""

    state: JournalState
    """from the lines before the first bad one; after it, trial numbers may be shifted"""
    lines: int
    bad: tuple[tuple[int, str], ...]
    """line number from 1, and what is wrong"""
    torn_bytes: int
    """length of a last line without a newline"""
    newer_format: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every line could be read."""
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
        """The journal's state; None if it is not completely readable, or was not made by hpo-batch."""
        reading = self.reading
        return reading.state if reading is not None and reading.is_whole and reading.state.is_ours else None


def read_subject(home: StudyHome) -> StudySubject:
    """A study with its journal as it is now."""
    try:
        return StudySubject(home=home, reading=read_journal(home))
    except OSError as error:
        return StudySubject(home=home, reading=None, error=error)


def read_journal(home: StudyHome) -> Reading:
    """Read the journal as it is now, without a lock.

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
            decode(line)  # completely: ``apply`` decodes reports and metrics only on demand
            if not bad:
                state.apply(line + b"\n")
        except JournalCorrupt as error:
            if state.format > FORMAT:
                newer = state.format
                break
            bad.append((number, str(error)))
    return Reading(state=state, lines=len(lines), bad=tuple(bad), torn_bytes=len(torn), newer_format=newer)
