"""One row per trial, under Optuna's column names, and one row per attempt. Failed trials are rows without a value."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hpo_batch.journal.columns import attempt_columns
from hpo_batch.journal.pareto import front_of as front_of
from hpo_batch.journal.state import StudyTrials
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import USAGE, Counts, Value
from hpo_batch.results.study_columns import study_columns
from hpo_batch.space.space import Space

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Sweep

ATTEMPT_COLUMNS = (
    "number",
    "attempt",
    "how",
    "started",
    "ended",
    "seconds",
    "node",
    "gpus",
    "gpu_count",
    "job",
    "submission",
    "fused",
    *USAGE,
)
REPORT_COLUMNS = ("number", "step", "value")

# pandas stores durations as nanoseconds in 64 bits: 2^63 ns are 9.22e9 s
MOST_SECONDS = 9e9


@dataclass(frozen=True, kw_only=True)
class TrialsTable:
    """The trials of one study."""

    trials: pd.DataFrame
    """``number value datetime_start datetime_complete duration params_* user_attrs_* state`` as Optuna has them, then
    ``name set origin reason message seed attempts seconds_total node gpus job submission``, and the fields of
    ``records.Usage`` that were measured; with several metrics ``front``, whether it is on the Pareto front; with
    several seeds ``n_seeds``, ``value_std`` and, as JSON lists, ``seeds`` and ``value_by_seed``; with repeats
    ``replicate_of``; with constraints of Optuna's ``constraints_*`` and ``feasible``, whether all of them are kept"""
    attempts: pd.DataFrame
    """``number attempt how started ended seconds node gpus gpu_count job submission fused``, then the fields of
    ``records.Usage``; the count is the GPUs that its worker held: those of all its ranks, on all nodes; 1/k of a GPU
    shared by k workers, or by k trials that one worker trained together, which is also in ``fused``"""
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    counts: Counts
    source: str
    """origin: a study's name, a path, a storage's URL"""
    home: Path | None = None
    """the study's directory; None if it is not a study of hpo-batch"""
    label: str = ""
    """short name in reports, unique among the tables of a call"""
    space: Space | None = None
    space_is_inferred: bool = False
    """the space consists of the values seen; values that were never tried are missing"""
    baseline: Mapping[str, Value] | None = None
    budget: str | None = None
    seeds: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """by trial number, for files whose column of seeds is not called ``seed``"""
    sweep: Sweep | None = None
    """frozen with the study, or given beside a file"""
    reports: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(REPORT_COLUMNS)))
    """``number step value``: the objective's metric as the trials reported it; empty if not read"""
    left_out: tuple[str, ...] = ()
    """in the first table of a call: sources that could not be read, and why"""
    notes: tuple[str, ...] = ()
    """assumptions made while reading, one sentence each"""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters that have a column, in its order."""
        return tuple(str(c).removeprefix("params_") for c in self.trials.columns if str(c).startswith("params_"))

    @property
    def value_columns(self) -> tuple[str, ...]:
        """One for each metric: ``value``, or ``values_<metric>`` where there are several."""
        return ("value",) if len(self.metrics) == 1 else tuple(f"values_{metric}" for metric in self.metrics)

    def best_first(self, top: int | None = None) -> pd.DataFrame:
        """Complete trials from the best to the worst, then those that break a constraint, pruned ones, the rest.

        With several metrics, the Pareto front comes first, ordered by the first metric.
        """
        rank = {"COMPLETE": 1, "PRUNED": 2}
        # numbers, because pandas would sort the states by name
        ranks = self.trials["state"].map(lambda state: rank.get(state, 3)).astype("int64")
        frame = self.trials.assign(_rank=ranks.where(~candidates(self.trials), 0))
        several = len(self.metrics) > 1
        by = ["_rank", *(["front", self.value_columns[0]] if several else ["value"]), "number"]
        ascending = [True, *([False] if several else []), self.directions[0] == "minimize", True]
        ordered = frame.sort_values(by, ascending=ascending, kind="stable").drop(columns="_rank")
        return ordered if top is None else ordered.head(top)


def candidates(frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which trials may be the best: complete ones that break no constraint of their study."""
    done = (frame["state"] == "COMPLETE").to_numpy(dtype=bool)
    return done & frame["feasible"].to_numpy(dtype=bool) if "feasible" in frame.columns else done


