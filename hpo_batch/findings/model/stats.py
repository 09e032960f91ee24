"""Small statistics that several parts of analysis use. Plain numbers and arrays in, plain numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats, Ints

ALPHA = 0.05
POWER = 0.8
Z95 = 1.96
"""standard errors to either side in a 95 % interval, where the noise is known"""
CLIPPED = 0.1
"""share of the values at either end that tests see drawn in: a few diverged trials else own the variance"""
FENCE = 3.0
"""interquartile ranges beyond the quartiles from which a value is drawn in also where means are estimated"""
INNER = 2.56
"""standard deviations that hold the middle 80 % of a normal distribution"""
FAR_OUT = 5
FEWEST_VALUES = 5


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Adjusted p-values of a family of claims, in its order: Holm's step-down method, which needs no independence.

    https://www.statsmodels.org/dev/generated/statsmodels.stats.multitest.multipletests.html

    Returns:
        None for a claim without a test (None or NaN), which is not one of the family.
    """
    tested = [i for i, p in enumerate(p_values) if p is not None and not math.isnan(p)]
    adjusted: list[float | None] = [None] * len(p_values)
    # statsmodels' multipletests, which a test compares, collects garbage in each call: a second in a large process
    largest = 0.0
    for place, i in enumerate(sorted(tested, key=lambda i: p_values[i] or 0.0)):
        largest = max(largest, min(1.0, (len(tested) - place) * (p_values[i] or 0.0)))
        adjusted[i] = largest
    return tuple(adjusted)


def sem(values: Floats) -> float | None:
    """Standard error of a mean; None for fewer than two values."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def hanley_mcneil(auc: float, n_pos: float, n_neg: float) -> float:
    """Standard error of an area under the ROC curve, from the area and the numbers of positive and negative cases.

    Hanley and McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
    Radiology 143(1), pages 29-36.
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_pos - 1) * (q1 - auc**2) + (n_neg - 1) * (q2 - auc**2)
    return math.sqrt(max(0.0, variance) / (n_pos * n_neg))


def binomial_se(share: float, n: float) -> float:
    """Standard error of a share of ``n`` cases, such as an accuracy."""
    return math.sqrt(max(0.0, share * (1 - share)) / n)


def pooled_sd(groups: Sequence[Sequence[float]]) -> tuple[float, int] | None:
    """Spread within groups of at least two values, with its degrees of freedom; None if there is no such group."""
    used = [np.asarray(group, dtype=np.float64) for group in groups if len(group) > 1]
    df = sum(len(group) - 1 for group in used)
    if not df:
        return None
    squares = sum(float(np.sum((group - group.mean()) ** 2)) for group in used)
    return math.sqrt(squares / df), df


def sd_interval(sd: float, df: int, *, level: float) -> tuple[float, float]:
    """Interval of a standard deviation of normal values: ``df * sd**2 / sigma**2`` follows chi-square with ``df``."""
    tail = (1 - level) / 2
    return sd * math.sqrt(df / stats.chi2.ppf(1 - tail, df)), sd * math.sqrt(df / stats.chi2.ppf(tail, df))


def eta_squared(y: Floats, codes: Ints) -> float | None:
    """Share of the variance between the groups; None if nothing varies.

    Args:
        y: the metric, shape (n,).
        codes: the group of each trial, shape (n,), from 0.
    """
    total = float(np.sum((y - y.mean()) ** 2)) if len(y) else 0.0
    if total <= 0:
        return None
    counts = np.bincount(codes)
    away = np.bincount(codes, weights=y - y.mean())[counts > 0]
    return float(np.sum(away**2 / counts[counts > 0])) / total


def clipped(y: Floats, share: float = CLIPPED) -> Floats:
    """Values with both ends drawn in to the quantiles ``share`` and ``1 - share``, as places between those, 0 to 1.

    Ranks if nothing varies then. For tests and shares of variance, which do not change with the scale.
    """
    low, high = np.quantile(y, [share, 1 - share])
    if high > low:
        return np.asarray((np.clip(y, low, high) - low) / (high - low), dtype=np.float64)
    return np.asarray(stats.rankdata(y) / len(y), dtype=np.float64)


def fenced(y: Floats) -> Floats:
    """Values with what lies far outside drawn in to Tukey's outer fences (Exploratory Data Analysis, 1977).

    Where half of the values are equal, the fences would fall together, and all values stay.
    """
    low, high = np.quantile(y, [0.25, 0.75])
    margin = FENCE * (high - low)
    return np.clip(y, low - margin, high + margin) if margin > 0 else y


def inner_spread(sd: float | None, values: Sequence[float]) -> float | None:
    """How far values lie apart: their standard deviation, but for a few so far out that it would hide the others.

    Args:
        sd: the standard deviation; None if it is unknown.
        values: of which it is.
    """
    if sd is None or len(values) < FEWEST_VALUES:
        return sd
    low, high = np.quantile(values, [0.1, 0.9])
    inner = float(high - low) / INNER
    return inner if 0 < inner < sd / FAR_OUT else sd


def correlation(a: Floats, b: Floats) -> tuple[float | None, float | None, float | None, float | None]:
    """Pearson's r and p, Spearman's rho and p; None for what does not vary or has fewer than three values."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None, None, None, None
    a, b = _in_unit(a), _in_unit(b)
    if np.ptp(a) == 0 or np.ptp(b) == 0:  # told apart by less than a float can hold beside their mean
        return None, None, None, None
    pearson, spearman = stats.pearsonr(a, b), stats.spearmanr(a, b)
    return float(pearson[0]), float(pearson[1]), float(spearman[0]), float(spearman[1])


def _in_unit(values: Floats) -> Floats:
    """Distances from the mean, in parts of the largest: huge numbers overflow when squared, and r has no scale."""
    values = values / np.max(np.abs(values))
    away = values - values.mean()
    return np.asarray(away / (np.max(np.abs(away)) or 1.0), dtype=np.float64)
