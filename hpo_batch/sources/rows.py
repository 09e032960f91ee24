"""Convert a trials table to plain rows for a sweep: find its metric's column and the complete, finite trials."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.journal.attributes import is_ours
from hpo_batch.records import Value
from hpo_batch.results.cells import is_empty, plain_column
from hpo_batch.results.table import TrialsTable, candidates
from hpo_batch.sources.columns import Columns, bare, direction_of
from hpo_batch.sources.foreign_study import DIRECTIONS
from hpo_batch.study.adopt import Row
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.names import did_you_mean, listed

ATTRS: Final = "user_attrs_"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The trials of a table that a sweep can use."""

    rows: tuple[Row, ...]
    left_out: Counter[str]
    """number of trials not taken, by reason: ``failed``, ``pruned`` ..."""
    notes: tuple[str, ...]
    """assumptions, one sentence each"""
    columns: Mapping[str, str]
    """the sweep's name of a metric or parameter -> the table's, where they differ"""


def rows_of(table: TrialsTable, sweep: Sweep, columns: Columns, *, file: int = 0) -> Rows:
    """The complete trials of a table with finite values of the sweep's metrics.

    Args:
        table: made from a file that was read for this sweep, or from an Optuna storage.
        columns: the user's options. For a storage, they name its parameters and user attributes.
        file: position of the table's file among several.

    Raises:
        UserError: the metric is missing or has another direction, or an option names something that does not exist.
    """
    value_columns = _value_columns(table, sweep, columns)
    _check_directions(table, sweep, columns, value_columns)
    cells = _cells(table, sweep, _renamed(table, columns), value_columns)
    rows: list[Row] = []
    left_out: Counter[str] = Counter()
    for i in range(len(table.trials)):
        why = cells.why_left_out(i)
        if why:
            left_out[why] += 1
        else:
            rows.append(cells.row(i, file=file, metrics=sweep.study.metric))
    renamed = {name: theirs for name, theirs in columns.mapping.items() if name in sweep.space.by_name}
    notes = []
    for metric, column in zip(sweep.study.metric, value_columns, strict=True):
        theirs = _name_of(table, column)
        if theirs != metric:
            renamed[metric] = theirs
            notes.append(f"the values of '{theirs}' are used for '{metric}'")
    return Rows(rows=tuple(rows), left_out=left_out, notes=tuple(notes), columns=renamed)


_Column = Sequence[Value | None]


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Columns of a table as plain values, by their names in the sweep."""

    params: Mapping[str, _Column]
    attrs: Mapping[str, _Column]
    """user attributes"""
    values: Sequence[_Column]
    """a column for each metric of the sweep"""
    facts: Mapping[str, _Column]
    """``number state name set note seed``"""
    times: Sequence[tuple[float | None, float | None]]
    """when each trial began and ended, in seconds since the epoch"""
    keeps_constraints: Sequence[bool]
    name_counts: Counter[Value]

    def why_left_out(self, i: int) -> str:
        """Why a trial cannot be taken; empty if it can."""
        state = self.facts["state"][i]
        if state != "COMPLETE":
            return {"RUNNING": "running", "FAIL": "failed"}.get(str(state), str(state).lower())
        if not self.keeps_constraints[i]:
            return "breaking a constraint of their study"
        return "" if all(_finite(column[i]) is not None for column in self.values) else "without a finite value"

    def row(self, i: int, *, file: int, metrics: Sequence[str]) -> Row:
        """Trial ``i``, for which ``why_left_out`` is empty."""
        values = tuple(number for column in self.values if (number := _finite(column[i])) is not None)
        more = {name: number for name, column in self.attrs.items() if (number := _finite(column[i])) is not None}
        name, seed = self.facts["name"][i], self.facts["seed"][i]
        return Row(
            file=file,
            number=int(self.facts["number"][i] or 0),
            params={name: value for name, column in self.params.items() if (value := column[i]) is not None},
            values=values,
            metrics={**more, **dict(zip(metrics, values, strict=True))},
            seed=int(seed) if isinstance(seed, int) else None,
            # two trials of one name could not be told apart
            name=name if _is_trial_name(name) and self.name_counts[name] == 1 else None,
            set=_printable(self.facts["set"][i]),
            note=_printable(self.facts["note"][i]),
            started=self.times[i][0],
            ended=self.times[i][1],
        )


def _cells(table: TrialsTable, sweep: Sweep, renamed: Mapping[str, str], value_columns: Sequence[str]) -> _Cells:
    trials = table.trials
    params = {name: plain_column(trials[f"params_{theirs}"]) for name, theirs in renamed.items()}
    attrs = {
        name: plain_column(trials[column])
        for column in map(str, trials.columns)
        if column.startswith(ATTRS) and column not in value_columns
        if not is_ours(name := column.removeprefix(ATTRS))
    }
    # values that the sweep derives are recorded as attributes; they must agree with its formulas
    params |= {name: attrs.pop(name) for name in list(attrs) if name in sweep.space.derived}
    facts = {name: plain_column(trials[name]) for name in ("number", "state", "name", "set", "note", "seed")}
    return _Cells(
        params=params,
        attrs=attrs,
        values=[plain_column(trials[column]) for column in value_columns],
        facts=facts,
        times=_times(table),
        keeps_constraints=(candidates(trials) | (trials["state"] != "COMPLETE").to_numpy()).tolist(),
        name_counts=Counter(name for name in facts["name"] if name is not None),
    )


def _is_of_file(table: TrialsTable) -> bool:
    """Whether the table comes from a file, whose columns have the sweep's names; storages name their own columns."""
    return table.sweep is not None


