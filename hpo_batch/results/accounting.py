"""What SLURM's accounts say of the attempts: elapsed time, GPUs, queue wait. One sacct for all studies together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from hpo_batch.errors import HpoBatchError
from hpo_batch.results.table import TrialsTable
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions

COLUMNS = ("elapsed_s", "gpu_count", "gpu_hours", "queue_wait_s", "job_state", "exit_code")
"""what is added to ``TrialsTable.attempts``"""
SLACK_S = 5.0
"""clocks of nodes and of SLURM's controller may differ by so much"""


def with_accounting(tables: Sequence[TrialsTable], homes: Sequence[StudyHome | None]) -> list[TrialsTable]:
    """The tables with ``COLUMNS`` in their attempts; a note where SLURM could not be asked.

    Args:
        homes: where each table comes from; None for files.
    """
    ids = dict.fromkeys(
        id
        for home in homes
        if home is not None
        for submission in read_submissions(home)
        if submission.kind == "slurm"
        for id in submission.job_ids
    )
    rows: Mapping[ArrayTask, Sequence[AccountingRow]] = {}
    note = ""
    if ids:
        try:
            known = BATCH.accounts(ids)
            note = "this site keeps no accounts" if known is None else ""
            rows = known or {}
        except HpoBatchError as error:
            note = str(error)
    found = []
    for table, home in zip(tables, homes, strict=True):
        told = (f"elapsed times and GPU hours come from the journal alone: {note}",) if note and home else ()
        found.append(replace(table, attempts=join(table.attempts, rows), notes=(*table.notes, *told)))
    return found


def join(attempts: pd.DataFrame, rows: Mapping[ArrayTask, Sequence[AccountingRow]]) -> pd.DataFrame:
    """Attempts with ``COLUMNS``. A run of a task may hold several attempts: each has its own part of the run's time."""
    facts = [_facts(attempt, rows) for attempt in attempts.to_dict("records")]
    added = {name: [fact[i] for fact in facts] for i, name in enumerate(COLUMNS)}
    types: dict[str, Any] = {"exit_code": "Int64", "job_state": object}
    series = {
        name: pd.Series(cells, dtype=types.get(name, "float64"), index=attempts.index) for name, cells in added.items()
    }
    return attempts.assign(**series)


def _facts(attempt: Mapping[Any, Any], rows: Mapping[ArrayTask, Sequence[AccountingRow]]) -> tuple[Any, ...]:
    """Elapsed seconds, GPUs, GPU hours, queue wait of its run, state and exit code of its run."""
    started = attempt["started"]
    began = None if started is None or pd.isna(started) else pd.Timestamp(started).to_pydatetime().timestamp()
    run = None if began is None else _run(str(attempt["job"]), began, rows)
    gpus = attempt["gpus"]
    told = attempt.get("gpu_count")
    count = None if told is None or pd.isna(told) else float(told)  # of its worker: the task may hold several
    if not count:
        count = len(str(gpus).split(",")) if gpus and not pd.isna(gpus) else None
    if count is None and run is not None:
        count = run.gpus
    elapsed = None if pd.isna(attempt["seconds"]) else float(attempt["seconds"])
    if elapsed is None and run is not None and run.ended is not None and began is not None:
        elapsed = max(0.0, run.ended - began)  # killed: it could not write its own end
    hours = None if elapsed is None or count is None else elapsed * count / 3600
    wait = None if run is None or run.submitted is None or run.started is None else run.started - run.submitted
    return elapsed, count, hours, wait, None if run is None else run.word, None if run is None else run.exit_code


def _run(job: str, began: float, rows: Mapping[ArrayTask, Sequence[AccountingRow]]) -> AccountingRow | None:
    """The run of the task in which an attempt began: a requeued task has several."""
    try:
        task = ArrayTask.parse(job)
    except ValueError:
        return None  # a worker on this machine
    for row in reversed(rows.get(task, ())):
        if row.started is not None and row.started - SLACK_S <= began:
            return row
    return None
