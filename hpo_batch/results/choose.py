"""Select what ``collect`` shows: filtered, only the best, grouped; rounded for people or complete for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.results import pivot
from hpo_batch.results.select import check_alike, distinct, filtered, for_people, joined
from hpo_batch.results.table import TrialsTable
from hpo_batch.results.top import column_named, grouped, top_configurations


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which rows and columns of the tables to show. By default every trial with every column."""

    where: str | None = None
    """a filter: only trials for which this expression holds"""
    top: int | None = None
    """only this many of the best configurations, each once, with its count"""
    best: bool = False
    """only the best one; with several metrics the Pareto front"""
    group: str | None = None
    """one row for each value of this column; with ``top`` the best of each"""
    pivot: tuple[str, str] | None = None
    """one row for each value of the first column, one column for each of the second"""
    cell: str | None = None
    """with ``pivot``, the metric in the cells; None for that of the study"""
    attempts: bool = False
    """one row for each attempt"""
    for_people: bool = False
    """only the columns in which trials differ, best trials first"""


def choose(tables: Sequence[TrialsTable], choice: Choice) -> tuple[pd.DataFrame, list[str]]:
    """One frame for all tables, with a column for the study where there are several; and notes.

    Raises:
        UserError: the filter or the group cannot be used, or studies that cannot be compared would be.
    """
    notes: list[str] = []
    if choice.pivot is not None:
        return _pivot(tables, choice.pivot, choice, notes), notes
    if choice.group is not None:
        return _groups(tables, choice.group, choice, notes), notes
    frames = [rows_of(table, choice, notes) for table in tables]
    return frames[0] if len(frames) == 1 else joined(tables, frames), notes


def _pivot(tables: Sequence[TrialsTable], names: tuple[str, str], choice: Choice, notes: list[str]) -> pd.DataFrame:
    """The trials of all tables by two parameters."""
    check_alike(tables, "--pivot")
    frame = joined(tables, [table.trials for table in tables])
    if choice.where is not None:
        frame = filtered(frame, choice.where)
    result = pivot.pivoted(tables[0], frame, names, choice.cell)
    notes.append(pivot.note(tables[0], frame, result, choice.cell))
    return result


def _groups(tables: Sequence[TrialsTable], group: str, choice: Choice, notes: list[str]) -> pd.DataFrame:
    """A row for each group of the trials of all tables, or the best configurations of each."""
    check_alike(tables, "--group")
    frame = joined(tables, [table.trials for table in tables])
    if choice.where is not None:
        frame = filtered(frame, choice.where)
    top = 1 if choice.best else choice.top
    if top is None:
        return grouped(tables[0], frame, group)
    # any of the tables: ``check_alike`` has made sure that metrics and directions are the same
    table = replace(tables[0], trials=frame)
    best = Choice(top=top, for_people=choice.for_people)
    frames = []
    for value, part in frame.groupby(column_named(frame, group, "--group"), sort=True, dropna=False):
        rows = rows_of(replace(table, trials=part), best, notes)
        # it comes first below, under the name that was asked for
        rows = rows.drop(columns=group, errors="ignore")
        rows.insert(0, group, value)
        frames.append(rows)
    return pd.concat(frames, ignore_index=True) if frames else frame


def rows_of(table: TrialsTable, choice: Choice, notes: list[str]) -> pd.DataFrame:
    """The rows of one table."""
    trials = table.trials if choice.where is None else filtered(table.trials, choice.where)
    if choice.attempts:
        return table.attempts[table.attempts["number"].isin(trials["number"])]
    # columns are chosen from all trials below: a filter must not hide a parameter that varies
    filtered_table = replace(table, trials=trials)
    if choice.best and len(table.metrics) > 1:
        trials = replace(table, trials=trials[trials["front"].astype(bool)]).best_first()
    elif choice.best or choice.top is not None:
        trials = _best(filtered_table, choice, notes)
    elif choice.for_people:
        trials = filtered_table.best_first()
    return for_people(table, trials) if choice.for_people else trials


def _best(table: TrialsTable, choice: Choice, notes: list[str]) -> pd.DataFrame:
    if len(table.metrics) > 1:
        raise UserError("with several metrics there is no best trial: --best gives the Pareto front")
    top = 1 if choice.best or choice.top is None else choice.top
    if choice.where is not None and not (table.trials["state"] == "COMPLETE").any():
        return table.best_first(top)  # --filter failed --top 3: the first of them
    best, tied = top_configurations(table, table.trials, top)
    if tied:
        notes.append(f"{table.label}: {tied} more with the value of the last one shown")
    return best


def overview(tables: Iterable[TrialsTable]) -> pd.DataFrame:
    """One row for each study: how many trials have finished and failed, and its best."""
    rows: list[dict[str, object]] = []
    for table in tables:
        best = rows_of(table, Choice(best=True), [])
        first = best.iloc[0] if len(best) else None
        row = {
            "study": table.source,
            "finished": table.counts.progress,
            "failed": table.counts.failed,
            "best": None if first is None else first["number"],
        }
        names = distinct(table.metrics, row, "metric")
        values = [None if first is None else first[column] for column in table.value_columns]
        rows.append(row | dict(zip(names, values, strict=True)))
    return pd.DataFrame(rows)
