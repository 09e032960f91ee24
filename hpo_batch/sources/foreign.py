"""Somebody else's table to ours: columns found or mapped, states and numbers checked, a table for each study in it."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.records import Counts, Value
from hpo_batch.results.table import ATTEMPT_COLUMNS, TrialsTable, front_of, spans_of
from hpo_batch.sources.columns import CONSTRAINTS, GROUPS, Columns, Roles, bare, direction_of, roles
from hpo_batch.sources.curves import check_unit, folded, reports_of
from hpo_batch.sources.files import EMPTY_COLUMNS
from hpo_batch.sources.infer import described, infer_space
from hpo_batch.space.parameters import Choices
from hpo_batch.space.space import Space
from hpo_batch.text.names import listed
from hpo_batch.text.values import shown

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Sweep

_STATES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("complete", "completed", "finished", "done", "success", "ok", "terminated"), "COMPLETE"),
    **dict.fromkeys(("pruned", "stopped", "early_stopped"), "PRUNED"),
    **dict.fromkeys(("fail", "failed", "error", "errored", "crashed", "killed", "timeout", "preempted"), "FAIL"),
    **dict.fromkeys(("running", "pending", "paused", "preempting"), "RUNNING"),
    **dict.fromkeys(("waiting", "queued", "scheduled"), "WAITING"),
}  # fmt: skip
DIRECTIONS: Final = {"max": "maximize", "maximise": "maximize", "maximize": "maximize",
                     "min": "minimize", "minimise": "minimize", "minimize": "minimize"}  # fmt: skip
_LABEL: Final = re.compile(r"(?<![0-9a-zA-Z.])([0-9]+(?:\.[0-9]+)?[kmb])(?![0-9a-zA-Z])", re.IGNORECASE)
_NUMBERS: Final = ("number", "trial", "trial_number", "trial_id")
TEXTS: Final = ("name", "set", "note", "origin", "reason", "message", "node", "gpus", "job", "submission")


def tables_of(
    frame: pd.DataFrame,
    given: Columns,
    *,
    source: str,
    label: str,
    notes: Sequence[str] = (),
    sweeps: Sequence[Sweep] = (),
) -> tuple[TrialsTable, ...]:
    """The studies in a frame: one, or as many as a column ``study`` or ``budget`` names.

    Args:
        given: what the user said of the columns.
        source: for messages.
        label: what the study is called where the frame does not tell.
        notes: what was assumed so far.
        sweeps: what the trials come from, if the user knows: one, or one for each budget.

    Raises:
        UserError: columns that cannot be told apart, numbers there twice, states or directions nobody knows.
    """
    if frame.empty:
        raise UserError(f"{source}: a header and no trials")
    _check_is_no_chart(frame, source)
    frame, told = _without_others_habits(frame, given)
    fold = folded(frame, given)
    frame = fold.frame
    if fold.steps is None:
        check_unit(frame, given, source=source)
    notes = (*notes, *told, *fold.notes)
    names = None if not sweeps else [p.name for p in sweeps[0].space.parameters]
    if sweeps and not given.value:
        given = _with_objective(frame, given, sweeps[0], source=source)
    try:
        found = roles(frame, given, file=source, space=names)
    except UserError as error:
        empty = next((note for note in notes if note.startswith(EMPTY_COLUMNS)), "")
        raise UserError(f"{error}{f'; {empty}' if empty else ''}") from None
    tables = []
    for part, budget, name in _parts(frame, label, given):
        sweep = sweep_for(sweeps, budget, source=source)
        rows = part.reset_index(drop=True)
        table = _table(rows, found, given, source=source, label=name, budget=budget, notes=notes, sweep=sweep)
        if fold.steps is not None and len(found.values) == 1:
            numbers = dict(zip(part.index.tolist(), table.trials["number"].tolist(), strict=True))
            table = replace(table, reports=reports_of(fold.steps, found.values[0], numbers))
        tables.append(table)
    return tuple(tables)


def _check_is_no_chart(frame: pd.DataFrame, source: str) -> None:
    """Raises UserError for the curves of a chart of Weights & Biases, each of which is a column: no row is a trial."""
    columns = set(map(str, frame.columns))
    curves = [name for name in columns if f"{name}__MIN" in columns and f"{name}__MAX" in columns]
    if curves:
        raise UserError(
            f"{source}: these are curves of a chart of Weights & Biases ('{min(curves)}'), a column for each run, "
            "without their parameters; export the table of the runs instead"
        )


_DASHBOARD: Final = ((r"Param (.+)", r"params_\1"), (r"UserAttribute (.+)", r"user_attrs_\1"),
                     (r"Objective ([0-9]+)", r"values_\1"), ("Value", "value"))  # fmt: skip
_OF_MANY: Final = ("experiment_id", "exp_id", "run", "id")
"""names that may mean the trial, or what all trials belong to"""


def _without_others_habits(frame: pd.DataFrame, given: Columns) -> tuple[pd.DataFrame, list[str]]:
    """optuna-dashboard's and scikit-learn's names as Optuna's; without what numbers not the trials but all of them."""
    told = []
    named = {*given.value, *given.params, *given.mapping.values()}
    frame, more = _without_scikit_learns(frame, named)
    told += more
    columns = [str(name) for name in frame.columns]
    if {"Number", "State"} <= set(columns) and any(name.startswith("Param ") for name in columns):
        new = {c: new for c in columns if c not in named and (new := _renamed(c)) != c and new not in columns}
        frame = frame.rename(columns=new)
        told.append("names of columns as optuna-dashboard writes them")
    for name in columns:
        if name.lower() in _OF_MANY and name not in named and len(frame) > 1 and frame[name].nunique(dropna=False) == 1:
            frame = frame.drop(columns=name)
            told.append(f"'{name}' is the same in all rows: it is no number of trials, and left out")
        elif name.lower() in _NUMBERS and name not in named and _has_holes(frame[name]):
            frame = frame.rename(columns={name: f"user_attrs_{name}"})
            told.append(f"{_n(int(frame[f'user_attrs_{name}'].isna().sum()), 'row')} without a number in '{name}'")
    return frame, told


