"""Read studies from Optuna storages with Optuna itself: SQLite files, database URLs, journals.

docs/sources.md lists the contents of a storage and their columns; notes mention what does not fit into a table.
"""

from __future__ import annotations

import datetime
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from hpo_batch.errors import StorageError, UserError
from hpo_batch.journal.damage import BEGINNING
from hpo_batch.records import Counts
from hpo_batch.results.cells import is_empty
from hpo_batch.results.table import ATTEMPT_COLUMNS, REPORT_COLUMNS, TrialsTable, candidates, frame_of, front_of
from hpo_batch.sources import place as places
from hpo_batch.sources.infer import described, from_distributions, plain_choices
from hpo_batch.sources.optuna_storage import SQLITE, Changed, explained, opened
from hpo_batch.sources.place import Place
from hpo_batch.sources.source import Source
from hpo_batch.text.names import did_you_mean, listed, unique_names
from hpo_batch.text.numbers import count
from hpo_batch.text.secrets import masked, secrets_in
from hpo_batch.text.values import shown

if TYPE_CHECKING:
    import optuna

_CONSTRAINTS: Final = "constraints"
# system attributes of trials that have a place in the table
_READ: Final = ("fail_reason", "fixed_params", "failed_trial", "retry_history", _CONSTRAINTS)
_METRIC_NAMES: Final = "study:metric_names"


def is_storage_file(place: Place) -> bool:
    """Whether a file is a SQLite file, or starts like an Optuna journal."""
    try:
        return place.head.startswith(SQLITE) or place.head.lstrip().startswith(BEGINNING[:-1])
    except StorageError:
        return False


def _is_storage(place: Place) -> bool:
    if place.is_url:
        return True
    if place.path is None:
        return False
    return not place.is_plain_file or place.head.startswith(SQLITE) or place.head.lstrip().startswith(BEGINNING[:-1])


def read_storage(source: str) -> tuple[TrialsTable, ...]:
    """All studies of a storage, or the one that ``#name`` names.

    Args:
        source: a SQLite file, a journal, or a SQLAlchemy URL.

    Raises:
        UserError: there is no such study, or none at all.
        StorageError: the storage cannot be opened, or Optuna's version cannot read it.
    """
    import optuna

    place, wanted = places.split(source)
    secrets = secrets_in([place])
    shown_place = masked(place, known=secrets)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        try:
            return _studies(place, shown_place, wanted, without_lock=True)
        except Changed:
            return _studies(place, shown_place, wanted, without_lock=False)
    except (UserError, StorageError):
        raise
    except Exception as error:  # SQLAlchemy, a driver, Alembic or Optuna may raise anything on a foreign file
        # without 'from': the driver's message in the traceback may contain a password
        raise StorageError(masked(explained(shown_place, error), known=secrets)) from None
    finally:
        optuna.logging.set_verbosity(verbosity)


def _studies(place: str, called: str, wanted: str, *, without_lock: bool) -> tuple[TrialsTable, ...]:
    """All studies of a storage, or the wanted one.

    Args:
        called: the source without passwords.
        without_lock: read a database that nobody has open without a lock.

    Raises:
        Changed: another process opened it meanwhile.
    """
    import optuna

    with opened(place, called, without_lock=without_lock) as (storage, notes):
        names = [one.study_name for one in optuna.get_all_study_summaries(storage, include_best_trial=False)]
        if wanted and wanted not in names:
            meant = did_you_mean(wanted, names, otherwise=f"; there are {listed(names)}")
            raise UserError(f"no study '{wanted}' in '{called}'{meant}")
        if not names:
            raise UserError(f"'{called}' is an Optuna storage without any study")
        chosen = [wanted] if wanted else names
        return tuple(_table(optuna.load_study(study_name=name, storage=storage), called, notes) for name in chosen)


