"""What trials report beside their metric, and how far it goes with it: rank correlations, which name no cause."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.cells import numbers_in
from hpo_batch.findings.model.frame import SEED_NAMES, Data
from hpo_batch.findings.model.stats import ALPHA, holm
from hpo_batch.records import Estimate
from hpo_batch.text.numbers import count

PREFIX: Final = "user_attrs_"
LEAST: Final = 5
"""configurations with both numbers, below which no correlation is given"""
MOST: Final = 200
"""other metrics that are looked at, in the order of their columns"""


@dataclass(frozen=True, kw_only=True)
class OtherMetric:
    """A number that trials reported beside their metric."""

    name: str
    rank_correlation: Estimate | None
    """with the study's metric, as they are: above 0 where both are large together; ``n`` counts configurations, of
    which one with several trials stands with its means. None: ``why`` says why"""
    p: float | None = None
    """of no correlation"""
    p_holm: float | None = None
    """adjusted for all other metrics of the study"""
    n: int = 0
    """complete trials that report it"""
    why: str = ""


def other_metrics(data: Data) -> tuple[OtherMetric, ...]:
    """Every number that complete trials report beside their metric; what goes most with it first."""
    found = [_other(data, name, values) for name, values in _reported(data)]
    adjusted = holm([other.p for other in found])
    found = [replace(other, p_holm=p) for other, p in zip(found, adjusted, strict=True)]
    return tuple(sorted(found, key=lambda other: -abs(_rho(other))))


def _rho(other: OtherMetric) -> float:
    return -1.0 if other.rank_correlation is None else other.rank_correlation.value


def _reported(data: Data) -> Iterator[tuple[str, Floats]]:
    trials = data.table.trials
    columns = [str(column) for column in trials.columns if str(column).startswith(PREFIX)]
    for column in columns[:MOST]:
        name = column.removeprefix(PREFIX)
        if name in SEED_NAMES or name == data.metric:
            continue
        values = numbers_in(trials[column])[data.places]
        if np.isfinite(values).any():
            yield name, values


def _other(data: Data, name: str, values: Floats) -> OtherMetric:
    there = np.flatnonzero(np.isfinite(values))
    keys = data.keys[there]
    x, y = _means(keys, values[there]), _means(keys, data.y[there])
    if len(x) < LEAST:
        why = f"only {count(len(x), 'configuration has', 'configurations have')} both"
        return OtherMetric(name=name, rank_correlation=None, n=len(there), why=why)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        why = f"{name if np.ptp(x) == 0 else data.metric} is the same in all of them"
        return OtherMetric(name=name, rank_correlation=None, n=len(there), why=why)
    found = stats.spearmanr(x, y)
    return OtherMetric(
        name=name,
        rank_correlation=spearman(float(found.statistic), len(x)),
        p=float(found.pvalue),
        n=len(there),
    )


def spearman(rho: float, n: int) -> Estimate:
    """A rank correlation with its interval on Fisher's scale.

    Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations",
    Psychometrika 65(1), pages 23-28.
    """
    rho = max(-1.0, min(1.0, rho))
    if abs(rho) == 1.0:  # Fisher's scale ends there
        return Estimate(value=rho, low=None, high=None, method="Spearman, one order in all of them", n=n)
    half = float(stats.norm.ppf(1 - ALPHA / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    at = math.atanh(rho)
    return Estimate(
        value=rho, low=math.tanh(at - half), high=math.tanh(at + half), method="Spearman, Bonett-Wright interval", n=n
    )


def _means(keys: Ints, values: Floats) -> Floats:
    """Of each configuration, in the order of ``keys``."""
    _, place = np.unique(keys, return_inverse=True)
    scale = float(np.max(np.abs(values))) or 1.0  # sums of huge numbers overflow
    return np.asarray(np.bincount(place, weights=values / scale) / np.bincount(place), dtype=np.float64)
