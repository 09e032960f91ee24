"""Read Ray Tune folders: an experiment has a folder per trial, which has a line per report of the trial.

``params.json``, ``result.json`` (JSON lines) and ``progress.csv`` are written by Ray's own loggers
(https://docs.ray.io/en/latest/tune/tutorials/tune-output.html); ``experiment_state-*.json`` says how each trial ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import loads
from hpo_batch.sources import csv
from hpo_batch.sources.cells import column_of_json
from hpo_batch.sources.nested import flat
from hpo_batch.sources.place import Place, is_url
from hpo_batch.sources.source import RawTable, Request, Source
from hpo_batch.sources.table_file import read_file
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count

RESULTS: Final = ("result.json", "progress.csv")
_PARAMS: Final = ("params.json", "params.pkl")
_STEP: Final = "training_iteration"
_MOST_SHOWN: Final = 8


def experiment_of(path: Path) -> Path | None:
    """The folder of the experiment of which ``path`` is a file of one trial; None for any other file."""
    try:
        is_one = path.name in RESULTS and path.is_file() and any((path.parent / name).is_file() for name in _PARAMS)
    except (OSError, ValueError):
        return None
    return path.parent.absolute().parent if is_one else None


def read_experiments(folder: Path, *, files: Sequence[Path] = ()) -> list[RawTable]:
    """The experiment in a folder, or each of several in it: a row for each report of a trial.

    Columns are ``trial_id``, ``training_iteration``, ``state``, ``params_*`` and what the trials reported.

    Args:
        folder: an experiment, one of its trials, or a folder of experiments.
        files: result files of trials; if given, only those are read.

    Raises:
        UserError: there is no experiment; the message says what the folder is instead.
        StorageError: it cannot be read.
    """
    try:
        if files:
            trials = list(dict.fromkeys(file.absolute().parent for file in files))
            return [_experiment(trials[0].parent, trials)]
        folder = folder.absolute()
        if _is_trial(folder):
            return [_experiment(folder.parent, [folder])]
        experiments = []
        for place in (folder, *_folders(folder)):
            trials = [each for each in _folders(place) if _is_trial(each)]
            if trials:
                experiments.append(_experiment(place, trials))
    except OSError as error:
        raise StorageError.because(f"cannot read '{error.filename or folder}'", error) from error
    if not experiments:
        raise UserError(_what_is_there(folder))
    return experiments


def _is_trial(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _PARAMS) and (
        any((folder / name).is_file() for name in RESULTS) or (folder / "error.txt").is_file()
    )


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))


def _experiment(folder: Path, trials: Sequence[Path]) -> RawTable:
    states, notes = _states(folder)
    reports = [(trial, _reports(trial)) for trial in trials]
    says_done = any(rows and rows[-1].get("done") is True for _, rows in reports)
    without_state = 0
    lines: list[dict[str, Any]] = []
    for trial, rows in reports:
        id = str(rows[-1].get("trial_id", trial.name)) if rows else _id_in(trial.name, states)
        without_state += id not in states and not _has_failed(trial)
        state = _state(trial, rows, states.get(id), says_done=says_done)
        facts = {"trial_id": id, "name": id, "trial_dir": trial.name, "state": state, **_params(trial, rows)}
        # a trial without reports is a row too: it may have failed before the first one
        own = [{name: cell for name, cell in row.items() if not name.startswith("params_")} for row in rows] or [{}]
        lines += [{**row, **facts} for row in own]
    names = list(dict.fromkeys(name for line in lines for name in line))
    frame = pd.DataFrame({name: column_of_json([line.get(name) for line in lines]) for name in names})
    if _STEP not in frame:
        raise UserError(f"'{folder}': no trial in it has reported anything")
    frame = frame.drop(columns=[name for name in frame.columns if frame[name].isna().all()])
    notes = [f"a Ray Tune folder with {count(len(trials), 'trial', 'trials')}", *notes]
    if without_state and not says_done:
        notes.append("no file says how the trials ended: counted as complete")
    elif without_state:
        notes.append("trials whose last line says 'done' are complete, the others are running")
    return RawTable(frame=frame, label=folder.name, notes=tuple(notes))


def _has_failed(trial: Path) -> bool:
    return (trial / "error.txt").is_file()


def _state(trial: Path, rows: Sequence[Mapping[str, Any]], recorded: str | None, *, says_done: bool) -> str:
    """How a trial ended.

    Args:
        rows: its reports.
        recorded: the state that the experiment recorded for it, if any.
        says_done: some trial of the experiment has ``done`` in its last line; then all ended trials do.
    """
    if _has_failed(trial):
        return "FAIL"
    if recorded is not None:
        return recorded
    return "COMPLETE" if rows and (rows[-1].get("done") is True or not says_done) else "RUNNING"


def _reports(trial: Path) -> list[dict[str, Any]]:
    """What a trial reported, one row per report, with flat names; parameters are ``params_*``."""
    rows = _json_lines(trial / "result.json")
    table = trial / "progress.csv"
    if not rows and table.is_file() and table.stat().st_size:
        frame = read_file(table, csv.parse, Request()).frame
        frame = frame.astype(object).where(frame.notna(), None)
        rows = [{_flat_name(str(name)): cell for name, cell in row.items()} for row in frame.to_dict("records")]
    return [row for row in rows if row.get(_STEP) is not None]


def _flat_name(column: str) -> str:
    """``config/lr`` of ``progress.csv`` as ``params_lr``."""
    return f"params_{column.removeprefix('config/').replace('/', '.')}" if column.startswith("config/") else column


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = loads(line) if line.strip() else None
        except ValueError as error:
            if number == len(lines):
                break  # incomplete: just being written, or its writer was killed
            raise UserError(f"'{path}': line {number} is not JSON: {error}") from error
        rows += [flat(row)] if isinstance(row, dict) else []
    return rows


def _params(trial: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The configuration as ``params_*``, of ``params.json`` or else of the last report."""
    path = trial / "params.json"
    if path.is_file():
        try:
            config = loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"'{path}' is not JSON: {error}") from error
        if isinstance(config, dict):
            return flat({"config": config}) if config else {}
    return {name: value for name, value in (rows[-1] if rows else {}).items() if name.startswith("params_")}


