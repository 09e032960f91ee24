"""What an empty cell is, and what value a cell has: one answer for all readers of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hpo_batch.records import Value


def is_empty(cell: object) -> bool:
    """Whether a cell holds nothing: ``None``, ``NaN``, ``pd.NA`` or ``pd.NaT``.

    Not ``pd.isna``: for a list or an array it answers for each of its elements.
    """
    if cell is None or cell is pd.NA:
        return True
    # NaN and NaT alone differ from themselves; an array would answer for each of its elements
    return not isinstance(cell, np.ndarray) and bool(cell != cell)


def plain(cell: Any) -> Value | None:
    """A cell as a value of Python's own; None for an empty one, and the text of anything else (a time, a list)."""
    if is_empty(cell):
        return None
    cell = cell.item() if isinstance(cell, np.generic) else cell
    return cell if isinstance(cell, bool | int | float | str) else str(cell)


def plain_column(column: pd.Series[Any]) -> list[Value | None]:
    return [plain(cell) for cell in column.tolist()]


def configuration_keys(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[object, ...]]:
    """The configuration of each row, as a key. ``1``, ``1.0`` and ``true`` differ; an empty cell is a value too.

    Args:
        columns: the parameters.
    """
    # with the type, since 1 == 1.0 == True in Python, and they hash alike
    cells = [[None if is_empty(cell) else (type(cell), cell) for cell in frame[name].tolist()] for name in columns]
    return list(zip(*cells, strict=True))
