"""The predictions of all studies together: what ``hpo-batch ledger`` shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from hpo_batch.document.blocks import Block, Card, Document, Table, Text
from hpo_batch.document.tables import table
from hpo_batch.errors import StorageError, StudyNotFound
from hpo_batch.findings.ledger.numbers import Ledger, ledger_of
from hpo_batch.findings.ledger.page import COLUMNS, rows_of
from hpo_batch.findings.ledger.summary import FEWEST_FOR_TENTHS, Summary, summary
from hpo_batch.findings.ledger.words import study_text, summary_text
from hpo_batch.journal.decode import isolated
from hpo_batch.sources.study import read_study
from hpo_batch.store.home import StudyHome, find_homes
from hpo_batch.store.predictions import read_kept
from hpo_batch.store.submissions import read_submissions
from hpo_batch.text.lines import printable
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count

MOST_NAMED: Final = 10
FORMAT: Final = 1
"""raised when a key of the JSON changes its meaning or goes"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One study whose sweep predicted something."""

    study: str
    ledger: Ledger
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Past advice of some studies, the first study first."""

    entries: tuple[Entry, ...]
    without: tuple[str, ...]
    """studies of which nothing was predicted"""
    unreadable: tuple[str, ...]
    """studies that cannot be read, and why"""
    summary: Summary

    @property
    def text(self) -> str:
        """What is not in the tables, in one sentence each."""
        lines = [*self.unreadable]
        if self.without:
            many = len(self.without) > MOST_NAMED
            named = count(len(self.without), "study", "studies") if many else listed(self.without)
            only = "" if self.entries else ": only sweeps that refine, propose and confirm write carry predictions"
            lines.append(f"nothing was predicted of {named}{only}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "studies": [
                {"study": entry.study, **asdict(entry.ledger), "notes": list(entry.notes)} for entry in self.entries
            ],
            "summary": asdict(self.summary),
            "without": list(self.without),
            "unreadable": list(self.unreadable),
        }


def overview(homes: Sequence[StudyHome]) -> Overview:
    """The ledgers of studies, in the order of their first submissions; one that cannot be read hides no other."""
    entries: list[Entry] = []
    without, unreadable = [], []
    met: dict[str, str] = {}
    for home in sorted(homes, key=lambda home: (_begun(home), home.name)):
        try:
            with isolated(home.name):
                ledger = _ledger(home)
        except StorageError as error:
            unreadable.append(f"{home.name} cannot be read: {error}")
            continue
        if ledger is None:
            without.append(home.name)
            continue
        entries.append(Entry(study=home.name, ledger=ledger, notes=tuple(_notes(home, ledger, met))))
        met.setdefault(ledger.digest, home.name)
    return Overview(
        entries=tuple(entries),
        without=tuple(without),
        unreadable=tuple(unreadable),
        summary=summary([entry.ledger for entry in entries]),
    )


def _ledger(home: StudyHome) -> Ledger | None:
    if read_kept(home) is None:
        return None  # most studies: their journals need not be read
    return ledger_of(read_study(home, attempts=False, frozen=False))


def _begun(home: StudyHome) -> float:
    try:
        return min((one.submitted for one in read_submissions(home)), default=float("inf"))
    except (StorageError, OSError):
        return float("inf")


def _notes(home: StudyHome, ledger: Ledger, met: dict[str, str]) -> Iterator[str]:
    if ledger.digest in met:
        yield f"it has the predictions of '{met[ledger.digest]}' (one sweep, two studies): each counts once"
    gone = [name for name in ledger.previous if not _is_there(home, name)]
    if gone:
        yield f"{listed(gone)}, which it was predicted from, is not there any more; that is not needed to judge it"


def _is_there(home: StudyHome, name: str) -> bool:
    try:
        return bool(find_homes(home.root, name))
    except (StudyNotFound, StorageError, OSError, ValueError):
        return False


def overview_document(made: Overview) -> Document:
    """The same as blocks, for a terminal."""
    cards = [Card(key=entry.study, title=entry.study, blocks=tuple(_of_study(entry))) for entry in made.entries]
    if len(made.entries) > 1 or made.summary.tenths:
        cards.append(Card(key="all", title="All together", blocks=tuple(_of_all(made.summary))))
    return Document(title="", subtitle="", first=tuple(cards), sections=())


def _of_study(entry: Entry) -> Iterator[Block]:
    yield Text(text=printable(f"{study_text(entry.ledger)}."))
    if entry.ledger.predictions:
        yield table("What was predicted, and what came", list(COLUMNS), rows_of(entry.ledger), text=COLUMNS[:3])
    for note in entry.notes:
        yield Text(text=printable(f"Note: {note}."))


def _of_all(made: Summary) -> Iterator[Block]:
    yield Text(text=f"{summary_text(made)}.")
    if made.open:
        yield Text(text=f"{count(made.open, 'prediction')} cannot be scored yet.")
    if made.tenths:
        yield calibration_table(made)
    elif made.n:
        yield Text(
            text=f"Whether probabilities are right as often as they say is shown from {FEWEST_FOR_TENTHS} of them on."
        )


def calibration_table(made: Summary) -> Table:
    """Of the probabilities in each tenth: their mean, and how many came true."""
    rows = [[f"{t.low:.0%} to {t.high:.0%}", f"{t.said:.0%}", f"{t.came:.0%}", str(t.n)] for t in made.tenths]
    return table("Are probabilities right as often as they say?", ["probability", "said", "came", "n"], rows)
