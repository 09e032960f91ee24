"""Trials at equal steps: what pruned trials reported until they ended can be compared with the others there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from hpo_batch.findings.model.arrays import Bools, Floats, Ints, joint
from hpo_batch.findings.model.frame import LARGEST
from hpo_batch.results.table import TrialsTable

SHARE: Final = 0.8
"""of the complete and pruned trials that must have a value at the step"""
ENDED: Final = ("COMPLETE", "PRUNED")


@dataclass(frozen=True, kw_only=True)
class EqualSteps:
    """The latest step at which nearly all trials, pruned ones among them, can be compared."""

    step: int
    n: int
    """trials with a value there"""
    n_complete: int
    """of them, those that went on to their end"""
    n_pruned: int
    n_ended: int
    """complete and pruned trials of the study"""


def at_equal_steps(table: TrialsTable) -> tuple[TrialsTable, int] | None:
    """The complete and pruned trials of a study, each with the value that it reported at one step.

    The step is the latest one at which 80 % of the complete and pruned trials reported a finite value. Trials without
    one there are not in the table: they ended before, or did not report at that step.

    Returns:
        The table, in which all trials are complete, and the step; None if no trial was pruned, if the study has several
        metrics, if no step keeps so many trials, or if there is none at which more can be compared than have ended.
    """
    found = equal_steps(table)
    if found is None:
        return None
    values = _values_at(table, found.step)
    kept = np.flatnonzero(np.isfinite(values) & _ended(table.trials))
    trials = table.trials.iloc[kept].copy()
    trials["value"] = values[kept]
    trials["state"] = "COMPLETE"
    # these are of the final value
    trials = trials.drop(columns=[name for name in ("value_std", "value_by_seed") if name in trials])
    note = f"values are those of step {found.step}, which {found.n} of {found.n_ended} trials reached"
    return replace(table, trials=trials.reset_index(drop=True), notes=(*table.notes, note)), found.step


def equal_steps(table: TrialsTable) -> EqualSteps | None:
    """The step of ``at_equal_steps``, and how many trials it keeps."""
    trials = table.trials
    if len(table.metrics) > 1 or not len(table.reports) or "state" not in trials:
        return None
    ended = _ended(trials)
    pruned = ended & (trials["state"] == "PRUNED").to_numpy(dtype=bool)
    complete = ended & ~pruned
    if not pruned.any():
        return None
    step = _latest(table, ended, least=max(math.ceil(SHARE * int(ended.sum())), int(complete.sum()) + 1))
    if step is None:
        return None
    there = np.isfinite(_values_at(table, step))
    return EqualSteps(
        step=step,
        n=int((there & ended).sum()),
        n_complete=int((there & complete).sum()),
        n_pruned=int((there & pruned).sum()),
        n_ended=int(ended.sum()),
    )


def _ended(trials: pd.DataFrame) -> Bools:
    """Complete and pruned trials that break no constraint."""
    ended = trials["state"].isin(ENDED).to_numpy(dtype=bool)
    if "feasible" in trials:
        # of a pruned trial nobody knows whether it would have kept them
        broken = (trials["state"] == "COMPLETE").to_numpy(dtype=bool) & ~trials["feasible"].fillna(
            value=False
        ).to_numpy(dtype=bool)
        ended = ended & ~broken  # pandas may give a read-only view
    return ended


def _reports(table: TrialsTable) -> tuple[Ints, Ints, Floats]:
    """Number, step and value of the finite reports."""
    reports = table.reports
    numbers, steps = _whole(reports["number"]), _whole(reports["step"])
    values = reports["value"].to_numpy(dtype=np.float64)
    finite = np.abs(values) < LARGEST  # false for NaN
    return numbers[finite], steps[finite], values[finite]


def _whole(column: pd.Series[Any]) -> Ints:
    if column.dtype == np.int64:
        return column.to_numpy()
    return np.array([int(cell) for cell in column.tolist()], dtype=np.int64)


def _latest(table: TrialsTable, ended: Bools, *, least: int) -> int | None:
    """The latest step that so many of the trials reported."""
    numbers, steps, _ = _reports(table)
    counted = np.isin(numbers, _whole(table.trials["number"])[ended])
    different, place = np.unique(steps[counted], return_inverse=True)
    once = np.unique(joint(numbers[counted], place), return_index=True)[1]  # a step may have been reported twice
    enough = different[np.bincount(place[once], minlength=len(different)) >= least]
    return int(enough[-1]) if len(enough) else None


def _values_at(table: TrialsTable, step: int) -> Floats:
    """What each trial of the table reported last at the step; NaN where it did not."""
    numbers, steps, values = _reports(table)
    here = steps == step
    at = dict(zip(numbers[here].tolist(), values[here].tolist(), strict=True))
    return np.array([at.get(number, math.nan) for number in _whole(table.trials["number"]).tolist()], dtype=np.float64)
