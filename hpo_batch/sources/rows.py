"""A trials table as plain rows for a sweep: which column holds its metric, which trials have finished with a number."""

from __future__ import annotations

import contextlib
import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.journal.attributes import is_ours
from hpo_batch.records import Value
from hpo_batch.results.table import TrialsTable, candidates
from hpo_batch.sources.columns import Columns, bare, direction_of
from hpo_batch.sources.foreign import DIRECTIONS
from hpo_batch.study.adopt import Row
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.names import listed, nearest

ATTRS = "user_attrs_"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a table has to offer to a sweep."""

    rows: tuple[Row, ...]
    left: Counter[str]
    """why the other trials are none, and how many: ``failed``, ``pruned`` ..."""
    notes: tuple[str, ...]
    """what was assumed: one sentence each"""
    columns: Mapping[str, str]
    """the sweep's name of a metric or parameter -> the table's, where they differ"""


def rows_of(table: TrialsTable, sweep: Sweep, given: Columns, *, file: int = 0) -> Rows:
    """The complete trials of a table with finite values of the sweep's metrics.

    Args:
        table: of a file that was read for this sweep, or of an Optuna storage.
        given: what the user said of its columns. For a storage they are names of its parameters and user attributes.
        file: which of several files the table is of.

    Raises:
        UserError: the metric is not there, is of another direction, or a name that was given is unknown.
    """
    chosen = _value_columns(table, sweep, given)
    _check_directions(table, sweep, given, chosen)
    renamed = _renamed(table, given)
    params = {name: _plain_column(table.trials[f"params_{theirs}"]) for name, theirs in renamed.items()}
    others = {
        name: _plain_column(table.trials[column])
        for column in map(str, table.trials.columns)
        if column.startswith(ATTRS) and column not in chosen and not is_ours(name := column[len(ATTRS) :])
    }
    derived = {name: others.pop(name) for name in list(others) if name in sweep.space.derived}
    values = [_plain_column(table.trials[column]) for column in chosen]
    facts = {name: _plain_column(table.trials[name]) for name in ("number", "state", "name", "set", "note", "seed")}
    times = _times(table)
    is_candidate = candidates(table.trials).tolist()
    names = Counter(name for name in facts["name"] if name is not None)
    rows: list[Row] = []
    left: Counter[str] = Counter()
    for i, state in enumerate(facts["state"]):
        if state != "COMPLETE":
            left["running" if state == "RUNNING" else "failed" if state == "FAIL" else str(state).lower()] += 1
            continue
        if not is_candidate[i]:
            left["breaking a constraint of their study"] += 1
            continue
        own = [_number(column[i]) for column in values]
        if any(number is None for number in own):
            left["without a finite value"] += 1
            continue
        told = tuple(number for number in own if number is not None)
        metrics = {name: number for name in others if (number := _number(others[name][i])) is not None}
        name, seed = facts["name"][i], facts["seed"][i]
        started, ended = times[i]
        rows.append(
            Row(
                file=file,
                number=int(facts["number"][i]),
                params={
                    name: value
                    for columns in (params, derived)
                    for name, column in columns.items()
                    if (value := column[i]) is not None
                },
                values=told,
                metrics={**metrics, **dict(zip(sweep.study.metric, told, strict=True))},
                seed=int(seed) if isinstance(seed, int) else None,
                name=name if _is_name(name) and names[name] == 1 else None,
                set=_text(facts["set"][i]),
                note=_text(facts["note"][i]),
                started=started,
                ended=ended,
            )
        )
    columns = {name: theirs for name, theirs in given.mapping.items() if name in sweep.space.by_name}
    notes = []
    for metric, column in zip(sweep.study.metric, chosen, strict=True):
        theirs = _name_of(table, column)
        if theirs != metric:
            columns[metric] = theirs
            notes.append(f"the values of '{theirs}' are taken for '{metric}'")
    return Rows(rows=tuple(rows), left=left, notes=tuple(notes), columns=columns)


def _is_of_file(table: TrialsTable) -> bool:
    """A file without a study's own facts was read for the sweep, with its names; a storage tells what it is itself."""
    return table.sweep is not None


