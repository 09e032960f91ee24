"""The trials of a study as named columns of plain values. Decides their names and order for all tables.

Without pandas, so that the CSV of a whole study needs none. ``table`` turns them into frames.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo_batch.files import shown_json
from hpo_batch.journal.columns import trial_columns
from hpo_batch.journal.encode import DIRECTIONS
from hpo_batch.journal.pareto import front_of
from hpo_batch.journal.reader import JournalReader
from hpo_batch.journal.state import StudyTrials
from hpo_batch.records import USAGE

# as numbered in the journal
_DIRECTIONS = {number: name for name, number in DIRECTIONS.items()}


@dataclass(frozen=True, kw_only=True)
class StudyColumns:
    """A row for each trial of a study, by number."""

    columns: Mapping[str, list[Any]]
    """under the names of ``TrialsTable.trials``; times are local ``datetime``, durations seconds"""
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    seeds: Sequence[Sequence[int]]
    """of each trial; empty if unknown"""


def replayed(path: Path, *, reports: bool) -> StudyTrials:
    """A study's journal as tables need it, without what only workers need.

    Raises:
        StorageError: it holds no study, or cannot be read.
    """
    return JournalReader(path, StudyTrials(reports=reports)).read_study()


def study_columns(state: StudyTrials) -> StudyColumns:
    """The contents of a journal for each trial."""
    directions = tuple(_DIRECTIONS.get(d, "minimize") for d in state.directions)
    metrics = state.metrics or (("value",) if len(directions) == 1 else tuple(map(str, range(len(directions)))))
    found = trial_columns(state.trials, objectives=len(metrics))
    return StudyColumns(
        columns=_named(found, objectives=metrics, directions=directions),
        metrics=metrics,
        directions=directions,
        seeds=found["seeds"],
    )


def _named(
    found: Mapping[str, list[Any]], *, objectives: Sequence[str], directions: Sequence[str]
) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"number": found["number"]}
    for i, objective in enumerate(objectives):
        columns[f"values_{objective}" if len(objectives) > 1 else "value"] = found[f"value.{i}"]
    columns["datetime_start"] = found["started"]
    columns["datetime_complete"] = found["ended"]
    columns["duration"] = found["duration"]
    # Optuna's names: https://optuna.readthedocs.io/en/stable/reference/generated/optuna.study.Study.html
    for ours, theirs in (("params_", "params."), ("user_attrs_", "metrics.")):
        for name in found:
            if name.startswith(theirs):
                columns[ours + name.removeprefix(theirs)] = found[name]
    for name in ("state", "name", "set", "note", "origin", "reason", "message"):
        columns[name] = found[name]
    if len(objectives) > 1:
        values = [found[f"value.{i}"] for i in range(len(objectives))]
        columns["front"] = front_of(values, found["state"], directions)
    columns |= _replicates(found, objectives)
    columns["seed"] = [seeds[0] if seeds else None for seeds in found["seeds"]]
    for name in ("attempts", "seconds_total", "node", "gpus", "job", "submission", *(n for n in USAGE if n in found)):
        columns[name] = found[name]
    return columns


def _replicates(found: Mapping[str, list[Any]], objectives: Sequence[str]) -> dict[str, list[Any]]:
    """Columns that only studies with several seeds have, for each trial or for each configuration."""
    columns: dict[str, list[Any]] = {}
    if any(number is not None for number in found["replicate_of"]):
        columns["replicate_of"] = found["replicate_of"]
    if all(len(seeds) < 2 for seeds in found["seeds"]):
        return columns
    columns["n_seeds"] = [len(each) or None for each in found["replicates"]]
    columns["seeds"] = [json.dumps(seeds) for seeds in found["seeds"]]
    for objective in objectives:
        name = f"values_{objective}" if len(objectives) > 1 else "value"
        values = [[seed[objective] for seed in each if objective in seed] for each in found["replicates"]]
        columns[f"{name}_std"] = [statistics.stdev(each) if len(each) > 1 else None for each in values]
        columns[f"{name}_by_seed"] = [shown_json(each, indent=None) if each else None for each in values]
    return columns
