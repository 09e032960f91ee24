"""Studies in any storage of Optuna's, read by Optuna itself: SQLite files, database URLs, journals of several studies.

Nothing is written: a SQLite file is opened read-only, tables are not made, schemas not upgraded.
"""

from __future__ import annotations

import datetime
import json
import math
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo_batch.errors import StorageError, UserError
from hpo_batch.records import Counts
from hpo_batch.results.infer import described, from_distributions
from hpo_batch.results.table import ATTEMPT_COLUMNS, REPORT_COLUMNS, TrialsTable, frame_of, front_of
from hpo_batch.space.words import listed, nearest

if TYPE_CHECKING:
    import optuna


def read_storage(source: str) -> tuple[TrialsTable, ...]:
    """All studies of a storage, or the one that ``#name`` names.

    Args:
        source: a SQLite file, a journal, or a URL as SQLAlchemy has them.

    Raises:
        UserError: there is no such study, or none at all.
        StorageError: the storage cannot be opened, or Optuna's version cannot read it.
    """
    import optuna

    place, _, wanted = source.partition("#")
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = _open(place)
        names = [summary.study_name for summary in optuna.get_all_study_summaries(storage, include_best_trial=False)]
        if wanted and wanted not in names:
            close = nearest(wanted, names)
            meant = f"; did you mean '{close}'?" if close else f"; there are {listed(names)}"
            raise UserError(f"no study '{wanted}' in '{place}'{meant}")
        if not names:
            raise UserError(f"'{place}' is an Optuna storage without any study")
        chosen = [wanted] if wanted else names
        return tuple(_table(optuna.load_study(study_name=name, storage=storage), place) for name in chosen)
    except (UserError, StorageError):
        raise
    except Exception as error:  # of SQLAlchemy, a driver, Alembic, or Optuna: a foreign file may break any of them
        raise StorageError(_explained(place, error)) from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def _open(place: str) -> Any:
    import optuna

    path = Path(place.removeprefix("sqlite:///"))
    if "://" not in place or place.startswith("sqlite:///"):
        if not path.is_file():
            raise UserError(f"no Optuna storage '{path.absolute()}'")
        with path.open("rb") as file:
            is_sqlite = file.read(16) == b"SQLite format 3\0"
        if not is_sqlite and "://" not in place:
            return optuna.storages.JournalStorage(_ReadOnlyJournal(str(path)))
        # a reader makes neither tables nor a write-ahead log, and may look at a file that it may not write
        place = f"sqlite:///file:{urllib.parse.quote(str(path.absolute()))}?mode=ro&uri=true"
    return optuna.storages.RDBStorage(place, skip_table_creation=True)


def _ReadOnlyJournal(path: str) -> Any:  # noqa: N802 - stands for a class of Optuna's, which is imported late
    from optuna.storages.journal import BaseJournalBackend

    class Backend(BaseJournalBackend):
        """Whole lines of a journal; a torn last one is somebody's who writes at this moment."""

        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            lines = Path(path).read_bytes().split(b"\n")[:-1]
            return [json.loads(line) for line in lines if line.strip()][log_number_from:]

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


def _table(study: optuna.Study, source: str) -> TrialsTable:
    trials = study.get_trials(deepcopy=False)
    directions = tuple(direction.name.lower() for direction in study.directions)
    if "not_set" in directions:
        raise UserError(f"the study '{study.study_name}' in '{source}' has no direction yet: it has no trials to read")
    several = len(directions) > 1
    metrics = tuple(study.metric_names or (map(str, range(len(directions))) if several else ("value",)))
    columns: dict[str, Any] = {"number": [trial.number for trial in trials]}
    for i, metric in enumerate(metrics):
        columns[f"values_{metric}" if several else "value"] = [_value(trial, i) for trial in trials]
    columns["datetime_start"] = [trial.datetime_start for trial in trials]
    columns["datetime_complete"] = [trial.datetime_complete for trial in trials]
    spans = [_span(trial.datetime_start, trial.datetime_complete) for trial in trials]
    columns["duration"] = spans
    for name in _union([trial.params for trial in trials]):
        columns[f"params_{name}"] = [_plain(trial.params.get(name)) for trial in trials]
    for name in _union([trial.user_attrs for trial in trials]):
        columns[f"user_attrs_{name}"] = [_plain(trial.user_attrs.get(name)) for trial in trials]
    columns["state"] = [trial.state.name for trial in trials]
    nothing = [None] * len(trials)
    for name in ("name", "set", "note", "origin", "reason"):
        columns[name] = nothing
    columns["message"] = [trial.system_attrs.get("fail_reason") for trial in trials]
    if several:
        cells = [columns[f"values_{metric}"] for metric in metrics]
        columns["front"] = front_of(cells, columns["state"], directions)
    columns |= dict.fromkeys(("seed", "attempts"), nothing)
    columns["seconds_total"] = spans
    columns |= dict.fromkeys(("node", "gpus", "job", "submission"), nothing)
    distributions: dict[str, dict[Any, dict[str, Any]]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            facts = {"name": type(distribution).__name__, "attributes": distribution._asdict()}
            distributions.setdefault(name, {})[repr(distribution)] = facts
    space = from_distributions({name: tuple(several.values()) for name, several in distributions.items()})
    states = [trial.state.name for trial in trials]
    return TrialsTable(
        trials=frame_of(columns),
        attempts=_empty(ATTEMPT_COLUMNS),
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
        reports=_reports(trials),
        notes=(f"space as its trials have it: {described(space)}",),
    )


def _reports(trials: Sequence[optuna.trial.FrozenTrial]) -> Any:
    rows = [(t.number, step, value) for t in trials for step, value in sorted(t.intermediate_values.items())]
    return frame_of({name: [row[i] for row in rows] for i, name in enumerate(REPORT_COLUMNS)})


def _empty(columns: Sequence[str]) -> Any:
    return frame_of({name: [] for name in columns})


def _value(trial: optuna.trial.FrozenTrial, index: int) -> float | None:
    if trial.state.name == "FAIL" or trial.values is None or index >= len(trial.values):
        return None
    return float(trial.values[index])


def _span(start: datetime.datetime | None, end: datetime.datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return json.dumps(value, default=str)


def _union(mappings: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