def _value_columns(table: TrialsTable, sweep: Sweep, columns: Columns) -> list[str]:
    """The column of the trials table for each metric of the sweep."""
    metrics = sweep.study.metric
    if columns.value and len(columns.value) != len(metrics):
        raise UserError(f"--value: the sweep has {len(metrics)} metrics ({', '.join(metrics)}): give a column for each")
    if _is_of_file(table) and columns.value:
        return list(table.value_columns)
    own = dict(zip(table.metrics, table.value_columns, strict=True))
    header = set(map(str, table.trials.columns))
    names = columns.value or metrics
    by_name = {name: own.get(name, f"{ATTRS}{name}") for name in names}
    missing = [name for name, column in by_name.items() if column not in header]
    if not missing and len(by_name) == len(metrics):
        return list(by_name.values())
    # Optuna calls the only objective "value", and a file's objective was chosen already: no need to match names
    is_only_metric = len(metrics) == 1 and len(own) == 1
    if is_only_metric and not columns.value and (_is_of_file(table) or table.metrics == ("value",)):
        return list(table.value_columns)
    attrs = [name.removeprefix(ATTRS) for name in sorted(header) if name.startswith(ATTRS)]
    name = next(iter(missing), names[-1])
    raise UserError(
        f"{table.source}: no values of '{name}': there are {listed([*table.metrics, *attrs])}; --value NAME "
        f"chooses '{metrics[0] if len(metrics) == 1 else name}'"
    )


def _check_directions(table: TrialsTable, sweep: Sweep, columns: Columns, value_columns: Sequence[str]) -> None:
    """Reject values with another direction, unless the user confirms that they are of the same metric."""
    recorded = dict(zip(table.value_columns, table.directions, strict=True))
    for i, (metric, ours, column) in enumerate(
        zip(sweep.study.metric, sweep.study.direction, value_columns, strict=True)
    ):
        if columns.directions:
            option = columns.directions[i if len(columns.directions) > 1 else 0]
            if DIRECTIONS.get(option.lower()) != ours:
                raise UserError(f"--direction {option}: the sweep says {ours} for '{metric}'")
            continue
        name = _name_of(table, column)
        is_recorded = column in recorded and not _is_of_file(table)
        theirs = recorded[column] if is_recorded else direction_of(name) if name != metric else None
        if theirs is not None and theirs != ours:
            how = "its study says" if is_recorded else "its name suggests"
            raise UserError(
                f"{table.source}: '{name}': {how} {theirs}, but the sweep says {ours} for '{metric}': probably "
                f"a different metric. Choose another one with --value NAME, or confirm with --direction {ours}"
            )


def _renamed(table: TrialsTable, columns: Columns) -> dict[str, str]:
    """The parameters by the sweep's name -> the table's; the columns of a file have the sweep's names already."""
    names = table.parameters
    if _is_of_file(table):
        return {name: name for name in names}
    for name in (*columns.params, *columns.ignore, *columns.mapping.values()):
        if name not in names:
            meant = did_you_mean(name, names, otherwise=f"; there are {listed(names)}")
            raise UserError(f"{table.source}: no parameter '{name}'{meant}")
    ours = {theirs: ours for ours, theirs in columns.mapping.items()}
    used = [n for n in names if n not in columns.ignore and (not columns.params or n in columns.params)]
    return {ours.get(name, name): name for name in used}


def _name_of(table: TrialsTable, column: str) -> str:
    """The table's own name for the values in a column."""
    own = dict(zip(table.value_columns, table.metrics, strict=True))
    return own.get(column) or bare(column, {})


def _finite(cell: object) -> float | None:
    if not isinstance(cell, int | float) or isinstance(cell, bool):
        return None
    with contextlib.suppress(OverflowError):
        return float(cell) if math.isfinite(cell) else None
    return None


def _is_trial_name(name: object) -> TypeGuard[str]:
    """Whether commands can find a trial by this name, which must not look like a number or a range."""
    return isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= 100


def _printable(text: object) -> str | None:
    return text if isinstance(text, str) and text.isprintable() else None


def _times(table: TrialsTable) -> list[tuple[float | None, float | None]]:
    """Start and end of each trial, in seconds since the epoch; a missing one is computed from the duration."""
    columns = [table.trials[name].tolist() for name in ("datetime_start", "datetime_complete")]
    seconds = plain_column(table.trials["seconds_total"])
    times = []
    for start, end, spent in zip(*columns, seconds, strict=True):
        started, ended, span = _seconds(start), _seconds(end), _finite(spent)
        if span is not None and span >= 0:
            if started is None and ended is not None:
                started = ended - span
            elif ended is None and started is not None:
                ended = started + span
        times.append((started, ended))
    return times


def _seconds(moment: Any) -> float | None:
    if not isinstance(moment, datetime.datetime) or is_empty(moment):
        return None
    with contextlib.suppress(ValueError, OverflowError, OSError):
        # not pandas' Timestamp.timestamp(), which takes a time without a zone as UTC instead of local time:
        # https://pandas.pydata.org/docs/reference/api/pandas.Timestamp.timestamp.html
        return (moment.to_pydatetime(warn=False) if isinstance(moment, pd.Timestamp) else moment).timestamp()
    return None
