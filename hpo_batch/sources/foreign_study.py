"""Build the trials table of one study of another tool: check states, numbers, values, times and parameters."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.records import Counts
from hpo_batch.results.cells import is_empty, plain
from hpo_batch.results.table import ATTEMPT_COLUMNS, TrialsTable, front_of, spans_of
from hpo_batch.sources.columns import CONSTRAINTS, Columns, Roles, bare, direction_of
from hpo_batch.sources.infer import described, infer_space
from hpo_batch.space.parameters import Choices
from hpo_batch.space.space import Space
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count
from hpo_batch.text.values import shown

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Sweep

# words of other programs -> states of Optuna; a word that is missing here is an error, since a guess could count a
# failed trial as complete
_STATES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("complete", "completed", "finished", "done", "success", "ok", "terminated"), "COMPLETE"),
    **dict.fromkeys(("pruned", "stopped", "early_stopped"), "PRUNED"),
    **dict.fromkeys(("fail", "failed", "error", "errored", "crashed", "killed", "timeout", "preempted"), "FAIL"),
    **dict.fromkeys(("running", "pending", "paused", "preempting"), "RUNNING"),
    **dict.fromkeys(("waiting", "queued", "scheduled"), "WAITING"),
}
DIRECTIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("max", "maximise", "maximize"), "maximize"),
    **dict.fromkeys(("min", "minimise", "minimize"), "minimize"),
}
# up to here every integer has a float of its own
_LARGEST_EXACT: Final = 2**53


@dataclass(frozen=True, kw_only=True)
class ForeignStudy:
    """The rows of one study, one per trial."""

    frame: pd.DataFrame
    """indexed from 0"""
    roles: Roles
    columns: Columns
    """the user's options"""
    source: str
    """name of the source for messages"""
    label: str
    budget: str | None
    sweep: Sweep | None
    """the sweep that the trials come from, if the user named one"""

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self._metric(column) for column in self.roles.values)

    def _metric(self, column: str) -> str:
        name = self.bare(column)
        return name.removeprefix("values_") if name == column else name

    def bare(self, column: str) -> str:
        """The name of a parameter or attribute in the trials table."""
        return bare(column, self.columns.mapping)

    def column(self, name: str) -> pd.Series[Any] | None:
        """The column of the file that is ``name`` in the trials table."""
        theirs = self.roles.ours.get(name)
        return None if theirs is None else self.frame[theirs]

    def texts(self, name: str) -> pd.Series[Any]:
        column = self.column(name)
        cells = [None] * len(self.frame) if column is None else column.tolist()
        return pd.Series([None if is_empty(cell) else str(cell) for cell in cells], dtype=object)

    def numbers(self, name: str, dtype: str) -> pd.Series[Any]:
        column = self.column(name)
        if column is None:
            return pd.Series([None] * len(self.frame), dtype=dtype)
        numbers: pd.Series[Any] = column.astype("Float64") if dtype == "float64" else column
        return numbers.astype(dtype)  # type: ignore[call-overload,no-any-return]  # a name of a type, not a literal


def trials_table_of(study: ForeignStudy, notes: Sequence[str]) -> TrialsTable:
    """The table of a study.

    Args:
        notes: assumptions so far; the table contains them, and more.

    Raises:
        UserError: repeated trial numbers, unknown states or directions, an objective without numbers.
    """
    all_notes = list(notes)
    metrics = study.metrics
    directions = _directions(study, all_notes)
    trials = pd.DataFrame(_columns(study, directions, all_notes))
    space, baseline, budget = None, None, study.budget
    if study.sweep is not None:
        space, baseline, budget = study.sweep.space, study.sweep.baseline, study.sweep.budget or study.budget
    else:
        space = infer_space(trials)
        all_notes.append(f"space inferred from the values seen (--sweep gives the real one): {described(space)}")
    all_notes.append(_described_columns(study, directions))
    seeds = trials[["number", "seed"]].dropna()
    return TrialsTable(
        trials=trials,
        attempts=pd.DataFrame(columns=list(ATTEMPT_COLUMNS)),
        metrics=metrics,
        directions=directions,
        counts=_counts(trials["state"]),
        source=study.source,
        label=study.label,
        space=space,
        space_is_inferred=study.sweep is None,
        baseline=baseline,
        budget=budget,
        seeds={int(n): (int(s),) for n, s in zip(seeds["number"], seeds["seed"], strict=True)},
        sweep=study.sweep,
        notes=tuple(all_notes),
    )


