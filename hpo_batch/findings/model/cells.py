"""Cells of a data frame as values and as numbers; pandas has three ways to be empty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hpo_batch.findings.model.arrays import Floats
from hpo_batch.records import Value

FINITE = 1e308


def cells_of(column: Sequence[Any], kept: Sequence[int]) -> list[Any]:
    return [column[i] for i in kept]


def value_in(cell: Any) -> Value | None:
    """A cell as a value, None if it is empty; pandas has three ways to be empty, and none of them equals itself."""
    cell = cell.item() if hasattr(cell, "item") else cell
    if isinstance(cell, bool | int | str):
        return cell
    if isinstance(cell, float):
        return cell + 0.0 if math.isfinite(cell) else None
    return None if cell is None or type(cell).__name__ in ("NAType", "NaTType") else str(cell)


def numbers_in(column: pd.Series[Any]) -> Floats:
    """The cells of a column as numbers; NaN for what is none, and for what is not finite."""
    if column.dtype == np.float64:
        cells = column.to_numpy()
        return np.where(np.abs(cells) < FINITE, cells, np.nan) + 0.0
    return np.array([_number(cell) for cell in column.tolist()], dtype=np.float64)


def _number(cell: Any) -> float:
    value = value_in(cell)
    return float(value) if isinstance(value, bool | int | float) and abs(value) < FINITE else math.nan
