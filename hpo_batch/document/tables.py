"""Tables of a document: which columns are numbers, and what is left out of long ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpo_batch.document.blocks import Cell, Table
from hpo_batch.text.numbers import count

MOST_ROWS: Final = 60


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    text: Sequence[str] = (),
    note: str = "",
    secondary: bool = False,
    paper: bool = False,
) -> Table:
    """Columns hold numbers unless they are named in ``text``. Long tables are cut, which is told."""
    cut = len(rows) - MOST_ROWS
    more = f"{count(cut, 'further row is', 'further rows are')} in report.json." if cut > 0 else ""
    return Table(
        caption=caption,
        columns=tuple(columns),
        rows=tuple(tuple(row) for row in rows[:MOST_ROWS]),
        numeric=frozenset(i for i, name in enumerate(columns) if name not in text),
        note=" ".join(part for part in (note, more) if part),
        secondary=secondary,
        paper=paper,
    )
