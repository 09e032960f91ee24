"""Studies in any storage of Optuna's, read by Optuna itself: SQLite files, database URLs, journals.

Nothing is written: a SQLite file is opened read-only, tables are not made, schemas not upgraded. What a storage states
and what becomes of it is listed in docs/sources.md; what has no place in a table is told.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import math
import os
import shutil
import sqlite3
import tempfile
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpo_batch.errors import StorageError, UserError
from hpo_batch.records import Counts
from hpo_batch.results.table import ATTEMPT_COLUMNS, REPORT_COLUMNS, TrialsTable, candidates, frame_of, front_of
from hpo_batch.sources import place as places
from hpo_batch.sources.infer import described, from_distributions, plain_choices
from hpo_batch.text.names import listed, nearest
from hpo_batch.text.secrets import masked, secrets_in
from hpo_batch.text.values import shown

if TYPE_CHECKING:
    import optuna

MOST_S: Final = 300.0
"""for reading a SQLite file"""
SQLITE: Final = b"SQLite format 3\0"
_CONSTRAINTS: Final = "constraints"
_READ: Final = ("fail_reason", "fixed_params", "failed_trial", "retry_history", _CONSTRAINTS)
"""system attributes of trials that have a place in the table"""
_METRIC_NAMES: Final = "study:metric_names"


def read_storage(source: str) -> tuple[TrialsTable, ...]:
    """All studies of a storage, or the one that ``#name`` names.

    Args:
        source: a SQLite file, a journal, or a URL as SQLAlchemy has them.

    Raises:
        UserError: there is no such study, or none at all.
        StorageError: the storage cannot be opened, or Optuna's version cannot read it.
    """
    import optuna

    place, wanted = places.split(source)
    secrets = secrets_in([place])
    called = masked(place, known=secrets)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        try:
            return _studies(place, called, wanted, as_it_is=True)
        except _Changed:
            return _studies(place, called, wanted, as_it_is=False)
    except (UserError, StorageError):
        raise
    except Exception as error:  # of SQLAlchemy, a driver, Alembic, or Optuna: a foreign file may break any of them
        # no 'from': a traceback would show the driver's words, which may hold a password
        raise StorageError(masked(_explained(called, error), known=secrets)) from None
    finally:
        optuna.logging.set_verbosity(verbosity)


class _Changed(Exception):
    """Somebody has begun to write into a database that was at rest."""


def _studies(place: str, called: str, wanted: str, *, as_it_is: bool) -> tuple[TrialsTable, ...]:
    """Args:
    as_it_is: read a database that nobody has open without a lock; raises _Changed if it did not stay so.
    """
    import optuna

    with _opened(place, called, as_it_is=as_it_is) as (storage, notes):
        names = [one.study_name for one in optuna.get_all_study_summaries(storage, include_best_trial=False)]
        if wanted and wanted not in names:
            close = nearest(wanted, names)
            meant = f"; did you mean '{close}'?" if close else f"; there are {listed(names)}"
            raise UserError(f"no study '{wanted}' in '{called}'{meant}")
        if not names:
            raise UserError(f"'{called}' is an Optuna storage without any study")
        chosen = [wanted] if wanted else names
        return tuple(_table(optuna.load_study(study_name=name, storage=storage), called, notes) for name in chosen)


@contextlib.contextmanager
def _opened(place: str, called: str, *, as_it_is: bool) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The storage, and what is to be told of how it was opened."""
    import optuna

    path = places.file_of(place)
    if path is None:
        if place.lower().startswith("sqlite"):
            raise UserError(f"'{called}' names no file: a database in memory is gone with the program that made it")
        yield from _database(place)
        return
    if not path.is_file():
        raise UserError(f"no Optuna storage '{path.absolute()}'")
    with path.open("rb") as file:
        head = file.read(32)
    if not head.startswith(SQLITE) and not places.is_url(place):
        yield optuna.storages.JournalStorage(_ReadOnlyJournal(path)), ()
        return
    if places.is_url(place) and not place.lower().startswith(("sqlite://", "sqlite+pysqlite://")):
        yield from _database(place)  # of a driver that may know how to read a file that is encrypted
        return
    with _sqlite(path, head, as_it_is=as_it_is) as (uri, notes):
        # connected here: between SQLAlchemy's URL and SQLite's own, a # or % in a path is decoded once too often
        connect = functools.partial(_connected, uri, called)
        for storage, _ in _database("sqlite:///", creator=connect):
            yield storage, notes


