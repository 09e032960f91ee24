"""Trials that a sweep lists by name, each trained with the same seeds: their rows, and their values under each seed."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.records import Estimate
from hpo_batch.text.numbers import count

BASELINE: Final = "baseline"
ROUNDING: Final = 1e-12
"""of the values, below which a spread is none: every seed gave the same"""


def rows_by_name(data: Data) -> dict[str, int]:
    """Row of each complete trial that has a name, and of the baseline."""
    frame = data.table.trials
    if "name" not in frame.columns or "origin" not in frame.columns:
        return {}
    names, origins = frame["name"].tolist(), frame["origin"].tolist()
    found = {}
    for row, place in enumerate(data.places.tolist()):
        if isinstance(names[place], str):
            found[names[place]] = row
        elif origins[place] == BASELINE:
            found[BASELINE] = row
    return found


def values_by_seed(data: Data, row: int) -> Floats:
    """The metric under each seed, in the order of the seeds, which is the same for all trials."""
    each = data.seed_values[row]
    return np.array(each if each else [data.y[row]], dtype=np.float64)


def mean_over_seeds(values: Floats, *, of: str = "") -> Estimate:
    """Mean of values under different seeds, with its t interval; without one where the seeds agree exactly."""
    n = len(values)
    mean = float(values.mean())
    if n < 2 or np.ptp(values) <= ROUNDING * float(np.abs(values).max()):
        return Estimate(value=mean, low=None, high=None, method=f"mean {of}over {count(n, 'new seed')}", n=n)
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return Estimate(value=mean, low=mean - half, high=mean + half, method=f"mean {of}over {n} new seeds", n=n)
