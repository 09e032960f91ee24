"""Add SLURM's accounting to attempts: elapsed time, GPUs, queue wait. One sacct for all studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from hpo_batch.errors import HpoBatchError
from hpo_batch.results.cells import is_empty
from hpo_batch.results.table import TrialsTable
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions

# columns added to ``TrialsTable.attempts``
COLUMNS = ("elapsed_s", "gpu_count", "gpu_hours", "queue_wait_s", "job_state", "exit_code")
# tolerated clock difference between nodes and SLURM's controller, in seconds; NTP keeps it far below that
SLACK_S = 5.0


def with_accounting(tables: Sequence[TrialsTable]) -> list[TrialsTable]:
    """The tables with ``COLUMNS`` in their attempts; a note where SLURM could not be asked."""
    submissions = (
        submission
        for table in tables
        if table.home is not None
        for submission in read_submissions(StudyHome(path=table.home, name=table.source))
    )
    # each once and in order: copies of a study have the same submissions
    ids = dict.fromkeys(id for submission in submissions if submission.is_batch for id in submission.job_ids)
    rows: Mapping[ArrayTask, Sequence[AccountingRow]] = {}
    why_not = ""
    if ids:
        try:
            accounts = BATCH.accounts(ids)
            why_not = "this site keeps no accounts" if accounts is None else ""
            rows = accounts or {}
        except HpoBatchError as error:
            why_not = str(error)
    joined = []
    for table in tables:
        notes = table.notes
        if why_not and table.home is not None:
            notes = (*notes, f"elapsed times and GPU hours come from the journal alone: {why_not}")
        joined.append(replace(table, attempts=join(table.attempts, rows), notes=notes))
    return joined


def join(attempts: pd.DataFrame, rows: Mapping[ArrayTask, Sequence[AccountingRow]]) -> pd.DataFrame:
    """Attempts with ``COLUMNS``.

    Several attempts may have run in one run of a task, so their times come from the attempts, not from the run.
    """
    runs = [_run(attempt, rows) for attempt in attempts.to_dict("records")]
    held = gpus_held(attempts)
    elapsed = attempts["seconds"].astype("float64")
    added: dict[str, list[Any]] = {
        "elapsed_s": [_elapsed(*each) for each in zip(elapsed, attempts["started"], runs, strict=True)],
        "gpu_count": [
            (None if run is None else run.gpus) if is_empty(gpus) else gpus
            for gpus, run in zip(held, runs, strict=True)
        ],
        "queue_wait_s": [_queue_wait(run) for run in runs],
        "job_state": [None if run is None else run.word for run in runs],
        "exit_code": [None if run is None else run.exit_code for run in runs],
    }
    types: dict[str, Any] = {"exit_code": "Int64", "job_state": object}
    series = {
        name: pd.Series(cells, dtype=types.get(name, "float64"), index=attempts.index) for name, cells in added.items()
    }
    series["gpu_hours"] = gpu_hours(series["elapsed_s"], series["gpu_count"])
    return attempts.assign(**{name: series[name] for name in COLUMNS})


def gpus_held(attempts: pd.DataFrame) -> pd.Series[float]:
    """How many GPUs the worker of each attempt held; NaN if it is not known.

    1/k of a GPU that k workers shared. Attempts of other tools may only list which GPUs they had.
    """
    names = attempts["gpus"] if "gpus" in attempts else pd.Series("", index=attempts.index)
    names = names.fillna("").astype(str)
    listed = names.map(lambda text: sum(bool(name) for name in text.split(","))).astype("float64")
    counted = attempts["gpu_count"] if "gpu_count" in attempts else pd.Series(0.0, index=attempts.index)
    counted = counted.astype("float64").fillna(0.0)
    held = counted.where(counted > 0, listed)
    return held.where(held > 0)


def gpu_hours(seconds: pd.Series[float], gpus: pd.Series[float]) -> pd.Series[float]:
    """GPU hours of each attempt. As SLURM charges them: a GPU that is allocated but idle counts too."""
    return seconds * gpus / 3600


def _elapsed(seconds: float, started: Any, run: AccountingRow | None) -> float | None:
    """Seconds of an attempt. One that was killed could not record its end, but SLURM knows the end of its run."""
    if not is_empty(seconds):
        return seconds
    began = _timestamp(started)
    return None if run is None or run.ended is None or began is None else max(0.0, run.ended - began)


def _queue_wait(run: AccountingRow | None) -> float | None:
    return None if run is None or run.submitted is None or run.started is None else run.started - run.submitted


def _timestamp(moment: Any) -> float | None:
    """Seconds since the epoch of a local time."""
    return None if is_empty(moment) else pd.Timestamp(moment).to_pydatetime().timestamp()


def _run(attempt: Mapping[Any, Any], rows: Mapping[ArrayTask, Sequence[AccountingRow]]) -> AccountingRow | None:
    """The run of the task in which an attempt began: a requeued task has several."""
    began = _timestamp(attempt["started"])
    try:
        task = ArrayTask.parse(str(attempt["job"]))
    except ValueError:
        return None  # a worker on this machine
    if began is None:
        return None
    # from the last run back: the first that had started by then is the one
    for row in reversed(rows.get(task, ())):
        if row.started is not None and row.started - SLACK_S <= began:
            return row
    return None