def _without_scikit_learns(frame: pd.DataFrame, named: Collection[str]) -> tuple[pd.DataFrame, list[str]]:
    """``cv_results_``: ``param_C`` as ``params_C``; what was dropped by a halving search as pruned."""
    columns = [str(name) for name in frame.columns]
    scores = [name for name in columns if name.startswith("mean_test_")]
    params = [name for name in columns if name.startswith("param_") and name not in named]
    if not scores or not params:
        return frame, []
    told = ["names of columns as scikit-learn's cv_results_ has them"]
    new = {name: f"params_{name.removeprefix('param_')}" for name in params}
    if any(name in columns for name in new.values()):
        told.append("'params' says what other columns say: left out")
    frame = frame.drop(columns=[name for name in new.values() if name in columns]).rename(columns=new)
    if "iter" in columns and "n_resources" in columns and "state" not in columns:
        last = frame.groupby(list(new.values()), dropna=False, sort=False)["iter"].transform("max")
        states = ["COMPLETE" if end == frame["iter"].max() else "PRUNED" for end in last]
        frame = frame.assign(state=pd.Series(states, index=frame.index, dtype=object))
        final = int(frame["iter"].max())
        told.append(f"a halving search: what did not come to its last round ('iter' {final}) counts as pruned")
    return frame, told


def _renamed(column: str) -> str:
    for pattern, ours in _DASHBOARD:
        if re.fullmatch(pattern, column):
            return re.sub(pattern, ours, column)
    return column


def _has_holes(column: pd.Series[Any]) -> bool:
    """Whether these are whole numbers, but for some rows that have none."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or not column.isna().any():
        return False
    there = column.dropna().astype("float64")
    return len(there) > 0 and bool((there % 1 == 0).all()) and bool(there.is_unique)


def budget_in(label: str) -> str | None:
    """A label of a budget in a file's name: ``hpo_200m_tpe`` is ``200M``; None if there is none, or several."""
    found = {match[1].upper() for match in _LABEL.finditer(label.replace("_", " ").replace("-", " "))}
    return found.pop() if len(found) == 1 else None


