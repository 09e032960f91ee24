"""Folders of Ray Tune: an experiment with a folder for each trial, and in it a line for each report of the trial.

``params.json``, ``result.json`` (JSON lines) and ``progress.csv`` are written by Ray's own loggers
(https://docs.ray.io/en/latest/tune/tutorials/tune-output.html); ``experiment_state-*.json`` says how each trial ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import loads
from hpo_batch.text.names import listed

if TYPE_CHECKING:
    import pandas as pd

RESULTS: Final = ("result.json", "progress.csv")
_PARAMS: Final = ("params.json", "params.pkl")
_STEP: Final = "training_iteration"
_MOST_SHOWN: Final = 8


@dataclass(frozen=True, kw_only=True)
class Experiment:
    frame: pd.DataFrame
    """a row for each report, with ``trial_id``, ``training_iteration``, ``state`` and ``params_*``"""
    label: str
    notes: tuple[str, ...]


def experiment_of(path: Path) -> Path | None:
    """The folder of the experiment of which ``path`` is a file of one trial; None for any other file."""
    try:
        is_one = path.name in RESULTS and path.is_file() and any((path.parent / name).is_file() for name in _PARAMS)
    except (OSError, ValueError):
        return None
    return path.parent.absolute().parent if is_one else None


def read_experiments(folder: Path, *, files: Sequence[Path] = ()) -> list[Experiment]:
    """The experiment in a folder, or each of several in it.

    Args:
        folder: of an experiment, of one of its trials, or with experiments in it.
        files: results of trials, if only those are to be read.

    Raises:
        UserError: there is none; what else there is, is told.
        StorageError: it cannot be read.
    """
    try:
        if files:
            trials = list(dict.fromkeys(file.absolute().parent for file in files))
            return [_experiment(trials[0].parent, trials)]
        folder = folder.absolute()
        if _is_trial(folder):
            return [_experiment(folder.parent, [folder])]
        found = []
        for one in (folder, *_folders(folder)):
            trials = [each for each in _folders(one) if _is_trial(each)]
            if trials:
                found.append(_experiment(one, trials))
    except OSError as error:
        raise StorageError.because(f"cannot read '{error.filename or folder}'", error) from error
    if not found:
        raise UserError(_what_is_there(folder))
    return found


def _is_trial(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _PARAMS) and (
        any((folder / name).is_file() for name in RESULTS) or (folder / "error.txt").is_file()
    )


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))


def _experiment(folder: Path, trials: Sequence[Path]) -> Experiment:
    import pandas as pd

    from hpo_batch.sources.files import as_meant

    states, told = _states(folder)
    read = [(trial, _rows(trial)) for trial in trials]
    ends = any(rows and rows[-1].get("done") is True for _, rows in read)
    unknown = 0
    lines: list[dict[str, Any]] = []
    for trial, rows in read:
        id = str(rows[-1].get("trial_id", trial.name)) if rows else _id_in(trial.name, states)
        state = states.get(id)
        if (trial / "error.txt").is_file():
            state = "FAIL"
        elif state is None:
            # what has ended says so in its last line, if any trial does
            is_over = bool(rows) and (rows[-1].get("done") is True or not ends)
            state = "COMPLETE" if is_over else "RUNNING"
            unknown += 1
        params = {f"params_{name}": value for name, value in _params(trial, rows).items()}
        facts = {"trial_id": id, "name": id, "trial_dir": trial.name, "state": state, **params}
        own = [{name: value for name, value in row.items() if not name.startswith("params_")} for row in rows] or [{}]
        lines += [{**row, **facts} for row in own]
    names = list(dict.fromkeys(name for line in lines for name in line))
    frame = pd.DataFrame({name: as_meant([line.get(name) for line in lines]) for name in names})
    if _STEP not in frame:
        raise UserError(f"'{folder}': no trial in it has reported anything")
    frame = frame.drop(columns=[name for name in frame.columns if frame[name].isna().all()])
    notes = [f"a folder of Ray Tune with {len(trials)} trial{'' if len(trials) == 1 else 's'}", *told]
    if unknown and not ends:
        notes.append("no file says how the trials ended: counted as complete")
    elif unknown:
        notes.append("ended is what says 'done' in its last line; what does not counts as running")
    return Experiment(frame=frame, label=folder.name, notes=tuple(notes))


def _rows(trial: Path) -> list[dict[str, Any]]:
    """What a trial reported, line by line, with flat names; parameters as ``params_*``."""
    from hpo_batch.sources.files import flat, read_frame

    path = trial / "result.json"
    rows: list[dict[str, Any]] = []
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                row = loads(line) if line.strip() else None
            except ValueError as error:
                if number == len(lines):
                    break  # cut off, or being written
                raise UserError(f"'{path}': line {number} is not JSON: {error}") from error
            rows += [flat(row)] if isinstance(row, dict) else []
    table = trial / "progress.csv"
    if not rows and table.is_file() and table.stat().st_size:
        frame, _ = read_frame(table)
        frame = frame.astype(object).where(frame.notna(), None)
        marks = {str(name): f"params_{str(name).removeprefix('config/').replace('/', '.')}" for name in frame.columns
                 if str(name).startswith("config/")}  # fmt: skip
        rows = [
            {str(name): cell for name, cell in row.items()} for row in frame.rename(columns=marks).to_dict("records")
        ]
    return [row for row in rows if row.get(_STEP) is not None]


def _params(trial: Path, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The configuration, with flat names."""
    from hpo_batch.sources.files import flat

    path = trial / "params.json"
    if path.is_file():
        try:
            found = loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"'{path}' is not JSON: {error}") from error
        if isinstance(found, dict):
            return (
                {name.removeprefix("params_"): value for name, value in flat({"config": found}).items()}
                if found
                else {}
            )
    last = rows[-1] if rows else {}
    return {name.removeprefix("params_"): value for name, value in last.items() if name.startswith("params_")}