def trials_table(state: StudyTrials, *, source: str, attempts: bool = True) -> TrialsTable:
    """The table of a study's journal.

    Args:
        attempts: whether to fill in the table of attempts; it is empty otherwise.
    """
    study = study_columns(state)
    # one column after the other, and each list of Python objects is freed once its array exists: with 100,000 trials
    # the lists take more memory than the result
    metrics, directions, columns = study.metrics, study.directions, dict(study.columns)
    del study
    trials = _frame_of((name, columns.pop(name)) for name in list(columns))
    return TrialsTable(
        trials=trials,
        attempts=_attempts_frame(state.trials) if attempts else frame_of({name: [] for name in ATTEMPT_COLUMNS}),
        metrics=metrics,
        directions=directions,
        counts=state.counts(),
        source=source,
        label=source,
        reports=_reports_frame(state.trials),
    )


def frame_of(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Columns of plain values as a frame: integers stay integers next to empty cells, times and durations are typed."""
    return _frame_of(columns.items())


def _frame_of(columns: Iterable[tuple[str, Sequence[Any]]]) -> pd.DataFrame:
    series = {name: pd.Series(values, dtype=_dtype(values)) for name, values in columns}
    frame = pd.DataFrame(series, copy=False)
    for name in ("datetime_start", "datetime_complete"):
        if name in frame:
            frame[name] = pd.to_datetime(frame[name], errors="coerce")
    if "duration" in frame:
        frame["duration"] = spans_of(frame["duration"])
    return frame


def spans_of(seconds: pd.Series[Any]) -> pd.Series[Any]:
    """Seconds as durations; missing if not a number, or longer than pandas can store (292 years)."""
    numbers = pd.to_numeric(seconds, errors="coerce")
    spans: pd.Series[Any] = pd.to_timedelta(numbers.where(numbers.abs() < MOST_SECONDS), unit="s")
    return spans


def _attempts_frame(trials: Sequence[ScannedTrial]) -> pd.DataFrame:
    columns = attempt_columns(trials)
    for name in ("started", "ended"):
        columns[name] = [_time(seconds) for seconds in columns[name]]
    return pd.DataFrame({name: columns[name] for name in ATTEMPT_COLUMNS})


def _reports_frame(trials: Sequence[ScannedTrial]) -> pd.DataFrame:
    """By number, then step. A large study has a million reports, so the arrays are built without lists."""
    counts = [len(trial.decoded_steps) for trial in trials]
    total = sum(counts)
    if not total:
        return pd.DataFrame(columns=list(REPORT_COLUMNS))
    try:
        numbers = np.repeat(np.fromiter((trial.number for trial in trials), np.int64, len(trials)), counts)
        steps = np.fromiter(itertools.chain.from_iterable(trial.decoded_steps for trial in trials), np.int64, total)
        values = np.fromiter(
            itertools.chain.from_iterable(trial.decoded_steps.values() for trial in trials), np.float64, total
        )
    except (OverflowError, TypeError):  # a step, or a null, that only another tool can have written
        rows = [
            (trial.number, step, trial.decoded_steps[step]) for trial in trials for step in sorted(trial.decoded_steps)
        ]
        return pd.DataFrame(rows, columns=list(REPORT_COLUMNS))
    # usually they are in order, and sorting a million rows takes longer than this check
    if bool(((numbers[1:] == numbers[:-1]) & (steps[1:] < steps[:-1])).any()):
        order = np.lexsort((steps, numbers))
        numbers, steps, values = numbers[order], steps[order], values[order]
    return pd.DataFrame(dict(zip(REPORT_COLUMNS, (numbers, steps, values), strict=True)))


def _dtype(values: Sequence[Any]) -> Any:
    """Integers and booleans keep their type next to empty cells: 64 does not become 64.0."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return "Int64"
    if kinds == {int}:
        return object  # larger than a column of integers holds
    if kinds and kinds <= {int, float}:
        return "float64"
    return object


def _time(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds)
