"""Convert another tool's table: classify its rows and columns, and create a trials table for each study in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.columns import GROUPS, Columns, Roles, roles
from hpo_batch.sources.curves import Folded, check_unit, folded, reports_of
from hpo_batch.sources.foreign_study import ForeignStudy, trials_table_of
from hpo_batch.sources.habits import with_our_names
from hpo_batch.sources.source import RawTable
from hpo_batch.sources.table_file import EMPTY_COLUMNS

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Sweep

# a number of parameters or tokens, 20M or 1.5b, that is a word of its own
_LABEL: Final = re.compile(r"(?<![0-9a-zA-Z.])([0-9]+(?:\.[0-9]+)?[kmb])(?![0-9a-zA-Z])", re.IGNORECASE)


def tables_of(raw: RawTable, columns: Columns, *, source: str, sweeps: Sequence[Sweep] = ()) -> tuple[TrialsTable, ...]:
    """The studies in a table: one, or as many as its columns ``study`` and ``budget`` name.

    Args:
        columns: the user's options about the columns.
        source: name of the source for messages.
        sweeps: the sweep that the trials come from, if the user named it, or one for each budget.

    Raises:
        UserError: ambiguous columns, repeated trial numbers, unknown states or directions.
    """
    if raw.frame.empty:
        raise UserError(f"{source}: a header, but no trials")
    frame, notes = with_our_names(raw.frame, columns, source=source)
    trials = folded(frame, columns)
    if trials.steps is None:
        check_unit(trials.frame, columns, source=source)
    if sweeps and not columns.value:
        columns = _with_objective(trials.frame, columns, sweeps[0], source=source)
    notes = [*raw.notes, *notes, *trials.notes]
    parts = _roles(trials.frame, columns, sweeps, source=source, notes=notes)
    tables = []
    for rows, budget, label in _studies(trials.frame, raw.label, columns):
        study = ForeignStudy(
            frame=rows.reset_index(drop=True),
            roles=parts,
            columns=columns,
            source=source,
            label=label,
            budget=budget,
            sweep=sweep_for(sweeps, budget, source=source),
        )
        tables.append(_with_reports(trials_table_of(study, notes), trials, rows, parts))
    return tuple(tables)


def _roles(
    frame: pd.DataFrame, columns: Columns, sweeps: Sequence[Sweep], *, source: str, notes: Sequence[str]
) -> Roles:
    space = [parameter.name for parameter in sweeps[0].space.parameters] if sweeps else None
    try:
        return roles(frame, columns, file=source, space=space)
    except UserError as error:
        empty = next((note for note in notes if note.startswith(EMPTY_COLUMNS)), "")  # the user may have meant it
        raise UserError(f"{error}{f'; {empty}' if empty else ''}") from None


def _with_reports(table: TrialsTable, trials: Folded, rows: pd.DataFrame, parts: Roles) -> TrialsTable:
    """Add the learning curves, if rows of the file were steps of trials."""
    if trials.steps is None or len(parts.values) != 1:
        return table
    numbers = dict(zip(rows.index.tolist(), table.trials["number"].tolist(), strict=True))
    return replace(table, reports=reports_of(trials.steps, parts.values[0], numbers))


def budget_in(label: str) -> str | None:
    """A budget in the name of a file: ``hpo_200m_tpe`` is ``200M``; None if there is none, or several."""
    budgets = {match[1].upper() for match in _LABEL.finditer(label.replace("_", " ").replace("-", " "))}
    return budgets.pop() if len(budgets) == 1 else None


def _with_objective(frame: pd.DataFrame, columns: Columns, sweep: Sweep, *, source: str) -> Columns:
    """Use the sweep's metrics as objectives, as far as the table has columns with these names."""
    metrics = sweep.study.metric
    columns = replace(columns, directions=columns.directions or tuple(sweep.study.direction))
    for names in (tuple(metrics), tuple(f"values_{metric}" for metric in metrics)):
        if all(name in frame.columns for name in names):
            return replace(columns, value=names)
    if len(metrics) > 1:
        options = " ".join(f"--value COLUMN_OF_{metric}" for metric in metrics)
        raise UserError(f"{source}: the sweep's metrics ({', '.join(metrics)}) are not all columns: {options}")
    return columns


def _studies(frame: pd.DataFrame, label: str, columns: Columns) -> Iterator[tuple[pd.DataFrame, str | None, str]]:
    """The rows of each study, its budget and its label."""
    named = {*columns.params, *columns.value, *columns.mapping.values()}
    keys = [name for name in GROUPS if name in frame.columns and name not in named and frame[name].notna().all()]
    if not keys:
        yield frame, budget_in(label), label
        return
    for cells, rows in frame.groupby(keys, sort=False):
        group = dict(zip(keys, map(str, cells), strict=True))
        budget, name = group.get("budget"), group.get("study", label)
        if budget is None:
            budget = name.rpartition("/")[2] if "/" in name else budget_in(name)
        elif "/" not in name:
            name = f"{name}/{budget}"
        yield rows, budget, name


def sweep_for(sweeps: Sequence[Sweep], budget: str | None, *, source: str) -> Sweep | None:
    """The sweep that trials of a budget come from; None if there are no sweeps.

    Raises:
        UserError: there are several, and none has this budget.
    """
    if len(sweeps) <= 1:
        return sweeps[0] if sweeps else None
    for sweep in sweeps:
        if budget is not None and sweep.budget is not None and sweep.budget.lower() == budget.lower():
            return sweep
    budgets = ", ".join(str(sweep.budget) for sweep in sweeps)
    raise UserError(
        f"{source}: --sweep has the budgets {budgets}, but nothing says which one the trials belong to: put it "
        "into the file's name, or add a column 'budget'"
    )
