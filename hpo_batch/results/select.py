"""Rows and columns of a trials table: filters in our expression language, and the columns that people look at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.expressions import parse, why_constant, written
from hpo_batch.results.cells import plain_column
from hpo_batch.results.table import TrialsTable

SHORT_FORMS = {"failed": "FAIL", "complete": "COMPLETE", "pruned": "PRUNED", "running": "RUNNING", "waiting": "WAITING"}


def filtered(frame: pd.DataFrame, text: str) -> pd.DataFrame:
    """Rows for which an expression holds, over column names, parameters and metrics: ``n_layers > 4``.

    A row in which a name has no value does not match. ``failed`` and the like are short for a state.

    Raises:
        UserError: a name is no column, or the expression cannot be evaluated.
    """
    if text in SHORT_FORMS:
        return frame[frame["state"] == SHORT_FORMS[text]]
    expression = parse(text)
    columns = {}
    # a typing error such as `n_layers = 4 or 5` would select everything, or nothing
    if constant := why_constant(expression, [_short(column) for column in frame.columns]):
        raise UserError(f"--filter: {constant}")
    for name in expression.names:
        # a column's full name wins over a parameter or metric of that name
        column = next((c for c in (name, f"params_{name}", f"user_attrs_{name}") if c in frame.columns), None)
        if column is None:
            known = sorted(written(_short(column)) for column in frame.columns)
            raise UserError(
                f"--filter: '{name}' is not a column, a parameter or a metric; there are {', '.join(known)}"
            )
        columns[name] = column
    cells = [plain_column(frame[column]) for column in columns.values()]
    kept = [
        None not in values and expression.truth(dict(zip(columns, values, strict=True)))
        for values in (zip(*cells, strict=True) if cells else [()] * len(frame))
    ]
    return frame[pd.Series(kept, index=frame.index, dtype=bool)]


def _short(column: object) -> str:
    """A column's name as it is written in a filter."""
    return str(column).removeprefix("params_").removeprefix("user_attrs_")


def check_alike(tables: Sequence[TrialsTable], option: str) -> None:
    """Raises UserError if the values of several studies cannot be compared: other metrics, or other directions."""
    kinds = {(table.metrics, table.directions) for table in tables}
    if len(kinds) > 1:
        told = "; ".join(
            f"{table.label} {', '.join(f'{m} ({d})' for m, d in zip(table.metrics, table.directions, strict=True))}"
            for table in tables
        )
        raise UserError(f"{option}: the studies do not have the same objective: {told}; set --value and --direction")


def joined(tables: Sequence[TrialsTable], frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The frames of several tables below each other, with columns ``study`` and, where there are any, ``budget``."""
    budgets = any(table.budget is not None for table in tables)
    named = []
    for table, frame in zip(tables, frames, strict=True):
        one = frame.copy(deep=False)
        if budgets:
            one.insert(0, "budget", pd.Series([table.budget] * len(one), index=one.index, dtype=object))
        one.insert(0, "study", pd.Series([table.label] * len(one), index=one.index, dtype=object))
        named.append(one)
    # pandas 2.1 deprecated that empty frames decide on the types of the result:
    # https://pandas.pydata.org/docs/whatsnew/v2.1.0.html#deprecations
    filled = [frame for frame in named if len(frame)] or named[:1]
    return pd.concat(filled, ignore_index=True)


def for_people(table: TrialsTable, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns in which trials differ: values, varied parameters, state, time; names and reasons if any."""
    values = table.value_columns
    spread = [name for name in ("n_seeds", *(f"{value}_std" for value in values)) if name in frame.columns]
    first = ["rank"] if "rank" in frame.columns else []
    count = ["count"] if "count" in frame.columns else []
    front = ["front"] if "front" in frame.columns else []
    varied = [c for c in frame.columns if str(c).startswith("params_") and table.trials[c].nunique(dropna=False) > 1]
    feasible = ["feasible"] if "feasible" in frame.columns else []
    more = feasible + _filled(frame, "seconds_total", "replicate_of", "name", "set", "reason")
    shown = frame[[*first, "number", *front, *values, *count, *spread, *varied, "state", *more]]
    ours = {"n_seeds": "seeds", "seconds_total": "seconds"}
    taken = {ours.get(str(c), str(c)) for c in shown.columns if c not in (*values, *varied)}
    metric = dict(zip(values, distinct(table.metrics, taken, "metric"), strict=True))
    stds = {f"{value}_std": f"{name} std" for value, name in metric.items()}
    names = [str(c).removeprefix("params_") for c in varied]
    parameter = dict(zip(varied, distinct(names, {*taken, *metric.values(), *stds.values()}, "parameter"), strict=True))
    return shown.rename(columns={**metric, **stds, **ours, **parameter})


def distinct(names: Sequence[str], taken: Collection[str], kind: str) -> list[str]:
    """Names of metrics or parameters, marked with their kind if one of our columns has the same name."""
    return [f"{name} ({kind})" if name in taken else name for name in names]


def _filled(frame: pd.DataFrame, *names: str) -> list[str]:
    return [name for name in names if name in frame.columns and frame[name].notna().any()]