def _counts(states: pd.Series[Any]) -> Counts:
    counts = states.value_counts()
    return Counts(
        target=len(states),
        waiting=int(counts.get("WAITING", 0)),
        running=int(counts.get("RUNNING", 0)),
        complete=int(counts.get("COMPLETE", 0)),
        pruned=int(counts.get("PRUNED", 0)),
        failed=int(counts.get("FAIL", 0)),
    )


def _columns(study: ForeignStudy, directions: Sequence[str], notes: list[str]) -> dict[str, pd.Series[Any]]:
    """The columns of ``TrialsTable.trials``, in their order."""
    columns = {"number": _trial_numbers(study, notes)}
    names = ["value"] if len(study.metrics) == 1 else [f"values_{metric}" for metric in study.metrics]
    values = {
        name: _objective(study.frame[column], column, source=study.source)
        for name, column in zip(names, study.roles.values, strict=True)
    }
    states = _states(study, values, notes)
    for name, series in values.items():
        notes += _odd_values(series, states, study.roles.values)
        columns[name] = series.where(states != "FAIL")  # a failed trial has no value
    times = _times(study, notes)
    columns |= times
    space = None if study.sweep is None else study.sweep.space
    for column in study.roles.params:
        name = study.bare(column)
        columns[f"params_{name}"] = _parameter(study.frame[column], space, name)
    notes += _odd_parameters(study)
    for column in study.roles.attrs:
        name = column if column.startswith(CONSTRAINTS[0]) else f"user_attrs_{study.bare(column)}"
        columns[name] = study.frame[column]
    feasible = _feasible(study)
    if feasible is not None:
        columns["feasible"] = feasible
        notes += _broken_constraints(states, feasible)
    columns["state"] = states
    columns |= {name: study.texts(name) for name in ("name", "set", "note", "origin", "reason", "message")}
    if len(values) > 1:
        able = states if feasible is None else states.where(feasible.astype(bool), "")
        front = front_of([columns[name].tolist() for name in values], able.tolist(), directions)
        columns["front"] = pd.Series(front, dtype="boolean")
    columns |= {name: study.numbers(name, "Int64") for name in ("seed", "attempts")}
    seconds = study.numbers("seconds_total", "float64")
    columns["seconds_total"] = seconds.where(seconds.notna(), times["duration"].dt.total_seconds())
    columns |= {name: study.texts(name) for name in ("node", "gpus", "job", "submission")}
    return columns


def _directions(study: ForeignStudy, notes: list[str]) -> tuple[str, ...]:
    """``minimize`` or ``maximize`` of each metric: as given by the user, else by its name, else assumed."""
    metrics, options = study.metrics, study.columns.directions
    if options:
        if len(options) not in (1, len(metrics)):
            raise UserError(
                f"{study.source}: {len(options)} directions for {len(metrics)} metrics ({', '.join(metrics)})"
            )
        for option in options:
            if option.lower() not in DIRECTIONS:
                raise UserError(f"--direction: '{option}' is neither maximize nor minimize")
        directions = tuple(DIRECTIONS[option.lower()] for option in options)
        return directions if len(directions) == len(metrics) else directions * len(metrics)
    by_name = [direction_of(metric) for metric in metrics]
    for metric, direction in zip(metrics, by_name, strict=True):
        if direction is None:
            notes.append(
                f"'{metric}': maximize is assumed, since its name does not tell; --direction minimize changes it"
            )
    return tuple(direction or "maximize" for direction in by_name)