def _database(url: str, **engine: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    import optuna

    storage = optuna.storages.RDBStorage(url, engine_kwargs=engine or None, skip_table_creation=True)
    try:
        yield storage, ()
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connected(uri: str, called: str) -> sqlite3.Connection:
    """A connection that ends: a file may hold views, which are programs, in the place of Optuna's tables."""
    connection = sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)
    end = time.monotonic() + MOST_S
    connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
    connection.execute("PRAGMA trusted_schema = OFF")
    if views := connection.execute("SELECT name FROM sqlite_master WHERE type = 'view' LIMIT 1").fetchone():
        raise UserError(f"'{called}' is not a storage of Optuna's: it has a view, '{views[0]}'")
    return connection


@contextlib.contextmanager
def _sqlite(path: Path, head: bytes, *, as_it_is: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The URI by which SQLite reads a file without writing anything beside it.

    A database with a write-ahead log wants files for its readers beside it, and one whose writer was killed wants its
    last transaction undone. One that nobody has open is read as it is; where nothing can be written, one that is not at
    rest is read from a copy (https://www.sqlite.org/wal.html#read_only_databases).
    """
    path = path.resolve()
    uri = f"file:{urllib.parse.quote(str(path))}"
    is_wal = head[18:20] == b"\2\2"
    open_ends = [one for one in _beside(path, "-wal", "-journal") if one.stat().st_size]
    is_writable = os.access(path.parent, os.W_OK, effective_ids=True)
    if is_wal and not open_ends and (not is_writable or (as_it_is and not _beside(path, "-wal", "-shm"))):
        before = _stamp(path)
        try:
            yield f"{uri}?mode=ro&immutable=1", ()
        except Exception:
            if _stamp(path) == before or not is_writable:
                raise
        if is_writable and _stamp(path) != before:
            raise _Changed
    elif is_writable or not open_ends:
        yield f"{uri}?mode=ro", ()
    else:
        with tempfile.TemporaryDirectory(prefix="hpo-batch-") as folder:
            for one in (path, *open_ends):
                shutil.copyfile(one, Path(folder) / one.name)
            told = f"read from a copy, with '{open_ends[0].name}': its folder cannot be written to"
            yield f"file:{urllib.parse.quote(str(Path(folder) / path.name))}?mode=rw", (told,)


def _beside(path: Path, *ends: str) -> list[Path]:
    return [one for end in ends if (one := Path(f"{path}{end}")).is_file()]


def _stamp(path: Path) -> tuple[object, ...]:
    """Another one where somebody has written since, or has it open to write."""
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino, tuple(_beside(path, "-wal", "-shm"))


def _ReadOnlyJournal(path: Path) -> Any:  # noqa: N802 - stands for a class of Optuna's, which is imported late
    from optuna.storages.journal import BaseJournalBackend

    class Backend(BaseJournalBackend):
        """Whole lines of a journal; a torn last one is somebody's who writes at this moment."""

        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            found = []
            for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
                try:
                    found += [json.loads(line)] if line.strip() else []
                except ValueError as error:
                    raise StorageError(f"'{path}': line {number} is no record of a journal: {error}") from error
            return found[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            raise StorageError(f"'{path}' is only read")

    return Backend()


def _explained(place: str, error: Exception) -> str:
    text = " ".join(_chain(error).split())
    if "no longer compatible" in text or "storage upgrade" in text or "revision" in text:
        return (
            f"'{place}' was written by another version of Optuna: on a copy of it, 'optuna storage upgrade --storage "
            f"sqlite:///COPY' brings it up to this one (Optuna says: {text[:200]})"
        )
    if "interrupted" in text:
        return f"reading '{place}' took more than {MOST_S:g} s"
    if "no such table" in text or "not a database" in text:
        return f"'{place}' is a database, but not a storage of Optuna's ({text[:120]})"
    if "No module named" in text or "Can't load plugin" in text:
        return f"'{place}' needs a database driver that is not installed ({text[:120]})"
    return f"cannot read the Optuna storage '{place}': {text[:300]}"


def _chain(error: BaseException) -> str:
    """An error and what it came from, the innermost first: Optuna's own words hide what the database said."""
    texts: list[str] = []
    at: BaseException | None = error
    while at is not None and len(texts) < 10:
        texts.insert(0, str(at))
        at = at.__cause__ or at.__context__
    return "; ".join(dict.fromkeys(texts))


def _table(study: optuna.Study, source: str, notes: Sequence[str]) -> TrialsTable:
    trials = study.get_trials(deepcopy=False)
    directions = tuple(direction.name.lower() for direction in study.directions)
    if "not_set" in directions:
        raise UserError(f"the study '{study.study_name}' in '{source}' has no direction yet: it has no trials to read")
    several = len(directions) > 1
    told = list(notes)
    metrics = _metrics(study, several=several, told=told)
    states = [trial.state.name for trial in trials]
    columns: dict[str, Any] = {"number": [trial.number for trial in trials]}
    for i, metric in enumerate(metrics):
        columns[f"values_{metric}" if several else "value"] = [_value(trial, i) for trial in trials]
    columns["datetime_start"] = [_local(trial.datetime_start) for trial in trials]
    columns["datetime_complete"] = [_local(trial.datetime_complete) for trial in trials]
    spans = [_span(*both) for both in zip(columns["datetime_start"], columns["datetime_complete"], strict=True)]
    columns["duration"] = spans
    params = [_params(trial) for trial in trials]
    for name in _union(params):
        columns[f"params_{name}"] = [each.get(name) for each in params]
    for name in _union([trial.user_attrs for trial in trials]):
        columns[f"user_attrs_{name}"] = [_plain(trial.user_attrs.get(name)) for trial in trials]
    constraints = [_constraints(trial.system_attrs) for trial in trials]
    for name in _union(constraints):
        columns[f"constraints_{name}"] = [each.get(name) for each in constraints]
    if any(constraints):
        # as Optuna has it: who has none breaks none, and who cannot tell (NaN) does not keep it
        columns["feasible"] = [all(value <= 0 for value in each.values()) for each in constraints]
    columns["state"] = states
    nothing = [None] * len(trials)
    columns |= dict.fromkeys(("name", "set"), nothing)
    columns["note"] = [_retried(trial.system_attrs) for trial in trials]
    columns["origin"] = ["enqueued" if "fixed_params" in trial.system_attrs else "optuna" for trial in trials]
    columns["reason"] = nothing
    columns["message"] = [_plain(trial.system_attrs.get("fail_reason")) for trial in trials]
    if several:
        cells = [columns[f"values_{metric}"] for metric in metrics]
        able = [
            state if feasible else ""
            for state, feasible in zip(states, columns.get("feasible", [True] * len(trials)), strict=True)
        ]
        columns["front"] = front_of(cells, able, directions)
    columns |= dict.fromkeys(("seed", "attempts"), nothing)
    columns["seconds_total"] = spans
    columns |= dict.fromkeys(("node", "gpus", "job", "submission"), nothing)
    space, notes_of_space = from_distributions(
        _distributions(trials), {name: _seen(params, name) for name in _union(params)}
    )
    told += [f"space as its trials have it: {described(space)}", *notes_of_space]
    frame = frame_of(columns)
    told += _values_told(frame, metrics, several=several)
    told += _attributes_told(study, trials)
    reports = _reports(trials)
    odd = int((~reports["value"].map(_is_finite)).sum()) if len(reports) else 0
    told += [f"{odd} of {len(reports)} reported values are not finite: no analysis uses them"] if odd else []
    return TrialsTable(
        trials=frame,
        attempts=frame_of({name: [] for name in ATTEMPT_COLUMNS}),
        metrics=metrics,
        directions=directions,
        counts=Counts(
            target=len(trials),
            waiting=states.count("WAITING"),
            running=states.count("RUNNING"),
            complete=states.count("COMPLETE"),
            pruned=states.count("PRUNED"),
            failed=states.count("FAIL"),
        ),
        source=source,
        label=study.study_name,
        space=space,
        space_is_inferred=True,
        reports=reports,
        notes=tuple(told),
    )


def _metrics(study: optuna.Study, *, several: bool, told: list[str]) -> tuple[str, ...]:
    """Names of the objectives, each another: Optuna lets two have the same."""
    names = study.metric_names or (map(str, range(len(study.directions))) if several else ("value",))
    metrics: list[str] = []
    for name in names:
        new, times = name, 1
        while new in metrics:
            times += 1
            new = f"{name} ({times})"
        if new != name:
            told.append(f"two metrics are called '{name}': the later one is '{new}' here")
        metrics.append(new)
    return tuple(metrics)


def _params(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    return {name: _parameter(trial.distributions[name], value) for name, value in trial.params.items()}


def _parameter(distribution: Any, value: Any) -> Any:
    """A parameter's value as the space has it."""
    choices = getattr(distribution, "choices", None)
    if choices is None:
        return value
    # by type too: 1, 1.0 and true are equal to Python; and a NaN is not equal to itself
    place = next(
        (i for i, c in enumerate(choices) if type(c) is type(value) and (c == value or (c != c and value != value))),
        None,
    )
    return plain_choices(choices)[int(distribution.to_internal_repr(value)) if place is None else place]


def _distributions(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            facts = {"name": type(distribution).__name__, "attributes": distribution._asdict()}
            found.setdefault(name, {}).setdefault(repr(distribution), facts)
    return {name: list(several.values()) for name, several in found.items()}


def _seen(params: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    return [each[name] for each in params if name in each]


def _constraints(attrs: Mapping[str, Any]) -> dict[str, float]:
    """Constraints of a trial by name: as Optuna up to 4 stores them, in one list, and as newer ones do, one by one."""
    several = attrs.get(_CONSTRAINTS)
    found = {str(i): float(value) for i, value in enumerate(several or ())}
    start = f"{_CONSTRAINTS}:"
    return found | {name.removeprefix(start): float(value) for name, value in attrs.items() if name.startswith(start)}


def _retried(attrs: Mapping[str, Any]) -> str | None:
    """What Optuna's callback for failed trials notes."""
    return None if attrs.get("failed_trial") is None else f"retry of trial {attrs['failed_trial']}"


def _values_told(frame: Any, metrics: Sequence[str], *, several: bool) -> list[str]:
    told = []
    done = frame[(frame["state"] == "COMPLETE").to_numpy()]
    names = [f"values_{metric}" for metric in metrics] if several else ["value"]
    infinite = sum(not all(map(_is_finite, row)) for row in done[names].itertuples(index=False, name=None))
    if infinite:
        told.append(f"{infinite} of {len(done)} complete trials have a value that is not finite: no analysis uses them")
    if "feasible" in frame:
        broken = len(done) - int(candidates(done).sum())
        told.append(
            f"{broken} of {len(done)} complete trials break a constraint: never the best, and no analysis uses them"
        )
    return told


def _attributes_told(study: optuna.Study, trials: Sequence[optuna.trial.FrozenTrial]) -> list[str]:
    """What is stated and has no place in a table."""
    told = []
    if study.user_attrs:
        stated = [f"{name} = {shown(_plain(value))}" for name, value in study.user_attrs.items()]
        told.append(f"attributes of the study: {listed(stated)}")
    of_study = Counter(
        _kind(name) for name in study._storage.get_study_system_attrs(study._study_id) if name != _METRIC_NAMES
    )
    of_trials = Counter(kind for trial in trials for kind in {_kind(name) for name in trial.system_attrs})
    unread = [kind for kind in of_trials if kind not in _READ]
    if of_study or unread:
        left = listed(sorted({*of_study, *unread}))
        told.append(f"notes of samplers and other programs are not read: {left}")
    waiting = sum(trial.state.name == "WAITING" and "fixed_params" in trial.system_attrs for trial in trials)
    if waiting:
        told.append(
            f"{waiting} waiting trials have values that they were enqueued with, which are theirs once they run"
        )
    return told


def _kind(name: str) -> str:
    """``cma:optimizer:3`` is one of many ``cma:optimizer``; all constraints are one."""
    return name.partition(":")[0] if name.startswith(f"{_CONSTRAINTS}:") else name.rstrip("0123456789").rstrip(":")


def _reports(trials: Sequence[optuna.trial.FrozenTrial]) -> Any:
    rows = [(t.number, step, value) for t in trials for step, value in sorted(t.intermediate_values.items())]
    return frame_of({name: [row[i] for row in rows] for i, name in enumerate(REPORT_COLUMNS)})


def _value(trial: optuna.trial.FrozenTrial, index: int) -> float | None:
    if trial.state.name == "FAIL" or trial.values is None or index >= len(trial.values):
        return None
    return float(trial.values[index])


def _local(moment: datetime.datetime | None) -> datetime.datetime | None:
    """Times of a study are local ones, without a zone; somebody may have stored others beside them."""
    return moment if moment is None or moment.tzinfo is None else moment.astimezone().replace(tzinfo=None)


def _span(start: datetime.datetime | None, end: datetime.datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return json.dumps(value, default=str)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _union(mappings: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