def _table(study: optuna.Study, source: str, notes: Sequence[str]) -> TrialsTable:
    trials = study.get_trials(deepcopy=False)
    directions = tuple(direction.name.lower() for direction in study.directions)
    if not directions or "not_set" in directions:
        raise UserError(f"the study '{study.study_name}' in '{source}' has no direction yet: it has no trials to read")
    all_notes = list(notes)
    metrics = _metrics(study, several=len(directions) > 1, notes=all_notes)
    frame = frame_of(_columns(trials, metrics, directions))
    params = [_params(trial) for trial in trials]
    space, notes_of_space = from_distributions(
        _distributions(trials), {name: [each[name] for each in params if name in each] for name in _union(params)}
    )
    all_notes += [f"space from the distributions of its trials: {described(space)}", *notes_of_space]
    all_notes += _notes_on_values(frame, metrics)
    all_notes += _notes_on_attributes(study, trials)
    reports = _reports(trials)
    infinite = int((~reports["value"].map(_is_finite)).sum()) if len(reports) else 0
    if infinite:
        all_notes.append(f"{infinite} of {len(reports)} reported values are not finite: no analysis uses them")
    states = Counter(trial.state.name for trial in trials)
    return TrialsTable(
        trials=frame,
        attempts=frame_of({name: [] for name in ATTEMPT_COLUMNS}),
        metrics=metrics,
        directions=directions,
        counts=Counts(
            target=len(trials),
            waiting=states["WAITING"],
            running=states["RUNNING"],
            complete=states["COMPLETE"],
            pruned=states["PRUNED"],
            failed=states["FAIL"],
        ),
        source=source,
        label=study.study_name,
        space=space,
        space_is_inferred=True,
        reports=reports,
        notes=tuple(all_notes),
    )


def _value_names(metrics: Sequence[str]) -> list[str]:
    return ["value"] if len(metrics) == 1 else [f"values_{metric}" for metric in metrics]


def _columns(
    trials: Sequence[optuna.trial.FrozenTrial], metrics: Sequence[str], directions: Sequence[str]
) -> dict[str, Sequence[Any]]:
    """The columns of ``TrialsTable.trials``, in their order."""
    nothing = [None] * len(trials)
    states = [trial.state.name for trial in trials]
    values = {name: [_value(trial, i) for trial in trials] for i, name in enumerate(_value_names(metrics))}
    started, ended = ([_local(trial.datetime_start) for trial in trials], [_local(t.datetime_complete) for t in trials])
    durations = [_seconds_between(*both) for both in zip(started, ended, strict=True)]
    columns: dict[str, Sequence[Any]] = {"number": [trial.number for trial in trials], **values}
    columns |= {"datetime_start": started, "datetime_complete": ended, "duration": durations}
    columns |= _spread("params_", [_params(trial) for trial in trials])
    columns |= _spread("user_attrs_", [{name: _plain(v) for name, v in t.user_attrs.items()} for t in trials])
    constraints = [_constraints(trial.system_attrs) for trial in trials]
    columns |= _spread("constraints_", constraints)
    # as in Optuna: a trial without constraints is feasible, and NaN violates a constraint
    feasible = [all(value <= 0 for value in each.values()) for each in constraints]
    if any(constraints):
        columns["feasible"] = feasible
    columns |= {"state": states, "name": nothing, "set": nothing}
    columns["note"] = [_note_on_retry(trial.system_attrs) for trial in trials]
    columns["origin"] = ["enqueued" if "fixed_params" in trial.system_attrs else "optuna" for trial in trials]
    columns["reason"] = nothing
    columns["message"] = [_plain(trial.system_attrs.get("fail_reason")) for trial in trials]
    if len(values) > 1:
        able = [state if is_feasible else "" for state, is_feasible in zip(states, feasible, strict=True)]
        columns["front"] = front_of(list(values.values()), able, directions)
    columns |= {"seed": nothing, "attempts": nothing, "seconds_total": durations}
    return columns | dict.fromkeys(("node", "gpus", "job", "submission"), nothing)


def _spread(prefix: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[Any]]:
    """Convert dicts to columns, one for each name that appears."""
    return {f"{prefix}{name}": [row.get(name) for row in rows] for name in _union(rows)}


def _metrics(study: optuna.Study, *, several: bool, notes: list[str]) -> tuple[str, ...]:
    """Unique names of the objectives: Optuna allows duplicates."""
    names = list(study.metric_names or (map(str, range(len(study.directions))) if several else ("value",)))
    metrics = unique_names(names)
    for name, metric in zip(names, metrics, strict=True):
        if metric != name:
            notes.append(f"two metrics are named '{name}': the second one is '{metric}' here")
    return tuple(metrics)