def _trial_numbers(study: ForeignStudy, notes: list[str]) -> pd.Series[Any]:
    column = study.column("number")
    if column is None:
        notes.append("no column of trial numbers: rows are numbered from 0")
        return pd.Series(range(len(study.frame)), dtype="int64")
    try:
        numbers = column.astype("int64")
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{study.source}: column '{column.name}' does not contain trial numbers ({error}); --map number=COLUMN"
        ) from error
    # 1.5, or an integer beyond 64 bits, would become another number
    if not (numbers.astype(float) == column.astype(float)).all():
        raise UserError(f"{study.source}: column '{column.name}' does not contain trial numbers; --map number=COLUMN")
    repeated = numbers[numbers.duplicated(keep=False)]
    if len(repeated):
        first = int(repeated.iloc[0])
        rows = [str(i + 1) for i in numbers.index[numbers == first]][:5]
        of_study = f" of '{study.label}'" if study.label not in study.source else ""
        raise UserError(
            f"{study.source}: the number {first} appears {len(rows)} times in column '{column.name}'{of_study} (trials "
            f"in rows {', '.join(rows)}); {repeated.nunique()} numbers are not unique: give each study its own "
            f"file, or number the rows with --ignore {column.name}"
        )
    return numbers


def _objective(column: pd.Series[Any], name: str, *, source: str) -> pd.Series[Any]:
    if column.isna().all():
        raise UserError(f"{source}: the objective's column '{name}' is empty: no trial has a value")
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        text = next((cell for cell in column.tolist() if isinstance(cell, str)), None)
        example = "" if text is None else f"; '{text[:60]}' is not a number"
        raise UserError(f"{source}: the objective's column '{name}' does not contain numbers{example}")
    return column.astype("Float64").astype(float)


def _states(study: ForeignStudy, values: Mapping[str, pd.Series[Any]], notes: list[str]) -> pd.Series[Any]:
    """States as in the file; in a file without states, a row without a value has failed."""
    column = study.column("state")
    if column is None:
        is_empty_row = pd.DataFrame(values).isna().any(axis=1)
        if is_empty_row.any():
            rows = count(int(is_empty_row.sum()), "row")
            notes.append(f"{rows} without a value: counted as failed, since there is no column 'state'")
        return pd.Series(["FAIL" if empty else "COMPLETE" for empty in is_empty_row], dtype=object)
    states = []
    for number, word in enumerate(column.tolist(), start=1):
        # str() of Optuna's states gives TrialState.COMPLETE
        state = _STATES.get(str(word).rpartition(".")[2].strip().lower())
        if state is None:
            raise UserError(
                f"{study.source}: row {number} has the unknown state {shown(word)}; states are COMPLETE, PRUNED, FAIL, "
                f"RUNNING, WAITING; --ignore {column.name} if the column is something else"
            )
        states.append(state)
    return pd.Series(states, dtype=object)


def _odd_values(values: pd.Series[Any], states: pd.Series[Any], columns: Sequence[str]) -> Iterator[str]:
    """Notes on values that are empty or infinite, and on those of failed trials."""
    complete = values[(states == "COMPLETE").to_numpy()]
    where = f" in '{columns[0]}'" if len(columns) == 1 else ""
    if infinite := int(sum(map(math.isinf, complete))):
        yield f"{count(infinite, 'complete trial')} with an infinite value{where}: no analysis uses them"
    if empty := int(complete.isna().sum()):
        yield f"{count(empty, 'complete trial')} without a value{where}: no analysis uses them"
    if failed := int(values[(states == "FAIL").to_numpy()].notna().sum()):
        yield f"{count(failed, 'failed trial')} with a value{where}: ignored"


def _parameter(column: pd.Series[Any], space: Space | None, name: str) -> pd.Series[Any]:
    """Convert values to the type of their parameter; integers written as 128.0 become integers."""
    if space is not None and name in space.by_name:
        parameter = space.by_name[name]
        values = [None if (cell := plain(each)) is None else parameter.normalise(cell) for each in column.tolist()]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {int}:
            return pd.Series(values, dtype="Int64")
        if kinds == {float} and not isinstance(parameter, Choices):
            return pd.Series([math.nan if value is None else float(value) for value in values], dtype="float64")
        return column if not kinds or kinds & {bool} else pd.Series(values, dtype=object).infer_objects()
    if pd.api.types.is_float_dtype(column):
        numbers = column.dropna()
        if len(numbers) and bool((numbers % 1 == 0).all()) and bool((numbers.abs() < _LARGEST_EXACT).all()):
            return column.astype("Int64")
    return column