def _with_objective(frame: pd.DataFrame, given: Columns, sweep: Sweep, *, source: str) -> Columns:
    metrics = sweep.study.metric
    given = replace(given, directions=given.directions or tuple(sweep.study.direction))
    for names in (tuple(metrics), tuple(f"values_{metric}" for metric in metrics)):
        if all(name in frame.columns for name in names):
            return replace(given, value=names)
    if len(metrics) > 1:
        options = " ".join(f"--value COLUMN_OF_{metric}" for metric in metrics)
        raise UserError(f"{source}: the sweep's metrics ({', '.join(metrics)}) are not all columns: {options}")
    return given


def _parts(frame: pd.DataFrame, label: str, given: Columns) -> list[tuple[pd.DataFrame, str | None, str]]:
    """Rows as they are in the frame, budget and label of each study in it."""
    keys = [name for name in GROUPS if name in frame.columns and name not in (*given.params, *given.value)]
    keys = [name for name in keys if name not in given.mapping.values() and frame[name].notna().all()]
    if not keys:
        return [(frame, budget_in(label), label)]
    parts = []
    for values, rows in frame.groupby(keys, sort=False):
        here = dict(zip(keys, (str(v) for v in values), strict=True))
        budget = here.get("budget")
        name = here.get("study", label)
        if budget is None:
            budget = name.rpartition("/")[2] if "/" in name else budget_in(name)
        elif "/" not in name:
            name = f"{name}/{budget}"
        parts.append((rows, budget, name))
    return parts


def sweep_for(sweeps: Sequence[Sweep], budget: str | None, *, source: str) -> Sweep | None:
    if len(sweeps) <= 1:
        return sweeps[0] if sweeps else None
    for sweep in sweeps:
        if budget is not None and sweep.budget is not None and sweep.budget.lower() == budget.lower():
            return sweep
    known = ", ".join(str(sweep.budget) for sweep in sweeps)
    raise UserError(
        f"{source}: --sweep has the budgets {known}, and it is not known to which of them the trials belong: name the "
        "file after it, or add a column 'budget'"
    )


def _table(
    frame: pd.DataFrame,
    found: Roles,
    given: Columns,
    *,
    source: str,
    label: str,
    budget: str | None,
    notes: Sequence[str],
    sweep: Sweep | None,
) -> TrialsTable:
    told = list(notes)
    metrics = tuple(_metric(column, given) for column in found.values)
    directions = _directions(metrics, given.directions, source=source, notes=told)
    columns: dict[str, Any] = {"number": _numbers(frame, found, source=source, label=label, notes=told)}
    values = {}
    for column, metric in zip(found.values, metrics, strict=True):
        values["value" if len(metrics) == 1 else f"values_{metric}"] = _floats(frame[column], column, source=source)
    states = _states(frame, found, values, source=source, notes=told)
    for name, series in values.items():
        _tell_odd_values(series, states, found.values, notes=told)
        columns[name] = series.where(states != "FAIL")
    started, ended, duration = _times(frame, found, notes=told)
    columns |= {"datetime_start": started, "datetime_complete": ended, "duration": duration}
    space = None if sweep is None else sweep.space
    for column in found.params:
        name = bare(column, given.mapping)
        columns[f"params_{name}"] = _parameter(frame[column], space, name)
    told += _gaps([(bare(column, given.mapping), frame[column]) for column in found.params])
    for column in found.attrs:
        name = column if column.startswith(CONSTRAINTS[0]) else f"user_attrs_{bare(column, given.mapping)}"
        columns[name] = frame[column]
    feasible = _feasible(frame, found)
    if feasible is not None:
        columns["feasible"] = feasible
        broken = int(((states == "COMPLETE") & ~feasible.astype(bool)).sum())
        if broken:
            told.append(
                f"{_n(broken, 'complete trial')} breaking a constraint: never the best, and no analysis uses them"
            )
    columns["state"] = states
    for name in ("name", "set", "note", "origin", "reason", "message"):
        columns[name] = _texts(frame, found, name)
    if len(metrics) > 1:
        cells = [columns[f"values_{metric}"].tolist() for metric in metrics]
        columns["front"] = pd.Series(
            front_of(
                cells,
                states.where(feasible.astype(bool), "").tolist() if feasible is not None else states.tolist(),
                directions,
            ),
            dtype="boolean",
        )
    columns["seed"] = _or_empty(frame, found, "seed", "Int64").astype("Int64")
    columns["attempts"] = _or_empty(frame, found, "attempts", "Int64").astype("Int64")
    seconds = _or_empty(frame, found, "seconds_total", "float64").astype("float64")
    columns["seconds_total"] = seconds.where(seconds.notna(), duration.dt.total_seconds())
    for name in ("node", "gpus", "job", "submission"):
        columns[name] = _texts(frame, found, name)
    trials = pd.DataFrame({name: _reset(series) for name, series in columns.items()})
    if sweep is None:
        space = infer_space(trials)
        told.append(f"space inferred from the values seen, --sweep gives the true one: {described(space)}")
    told.append(_columns_told(found, given, metrics, directions))
    counts = states.value_counts()
    number_seed = trials[["number", "seed"]].dropna()
    return TrialsTable(
        trials=trials,
        attempts=pd.DataFrame(columns=list(ATTEMPT_COLUMNS)),
        metrics=metrics,
        directions=directions,
        counts=Counts(
            target=len(trials),
            waiting=int(counts.get("WAITING", 0)),
            running=int(counts.get("RUNNING", 0)),
            complete=int(counts.get("COMPLETE", 0)),
            pruned=int(counts.get("PRUNED", 0)),
            failed=int(counts.get("FAIL", 0)),
        ),
        source=source,
        label=label,
        space=space,
        space_is_inferred=sweep is None,
        baseline=None if sweep is None else sweep.baseline,
        budget=budget if sweep is None or sweep.budget is None else sweep.budget,
        seeds={int(n): (int(s),) for n, s in zip(number_seed["number"], number_seed["seed"], strict=True)},
        sweep=sweep,
        notes=tuple(told),
    )


