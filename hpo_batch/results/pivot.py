"""Trials as a table of two parameters: a row for each value of one, a column for each value of the other."""

from __future__ import annotations

import math

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.results.cells import is_empty
from hpo_batch.results.table import TrialsTable, candidates
from hpo_batch.results.top import column_named
from hpo_batch.text.names import listed

MOST_COLUMNS = 200
"""more are no table that anybody reads, and a sign that the wrong parameter was named"""


def pivoted(table: TrialsTable, frame: pd.DataFrame, names: tuple[str, str], cell: str | None) -> pd.DataFrame:
    """Means of a metric over the complete trials of each pair of values; a cell without any is empty.

    Args:
        table: says which metric is meant if none is named.
        frame: trials.
        names: of the columns that become rows and columns.
        cell: name of the metric; None for that of the study.

    Raises:
        UserError: there is no such column, or too many values; the metric is not a number.
    """
    rows, columns = (column_named(frame, name, "--pivot") for name in names)
    if rows == columns:
        raise UserError(f"--pivot: '{names[0]}' is named twice; name two columns")
    if cell is None and len(table.metrics) > 1:
        raise UserError(
            f"--pivot requires a metric, and there are several: choose one of {listed(table.metrics)} by --cell"
        )
    done = frame[candidates(frame)]
    metric = "value" if cell is None else column_named(frame, cell, "--cell")
    try:
        numbers = done[metric].astype(float)
    except (TypeError, ValueError):
        raise UserError(f"--cell: '{cell}' is not a number in every trial") from None
    if (n := done[columns].nunique(dropna=False)) > MOST_COLUMNS:
        raise UserError(f"--pivot: '{names[1]}' has {n} values, and a table has at most {MOST_COLUMNS} columns")
    finite = numbers.map(math.isfinite).to_numpy(dtype=bool)
    keys = done[finite]
    means = numbers[finite].groupby([keys[rows], keys[columns]], dropna=False, sort=True).mean()
    wide = means.unstack()
    result = pd.DataFrame({names[0]: [None if is_empty(value) else value for value in wide.index]})
    for value in wide.columns:
        result[f"{names[1]}={_shown(value)}"] = wide[value].to_numpy()
    return result


def _shown(value: object) -> str:
    return "none" if is_empty(value) else f"{value:g}" if isinstance(value, float) else str(value)


def note(table: TrialsTable, frame: pd.DataFrame, result: pd.DataFrame, cell: str | None) -> str:
    """What the cells are, for those who read the table."""
    done = int(candidates(frame).sum())
    n_cells = result.shape[0] * (result.shape[1] - 1)
    empty = int(result.iloc[:, 1:].isna().to_numpy().sum())
    several = "; some are means of several trials" if done > n_cells - empty else ""
    return f"cells: {cell or table.metrics[0]} of {done} complete trials, {empty} of {n_cells} empty{several}"