def _odd_parameters(study: ForeignStudy) -> Iterator[str]:
    """Notes on parameters that are missing or infinite in some trials."""
    empty, infinite = [], []
    for theirs in study.roles.params:
        column = study.frame[theirs]
        if missing := int(column.isna().sum()):
            empty.append(f"{study.bare(theirs)} in {missing}")
        if pd.api.types.is_float_dtype(column) and (odd := int(column.isin([math.inf, -math.inf]).sum())):
            infinite.append(f"{study.bare(theirs)} in {odd}")
    rows = len(study.frame)
    if empty:
        yield f"parameters without a value are treated as inactive: {listed(empty)} of {rows} rows"
    if infinite:
        yield f"infinite values of parameters are treated as missing: {listed(infinite)} of {rows} rows"


def _broken_constraints(states: pd.Series[Any], feasible: pd.Series[Any]) -> Iterator[str]:
    if broken := int(((states == "COMPLETE") & ~feasible.astype(bool)).sum()):
        yield f"{count(broken, 'complete trial')} breaking a constraint: never the best, and no analysis uses them"


def _feasible(study: ForeignStudy) -> pd.Series[Any] | None:
    """Whether each trial satisfies its constraints; None if the file has none."""
    column = study.column("feasible")
    if column is not None:
        return column.astype("boolean")
    names = [name for name in map(str, study.frame.columns) if name.startswith(CONSTRAINTS)]
    if not names:
        return None
    cells = [[_constraints_in(cell) for cell in study.frame[name].tolist()] for name in names]
    return pd.Series(
        [all(value <= 0 for values in row for value in values) for row in zip(*cells, strict=True)], dtype="boolean"
    )


def _constraints_in(cell: object) -> list[float]:
    """The values of constraints in a cell: a number, or a printed list."""
    if is_empty(cell):
        return []
    if isinstance(cell, str):
        with contextlib.suppress(ValueError):
            return [float(each) for each in cell.strip("[]() ").split(",") if each.strip()]
    return [float(cell)] if isinstance(cell, int | float) else [math.nan]  # unreadable: NaN counts as violated


def _times(study: ForeignStudy, notes: list[str]) -> dict[str, pd.Series[Any]]:
    started, ended = (_time(study, name, notes) for name in ("datetime_start", "datetime_complete"))
    durations = pd.Series(pd.NaT, index=range(len(study.frame)), dtype="timedelta64[us]")
    column = study.column("duration")
    if column is not None and pd.api.types.is_numeric_dtype(column):
        durations = spans_of(column.astype("Float64").astype(float)).astype("timedelta64[us]")
    elif column is not None:
        durations = pd.to_timedelta(column, errors="coerce").astype("timedelta64[us]")
    if started.notna().any() and ended.notna().any():
        durations = durations.where(durations.notna(), ended - started)
    return {"datetime_start": started, "datetime_complete": ended, "duration": durations}


def _time(study: ForeignStudy, name: str, notes: list[str]) -> pd.Series[Any]:
    column = study.column(name)
    unknown = pd.Series(pd.NaT, index=range(len(study.frame)), dtype="datetime64[us]")
    if column is None:
        return unknown
    times = column
    if not pd.api.types.is_datetime64_any_dtype(column):
        # folder names have times such as 2026-03-01_10-00
        texts = column.map(lambda cell: None if is_empty(cell) else str(cell).replace("_", "T"))
        try:
            times = pd.to_datetime(texts, errors="coerce", format="ISO8601")
        except (ValueError, TypeError):
            times = unknown
        if times.isna().sum() > column.isna().sum():
            notes.append(f"column '{column.name}' does not contain times: ignored")
            return unknown
    if getattr(times.dt, "tz", None) is not None:
        times = times.dt.tz_convert(None)
    return times.astype("datetime64[us]")


def _described_columns(study: ForeignStudy, directions: Sequence[str]) -> str:
    """The role of each column, as one note."""
    objective = ", ".join(f"{name} ({direction})" for name, direction in zip(study.metrics, directions, strict=True))
    params = ", ".join(
        column if study.bare(column) == column else f"{study.bare(column)} (column {column})"
        for column in study.roles.params
    )
    bookkeeping = ", ".join(column for ours, column in study.roles.ours.items() if ours not in ("number", "state"))
    parts = [f"objective {objective}", f"parameters: {params or 'none'}"]
    parts += [f"measurements and notes: {listed(study.roles.attrs)}"] if study.roles.attrs else []
    parts += [f"bookkeeping: {bookkeeping}"] if bookkeeping else []
    return "; ".join(parts)