def _metric(column: str, given: Columns) -> str:
    named = bare(column, given.mapping)
    return named.removeprefix("values_") if named == column else named


def _feasible(frame: pd.DataFrame, found: Roles) -> pd.Series[Any] | None:
    """Whether each trial keeps its constraints; None where none are told."""
    column = found.ours.get("feasible")
    if column is not None:
        return frame[column].astype("boolean")
    told = [name for name in map(str, frame.columns) if name.startswith(CONSTRAINTS)]
    if not told:
        return None
    cells = [[_limits(cell) for cell in frame[name].tolist()] for name in told]
    return pd.Series(
        [all(limit <= 0 for limits in row for limit in limits) for row in zip(*cells, strict=True)], dtype="boolean"
    )


def _limits(cell: object) -> list[float]:
    """The values of constraints in a cell: a number, or a list that was printed into it."""
    if _is_empty(cell):
        return []
    if isinstance(cell, str):
        with contextlib.suppress(ValueError):
            return [float(each) for each in cell.strip("[]() ").split(",") if each.strip()]
    return [float(cell)] if isinstance(cell, int | float) else [math.nan]  # what cannot be read is not kept


def _directions(metrics: Sequence[str], given: Sequence[str], *, source: str, notes: list[str]) -> tuple[str, ...]:
    if given:
        if len(given) not in (1, len(metrics)):
            raise UserError(f"{source}: {len(given)} directions for {len(metrics)} metrics ({', '.join(metrics)})")
        unknown = [direction for direction in given if direction.lower() not in DIRECTIONS]
        if unknown:
            raise UserError(f"--direction: '{unknown[0]}' is neither maximize nor minimize")
        found = tuple(DIRECTIONS[direction.lower()] for direction in given)
        return found if len(found) == len(metrics) else found * len(metrics)
    directions = []
    for metric in metrics:
        direction = direction_of(metric)
        if direction is None:
            notes.append(
                f"'{metric}' is taken as to maximize, which its name does not tell: --direction says otherwise"
            )
        directions.append(direction or "maximize")
    return tuple(directions)