_STATUS: Final = {"TERMINATED": "COMPLETE", "ERROR": "FAIL", "RUNNING": "RUNNING", "PAUSED": "RUNNING",
                  "PENDING": "WAITING"}  # fmt: skip


def _states(folder: Path) -> tuple[dict[str, str], list[str]]:
    """How each trial ended, by id, according to the newest state file of the experiment; and notes."""
    states: dict[str, str] = {}
    # their names end in the time of the run; a resumed experiment writes another file
    for path in sorted(folder.glob("experiment_state-*.json"), reverse=True)[:1]:
        try:
            content = loads(path.read_text(encoding="utf-8"))
            for facts in _trials_in(content):
                if facts.get("status") in _STATUS:
                    states[str(facts.get("trial_id"))] = _STATUS[facts["status"]]
        except (ValueError, TypeError, AttributeError) as error:
            return {}, [f"'{path.name}' cannot be read ({error}): states are taken from the trials' own files"]
    return states, []


def _trials_in(content: Any) -> Iterator[dict[str, Any]]:
    """The facts of each trial: JSON text within JSON; newer versions of Ray write a list of two, trial and run."""
    for each in content.get("trial_data") or content.get("checkpoints") or ():
        facts = each[0] if isinstance(each, list) else each
        facts = loads(facts) if isinstance(facts, str) else facts
        if isinstance(facts, dict):
            yield facts


def _id_in(name: str, states: dict[str, str]) -> str:
    """The id of a trial that reported nothing: its folder's name contains it."""
    return next((id for id in states if id in name), name)


def _what_is_there(folder: Path) -> str:
    """A message for a folder that is neither a study nor an experiment: what it is, and what to do."""
    where = f"'{folder}' contains neither a study nor Ray Tune trials"
    if (folder / "mlruns").is_dir() or any(folder.glob("*/meta.yaml")) or (folder / "meta.yaml").is_file():
        return f"{where}: it is an MLflow folder; mlflow.search_runs(...).to_csv('runs.csv') writes a table of its runs"
    if any(folder.glob("run-*/files")) or any(folder.glob("offline-run-*")) or (folder / "wandb").is_dir():
        return f"{where}: it is a Weights & Biases folder; export the table of its runs as CSV"
    if (folder / "multirun.yaml").is_file() or any(folder.glob("*/.hydra")):
        return f"{where}: it is a Hydra folder, which stores no results; write them into one CSV file, a row per run"
    kinds = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".db", ".sqlite", ".sqlite3", ".log")
    files = sorted(each.name for each in folder.iterdir() if each.suffix.lower() in kinds)
    if files:
        more = f" and {len(files) - _MOST_SHOWN} more" if len(files) > _MOST_SHOWN else ""
        return f"{where}; each of these files is a study of its own: {listed(files[:_MOST_SHOWN])}{more}"
    return f"{where}, nor any CSV, JSON, Parquet or SQLite file"


def _knows(place: Place) -> bool:
    return place.is_folder or (place.is_plain_file and experiment_of(Path(place.text)) is not None)


def _read(place: Place, request: Request) -> list[RawTable]:
    return read_experiments(Path(place.text), files=() if place.is_folder else place.files)


def _group(source: str) -> str | None:
    """Result files of trials of one experiment are one table."""
    experiment = None if is_url(source) else experiment_of(Path(source))
    return None if experiment is None else str(experiment)


SOURCE: Final = Source(kind="a Ray Tune experiment", knows=_knows, read=_read, group=_group)
