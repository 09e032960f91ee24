"""Translate exports of optuna-dashboard, scikit-learn and Weights & Biases to Optuna's column names."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.sources.columns import Columns
from hpo_batch.text.numbers import count

# columns of the CSV that optuna-dashboard exports -> ours
_DASHBOARD: Final = (
    (r"Param (.+)", r"params_\1"),
    (r"UserAttribute (.+)", r"user_attrs_\1"),
    (r"Objective ([0-9]+)", r"values_\1"),
    (r"Value", "value"),
)
_NUMBERS: Final = ("number", "trial", "trial_number", "trial_id")
# columns with the number of the trial, or else of the experiment, which is then the same in all rows
_OF_MANY: Final = ("experiment_id", "exp_id", "run", "id")


def with_our_names(frame: pd.DataFrame, columns: Columns, *, source: str) -> tuple[pd.DataFrame, list[str]]:
    """The frame under Optuna's column names, and notes. Columns that the user named stay as they are.

    Raises:
        UserError: its columns are the curves of a chart, and no row is a trial.
    """
    _check_is_no_chart(frame, source)
    named = {*columns.value, *columns.params, *columns.mapping.values()}
    frame, notes = _from_scikit_learn(frame, named)
    frame, more = _from_dashboard(frame, named)
    notes += more
    for name in [str(name) for name in frame.columns]:
        if name in named:
            continue
        if name.lower() in _OF_MANY and len(frame) > 1 and frame[name].nunique(dropna=False) == 1:
            frame = frame.drop(columns=name)
            notes.append(f"'{name}' is the same in all rows, so it is not a trial number: ignored")
        elif name.lower() in _NUMBERS and _has_gaps(frame[name]):
            gaps = int(frame[name].isna().sum())
            frame = frame.rename(columns={name: f"user_attrs_{name}"})
            notes.append(f"{count(gaps, 'row')} without a number in '{name}'")
    return frame, notes


def _check_is_no_chart(frame: pd.DataFrame, source: str) -> None:
    """Reject a chart exported by W&B: columns ``name``, ``name__MIN``, ``name__MAX``, one row per step."""
    names = set(map(str, frame.columns))
    curves = [name for name in names if f"{name}__MIN" in names and f"{name}__MAX" in names]
    if curves:
        raise UserError(
            f"{source}: these are the curves of a Weights & Biases chart ('{min(curves)}'), one column per run, "
            "without their parameters; export the table of the runs instead"
        )


def _from_dashboard(frame: pd.DataFrame, named: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    names = [str(name) for name in frame.columns]
    if not {"Number", "State"} <= set(names) or not any(name.startswith("Param ") for name in names):
        return frame, []
    renamed = {name: _from_dashboard_name(name) for name in names if name not in named}
    frame = frame.rename(columns={name: ours for name, ours in renamed.items() if ours not in names})
    return frame, ["column names as optuna-dashboard writes them"]


def _from_dashboard_name(column: str) -> str:
    for pattern, ours in _DASHBOARD:
        if re.fullmatch(pattern, column):
            return re.sub(pattern, ours, column)
    return column


def _from_scikit_learn(frame: pd.DataFrame, named: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """``cv_results_``: ``param_C`` as ``params_C``, and candidates that a halving search dropped as pruned.

    https://scikit-learn.org/stable/modules/grid_search.html#successive-halving-user-guide
    """
    names = [str(name) for name in frame.columns]
    params = [name for name in names if name.startswith("param_") and name not in named]
    if not params or not any(name.startswith("mean_test_") for name in names):
        return frame, []
    notes = ["column names as in scikit-learn's cv_results_"]
    renamed = {name: f"params_{name.removeprefix('param_')}" for name in params}
    repeated = [name for name in renamed.values() if name in names]
    if repeated:
        notes.append("'params' repeats other columns: left out")
    frame = frame.drop(columns=repeated).rename(columns=renamed)
    if "iter" in names and "n_resources" in names and "state" not in names:
        last = frame.groupby(list(renamed.values()), dropna=False, sort=False)["iter"].transform("max")
        final = frame["iter"].max()
        states = ["COMPLETE" if end == final else "PRUNED" for end in last]
        frame = frame.assign(state=pd.Series(states, index=frame.index, dtype=object))
        notes.append(f"a halving search: candidates that did not reach its last round ('iter' {int(final)}) are pruned")
    return frame, notes


def _has_gaps(column: pd.Series[Any]) -> bool:
    """Whether the column has distinct integers and some empty cells."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or not column.isna().any():
        return False
    numbers = column.dropna().astype("float64")
    return len(numbers) > 0 and bool((numbers % 1 == 0).all()) and bool(numbers.is_unique)