def _numbers(frame: pd.DataFrame, found: Roles, *, source: str, label: str, notes: list[str]) -> pd.Series[Any]:
    column = found.ours.get("number")
    if column is None:
        notes.append("no column of trial numbers: rows are numbered from 0")
        return pd.Series(range(len(frame)), dtype="int64")
    try:
        numbers = frame[column].astype("int64")
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{source}: column '{column}' does not hold trial numbers ({error}); --map number=COLUMN"
        ) from error
    if not (numbers.astype(float) == frame[column].astype(float)).all():  # beyond 64 bits it would be another number
        raise UserError(f"{source}: column '{column}' does not hold trial numbers; --map number=COLUMN")
    twice = numbers[numbers.duplicated(keep=False)]
    if len(twice):
        first = int(twice.iloc[0])
        rows = [str(i + 1) for i in numbers.index[numbers == first]][:5]
        several = f" of '{label}'" if label not in source else ""
        raise UserError(
            f"{source}: the number {first} stands in column '{column}'{several} {len(rows)} times (trials in rows "
            f"{', '.join(rows)}); {twice.nunique()} numbers are not unique: give each study a file of its own, or say "
            f"--ignore {column} to number the rows"
        )
    return numbers


def _floats(column: pd.Series[Any], name: str, *, source: str) -> pd.Series[Any]:
    if column.isna().all():
        raise UserError(f"{source}: the objective's column '{name}' is empty: no trial has a value")
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        texts = [value for value in column.tolist() if isinstance(value, str)]
        odd = f"; '{texts[0][:60]}' is no number" if texts else ""
        raise UserError(f"{source}: the objective's column '{name}' does not hold numbers{odd}")
    return column.astype("Float64").astype(float)


def _states(
    frame: pd.DataFrame, found: Roles, values: Mapping[str, pd.Series[Any]], *, source: str, notes: list[str]
) -> pd.Series[Any]:
    missing = pd.DataFrame(values).isna().any(axis=1)
    column = found.ours.get("state")
    if column is None:
        if missing.any():
            notes.append(
                f"{_n(int(missing.sum()), 'row')} without a value: counted as failed, there is no column 'state'"
            )
        return pd.Series(["FAIL" if is_missing else "COMPLETE" for is_missing in missing], dtype=object)
    states = []
    for i, word in enumerate(frame[column].tolist()):
        state = _STATES.get(str(word).rpartition(".")[2].strip().lower())
        if state is None:
            raise UserError(
                f"{source}: row {i + 1} has the state {shown(word)}, which is none of COMPLETE, PRUNED, FAIL, RUNNING, "
                f"WAITING; --ignore {column} if the column is something else"
            )
        states.append(state)
    return pd.Series(states, dtype=object)


def _tell_odd_values(
    series: pd.Series[Any], states: pd.Series[Any], columns: Sequence[str], *, notes: list[str]
) -> None:
    done = series[(states == "COMPLETE").to_numpy()]
    where = f" in '{columns[0]}'" if len(columns) == 1 else ""
    infinite = int(sum(math.isinf(value) for value in done))
    empty = int(done.isna().sum())
    if infinite:
        notes.append(f"{_n(infinite, 'complete trial')} with an infinite value{where}: no analysis uses them")
    if empty:
        notes.append(f"{_n(empty, 'complete trial')} without a value{where}: no analysis uses them")
    failed = int(series[(states == "FAIL").to_numpy()].notna().sum())
    if failed:
        notes.append(f"{_n(failed, 'failed trial')} with a value{where}: a failure has none, it is left out")