def _value_columns(table: TrialsTable, sweep: Sweep, given: Columns) -> list[str]:
    """The column of the trials table for each metric of the sweep."""
    wanted = sweep.study.metric
    if given.value and len(given.value) != len(wanted):
        raise UserError(f"--value: the sweep has {len(wanted)} metrics ({', '.join(wanted)}): give one column for each")
    if _is_of_file(table) and given.value:
        return list(table.value_columns)
    own = dict(zip(table.metrics, table.value_columns, strict=True))
    have = set(map(str, table.trials.columns))
    found: dict[str, str] = {}
    for name in given.value or wanted:
        column = own.get(name) or next((c for c in (f"{ATTRS}{name}",) if c in have), None)
        if column is not None:
            found[name] = column
    if len(found) == len(wanted):
        return list(found.values())
    alone = len(wanted) == 1 and len(own) == 1
    if alone and not given.value and (_is_of_file(table) or table.metrics == ("value",)):
        return list(table.value_columns)
    missing = next(name for name in given.value or wanted if name not in found)
    attrs = [name.removeprefix(ATTRS) for name in sorted(have) if name.startswith(ATTRS)]
    raise UserError(
        f"{table.source}: no values of '{missing}': there are {listed([*table.metrics, *attrs])}; --value NAME says "
        f"which of them is '{wanted[0] if len(wanted) == 1 else missing}'"
    )


def _check_directions(table: TrialsTable, sweep: Sweep, given: Columns, chosen: Sequence[str]) -> None:
    """Values of another direction are of another metric, unless the user says that they are not."""
    known = dict(zip(table.value_columns, table.directions, strict=True))
    for i, (metric, ours, column) in enumerate(zip(sweep.study.metric, sweep.study.direction, chosen, strict=True)):
        if given.directions:
            said = given.directions[i if len(given.directions) > 1 else 0]
            if DIRECTIONS.get(said.lower()) != ours:
                raise UserError(f"--direction {said}: the sweep is to {ours} '{metric}'; give it the values of that")
            continue
        name = _name_of(table, column)
        is_known = column in known and not _is_of_file(table)
        theirs = known[column] if is_known else direction_of(name) if name != metric else None
        if theirs is not None and theirs != ours:
            how = "its study is to" if is_known else "by its name it is to"
            raise UserError(
                f"{table.source}: '{name}': {how} {theirs}, and the sweep is to {ours} '{metric}': it seems to be "
                f"another metric. --value NAME takes another one; --direction {ours} says that it is the same"
            )


def _renamed(table: TrialsTable, given: Columns) -> dict[str, str]:
    """The parameters by the sweep's name -> the table's; the columns of a file have the sweep's names already."""
    names = table.parameters
    if _is_of_file(table):
        return {name: name for name in names}
    unknown = next((n for n in (*given.params, *given.ignore, *given.mapping.values()) if n not in names), None)
    if unknown is not None:
        close = nearest(unknown, names)
        meant = f"did you mean '{close}'?" if close else f"there are {listed(names)}"
        raise UserError(f"{table.source}: no parameter '{unknown}'; {meant}")
    theirs_to_ours = {theirs: ours for ours, theirs in given.mapping.items()}
    kept = [n for n in names if n not in given.ignore and (not given.params or n in given.params)]
    return {theirs_to_ours.get(name, name): name for name in kept}


def _name_of(table: TrialsTable, column: str) -> str:
    """What the table's owner calls the values in a column."""
    own = dict(zip(table.value_columns, table.metrics, strict=True))
    return own.get(column) or bare(column, {})


def _plain_column(column: pd.Series[Any]) -> list[Any]:
    return [_plain(value) for value in column.tolist()]


def _plain(value: Any) -> Value | None:
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None if value is None or pd.isna(value) else str(value)


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    with contextlib.suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


def _is_name(name: object) -> bool:
    """Whether a trial can be found by it: what it names in a shell is no range and no number."""
    return isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= 100


def _text(text: object) -> str | None:
    return text if isinstance(text, str) and text.isprintable() else None


def _times(table: TrialsTable) -> list[tuple[float | None, float | None]]:
    """When each trial began and ended, as far as is known."""
    columns = [table.trials[name].tolist() for name in ("datetime_start", "datetime_complete")]
    seconds = _plain_column(table.trials["seconds_total"])
    found = []
    for start, end, spent in zip(*columns, seconds, strict=True):
        started, ended, span = _seconds(start), _seconds(end), _number(spent)
        if span is not None and span >= 0:
            if started is None and ended is not None:
                started = ended - span
            elif ended is None and started is not None:
                ended = started + span
        found.append((started, ended))
    return found


def _seconds(moment: Any) -> float | None:
    if not isinstance(moment, datetime.datetime) or pd.isna(moment):
        return None
    with contextlib.suppress(ValueError, OverflowError, OSError):
        # Python's own: that of pandas takes a time without a zone for UTC
        return (moment.to_pydatetime(warn=False) if isinstance(moment, pd.Timestamp) else moment).timestamp()
    return None