_STATUS: Final = {"TERMINATED": "COMPLETE", "ERROR": "FAIL", "RUNNING": "RUNNING", "PAUSED": "RUNNING",
                  "PENDING": "WAITING"}  # fmt: skip


def _states(folder: Path) -> tuple[dict[str, str], list[str]]:
    """How each trial ended, by its id, as the newest state of the experiment says; and what is to be told of it."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("experiment_state-*.json"), reverse=True)[:1]:
        try:
            content = loads(path.read_text(encoding="utf-8"))
            for facts in _trials_in(content):
                if facts.get("status") in _STATUS:
                    found[str(facts.get("trial_id"))] = _STATUS[facts["status"]]
        except (ValueError, TypeError, AttributeError) as error:
            return {}, [f"'{path.name}' cannot be read ({error}): how trials ended is told by their own files"]
    return found, []


def _trials_in(content: Any) -> Iterator[dict[str, Any]]:
    """The facts of each trial: JSON in JSON, beside its run's in newer versions."""
    for each in content.get("trial_data") or content.get("checkpoints") or ():
        facts = each[0] if isinstance(each, list) else each
        facts = loads(facts) if isinstance(facts, str) else facts
        if isinstance(facts, dict):
            yield facts


def _id_in(name: str, states: dict[str, str]) -> str:
    """The id of a trial that reported nothing: a part of its folder's name."""
    return next((id for id in states if id in name), name)


def _what_is_there(folder: Path) -> str:
    """A folder that is neither a study nor an experiment, with what can be done about it."""
    where = f"'{folder}' is a folder without a study and without trials of Ray Tune in it"
    if (folder / "mlruns").is_dir() or any(folder.glob("*/meta.yaml")) or (folder / "meta.yaml").is_file():
        return f"{where}: it is MLflow's; mlflow.search_runs(...).to_csv('runs.csv') writes a table of its runs"
    if any(folder.glob("run-*/files")) or any(folder.glob("offline-run-*")) or (folder / "wandb").is_dir():
        return f"{where}: it is of Weights & Biases; export the table of its runs as CSV"
    if (folder / "multirun.yaml").is_file() or any(folder.glob("*/.hydra")):
        return f"{where}: it is Hydra's, which stores no results; write them into one CSV file, a row for each run"
    kinds = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".db", ".sqlite", ".sqlite3", ".log")
    files = sorted(each.name for each in folder.iterdir() if each.suffix.lower() in kinds)
    if files:
        more = f" and {len(files) - _MOST_SHOWN} more" if len(files) > _MOST_SHOWN else ""
        return f"{where}; of its files each is a study of its own: {listed(files[:_MOST_SHOWN])}{more}"
    return f"{where}, nor any CSV, JSON, Parquet or SQLite file"