def _n(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _parameter(column: pd.Series[Any], space: Space | None, name: str) -> pd.Series[Any]:
    """Values in the type of their parameter; whole numbers that were written as 128.0 are whole numbers again."""
    if space is not None and name in space.by_name:
        parameter = space.by_name[name]
        values = [None if _is_empty(value) else parameter.normalise(_plain(value)) for value in column.tolist()]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {int}:
            return pd.Series(values, dtype="Int64")
        if kinds == {float} and not isinstance(parameter, Choices):
            return pd.Series([math.nan if value is None else float(value) for value in values], dtype="float64")
        return column if not kinds or kinds & {bool} else pd.Series(values, dtype=object).infer_objects()
    if pd.api.types.is_float_dtype(column):
        there = column.dropna()
        if len(there) and bool((there % 1 == 0).all()) and bool((there.abs() < 2**53).all()):
            return column.astype("Int64")
    return column


def _gaps(columns: Sequence[tuple[str, pd.Series[Any]]]) -> list[str]:
    """What is told of parameters that some trials have no value of, or an infinite one."""
    empty, infinite = [], []
    for name, column in columns:
        if missing := int(column.isna().sum()):
            empty.append(f"{name} in {missing}")
        if pd.api.types.is_float_dtype(column) and (odd := int(column.isin([math.inf, -math.inf]).sum())):
            infinite.append(f"{name} in {odd}")
    told = []
    if empty:
        told.append(f"parameters without a value are taken as not active: {listed(empty)} of {len(columns[0][1])} rows")
    if infinite:
        told.append(f"infinite values of parameters are taken as none: {listed(infinite)} of {len(columns[0][1])} rows")
    return told


def _is_empty(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value != value


def _plain(value: Any) -> Value:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _times(
    frame: pd.DataFrame, found: Roles, *, notes: list[str]
) -> tuple[pd.Series[Any], pd.Series[Any], pd.Series[Any]]:
    started, ended = (_time(frame, found, name, notes) for name in ("datetime_start", "datetime_complete"))
    spans = pd.Series(pd.NaT, index=range(len(frame)), dtype="timedelta64[us]")
    column = found.ours.get("duration")
    if column is not None and pd.api.types.is_numeric_dtype(frame[column]):
        spans = spans_of(frame[column].astype("Float64").astype(float)).astype("timedelta64[us]")
    elif column is not None:
        spans = pd.to_timedelta(frame[column], errors="coerce").astype("timedelta64[us]")
    if started.notna().any() and ended.notna().any():
        spans = spans.where(spans.notna(), ended - started)
    return started, ended, spans


def _time(frame: pd.DataFrame, found: Roles, name: str, notes: list[str]) -> pd.Series[Any]:
    column = found.ours.get(name)
    nothing = pd.Series(pd.NaT, index=range(len(frame)), dtype="datetime64[us]")
    if column is None:
        return nothing
    if pd.api.types.is_datetime64_any_dtype(frame[column]):
        times = frame[column]
    else:
        texts = frame[column].map(lambda value: None if _is_empty(value) else str(value).replace("_", "T"))
        try:
            times = pd.to_datetime(texts, errors="coerce", format="ISO8601")
        except (ValueError, TypeError):
            times = nothing
        if times.isna().sum() > frame[column].isna().sum():
            notes.append(f"column '{column}' does not hold times: left out")
            return nothing
    if getattr(times.dt, "tz", None) is not None:
        times = times.dt.tz_convert(None)
    return times.astype("datetime64[us]")


def _texts(frame: pd.DataFrame, found: Roles, name: str) -> pd.Series[Any]:
    column = found.ours.get(name)
    if column is None:
        return pd.Series([None] * len(frame), dtype=object)
    return pd.Series([None if _is_empty(value) else str(value) for value in frame[column].tolist()], dtype=object)


def _or_empty(frame: pd.DataFrame, found: Roles, name: str, dtype: str) -> pd.Series[Any]:
    column = found.ours.get(name)
    if column is None:
        return pd.Series([None] * len(frame), dtype=dtype)
    return frame[column].astype("Float64") if dtype == "float64" else frame[column]


def _reset(series: pd.Series[Any]) -> pd.Series[Any]:
    return series.reset_index(drop=True)


def _columns_told(found: Roles, given: Columns, metrics: Sequence[str], directions: Sequence[str]) -> str:
    objective = ", ".join(f"{metric} ({direction})" for metric, direction in zip(metrics, directions, strict=True))
    params = ", ".join(
        column if bare(column, given.mapping) == column else f"{bare(column, given.mapping)} (column {column})"
        for column in found.params
    )
    known = ", ".join(column for ours, column in found.ours.items() if ours not in ("number", "state"))
    rest = "; ".join(
        part
        for part in (
            f"measurements and remarks: {listed(found.attrs)}" if found.attrs else "",
            f"bookkeeping: {known}" if known else "",
        )
        if part
    )
    return f"objective {objective}; parameters: {params or 'none'}" + (f"; {rest}" if rest else "")