def _params(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return {name: _parameter(trial.distributions[name], value) for name, value in trial.params.items()}


def _parameter(distribution: Any, value: Any) -> Any:
    """A parameter's value in the form in which the space has it."""
    choices = getattr(distribution, "choices", None)
    if choices is None:
        return value
    # compare types and text: Python says 1 == 1.0 == True, and NaN != NaN
    place = next(
        (i for i, c in enumerate(choices) if type(c) is type(value) and (c == value or (c != c and value != value))),
        None,
    )
    return plain_choices(choices)[int(distribution.to_internal_repr(value)) if place is None else place]


def _distributions(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, list[dict[str, Any]]]:
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            facts = {"name": type(distribution).__name__, "attributes": distribution._asdict()}
            by_name.setdefault(name, {}).setdefault(repr(distribution), facts)
    return {name: list(several.values()) for name, several in by_name.items()}


def _constraints(attrs: Mapping[str, Any]) -> dict[str, float]:
    """Constraints of a trial by name. Optuna up to version 4 stores one list, newer versions each one separately."""
    several = attrs.get(_CONSTRAINTS)
    by_number = {str(i): float(value) for i, value in enumerate(several or ())}
    start = f"{_CONSTRAINTS}:"
    return by_number | {
        name.removeprefix(start): float(value) for name, value in attrs.items() if name.startswith(start)
    }


def _note_on_retry(attrs: Mapping[str, Any]) -> str | None:
    """A note on what Optuna's RetryFailedTrialCallback recorded."""
    return None if attrs.get("failed_trial") is None else f"retry of trial {attrs['failed_trial']}"


def _notes_on_values(frame: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    notes = []
    done = frame[(frame["state"] == "COMPLETE").to_numpy()]
    infinite = sum(
        not all(map(_is_finite, row)) for row in done[_value_names(metrics)].itertuples(index=False, name=None)
    )
    if infinite:
        notes.append(
            f"{infinite} of {len(done)} complete trials have a value that is not finite: no analysis uses them"
        )
    if "feasible" in frame:
        broken = len(done) - int(candidates(done).sum())
        notes.append(
            f"{broken} of {len(done)} complete trials break a constraint: never the best, and no analysis uses them"
        )
    return notes


def _notes_on_attributes(study: optuna.Study, trials: Sequence[optuna.trial.FrozenTrial]) -> list[str]:
    """Notes on what Optuna stores and a table cannot hold."""
    notes = []
    if study.user_attrs:
        attrs = [f"{name} = {shown(_plain(value))}" for name, value in study.user_attrs.items()]
        notes.append(f"attributes of the study: {listed(attrs)}")
    of_study = Counter(
        _kind(name) for name in study._storage.get_study_system_attrs(study._study_id) if name != _METRIC_NAMES
    )
    of_trials = Counter(kind for trial in trials for kind in {_kind(name) for name in trial.system_attrs})
    unread = [kind for kind in of_trials if kind not in _READ]
    if of_study or unread:
        names = listed(sorted({*of_study, *unread}))
        notes.append(f"system attributes of samplers and other programs are not read: {names}")
    waiting = sum(trial.state.name == "WAITING" and "fixed_params" in trial.system_attrs for trial in trials)
    if waiting:
        notes.append(
            f"{count(waiting, 'waiting trial was', 'waiting trials were')} enqueued with values: they get them once "
            "they run"
        )
    return notes


def _kind(name: str) -> str:
    """Group numbered attributes of samplers: ``cma:optimizer:3`` is ``cma:optimizer``; all constraints are one."""
    return name.partition(":")[0] if name.startswith(f"{_CONSTRAINTS}:") else name.rstrip("0123456789").rstrip(":")


def _reports(trials: Sequence[optuna.trial.FrozenTrial]) -> pd.DataFrame:
    rows = [(t.number, step, value) for t in trials for step, value in sorted(t.intermediate_values.items())]
    return frame_of({name: [row[i] for row in rows] for i, name in enumerate(REPORT_COLUMNS)})


def _value(trial: optuna.trial.FrozenTrial, index: int) -> float | None:
    if trial.state.name == "FAIL" or trial.values is None or index >= len(trial.values):
        return None
    return float(trial.values[index])


def _local(moment: datetime.datetime | None) -> datetime.datetime | None:
    """Optuna stores local times without a zone; other programs may store times with one."""
    return moment if moment is None or moment.tzinfo is None else moment.astimezone().replace(tzinfo=None)


def _seconds_between(start: datetime.datetime | None, end: datetime.datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def _plain(value: Any) -> Any:
    """An attribute as a cell: lists and objects as their JSON."""
    if is_empty(value):
        return None
    return value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _union(mappings: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


SOURCE: Final = Source(
    kind="an Optuna storage", knows=_is_storage, read=lambda place, request: read_storage(place.text)
)
