"""Means of the metric by value of a parameter: as they are, and with the other parameters held alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Bools, Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.linear import coded, dummies, independent, others
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA, fenced
from hpo_batch.findings.model.surrogate import Z, surrogate
from hpo_batch.records import Estimate, Value

POWERED = 5
"""distinct trials of a value below which nothing is said of it"""
MOST_ROWS = 20
"""a number with more values than this is shown in intervals"""
MOST_COMPARED = 50
"""a category with more values than this is tested on the most tried ones"""
INTERVALS = 4
FLAT = 0.01
"""difference of the last and the first mean below which plain means are called flat"""
POINTS = 25
"""of a curve"""
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, kw_only=True)
class ValueRow:
    """One value (or one interval of a continuous parameter) of one parameter."""

    label: str
    value: Value | None
    """None for an interval"""
    n: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    adjusted: Estimate | None
    """mean with the other parameters held alike; None where it cannot be computed"""
    share: float
    """of the complete trials"""
    top_share: float | None = None
    """share of this value among the top trials, beside ``share``, its base rate"""
    distinct: int = 0
    """trials of it less those that repeat another one exactly"""
    underpowered: bool = False
    """fewer than five distinct trials: nothing is said of it"""


def value_rows(data: Data, param: ParamInfo, rows: Ints) -> tuple[list[ValueRow], list[tuple[float, Estimate]]]:
    """The values with their means as they are and adjusted, and the points of a curve."""
    table = plain_rows(data, param, rows)
    if param.kind == "continuous":
        return _adjusted_curve(data, param, rows, table)
    means = _adjusted_levels(data, param, param.active_among(rows))
    return [r if r.value is None else replace(r, adjusted=means.get(param.place(r.value))) for r in table], []


@dataclass(frozen=True, kw_only=True, eq=False)
class _Design:
    """A linear model of the metric: the other parameters, then a column for each level but the first."""

    rows: Ints
    levels: Ints
    codes: Ints
    """which of ``levels`` each trial has, shape (n,)"""
    others: Floats
    """columns of the other parameters with the intercept, shape (n, others)"""
    q: Floats
    r: Floats
    """QR factors of all columns: shapes (n, columns) and (columns, columns)"""


def _design(param: ParamInfo, rows: Ints, columns: Floats) -> _Design:
    levels = np.unique(param.codes[rows])
    codes = np.searchsorted(levels, param.codes[rows])
    q, r = np.linalg.qr(np.hstack([columns, dummies(codes, len(levels))]))
    return _Design(rows=rows, levels=levels, codes=codes, others=columns, q=q, r=r)


def _adjusted_levels(data: Data, param: ParamInfo, rows: Ints) -> dict[int, Estimate]:
    """Mean of each level with the others at their average over the trials, and its HC3 interval.

    Returns:
        By the level's code. Levels of one trial have none: that trial's error cannot be told from its level's mean.
    """
    levels, counts = np.unique(param.codes[rows], return_counts=True)
    rows = rows[np.isin(param.codes[rows], levels[counts > 1])]
    n_levels = int(np.count_nonzero(counts > 1))
    if n_levels < 2 or n_levels > MOST_COMPARED:
        return {}
    trials = coded(data, rows)
    base = others(trials, [param.name], own=n_levels - 1)
    design = _design(param, rows, trials.of_trials(base.places))
    # a trial that alone decides a column is fitted exactly: it says nothing of the rest, and HC3 would divide by zero
    free = leverages(design.q) < 1 - 1e-9
    if not free.all():
        design = _design(param, rows[free], independent(design.others[free]))
    width = len(design.others.T) + len(design.levels) - 1
    few = len(design.rows) - width < 2 or len(design.levels) < 2
    if few or np.linalg.matrix_rank(design.r, rtol=len(design.rows) * EPSILON) < width:
        return {}
    if np.max(leverages(design.q)) > 1 - 1e-9:
        return {}
    return _hc3_means(design, data.y[design.rows], method=f"least squares with HC3, {base.method}")


def _hc3_means(design: _Design, y: Floats, *, method: str) -> dict[int, Estimate]:
    """Mean of each level at the average of the other columns.

    Intervals are from White's covariance with the third correction, which holds where the spread differs between
    levels: MacKinnon and White 1985, "Some heteroskedasticity-consistent covariance matrix estimators with improved
    finite-sample properties", Journal of Econometrics 29, pages 305-325; the formula also stands in
    https://www.statsmodels.org/dev/generated/statsmodels.stats.sandwich_covariance.cov_hc3.html
    """
    n, width = design.q.shape
    # in a unit of their own: squares of very small or large numbers are none
    y = fenced(y)
    unit = float(np.ptp(y)) or 1.0
    along = design.q.T @ (y / unit)
    squares = ((y / unit - design.q @ along) / (1 - leverages(design.q))) ** 2
    middle = design.q.T @ (design.q * squares[:, None])
    wide = float(stats.t.ppf(1 - ALPHA / 2, n - width))
    means = {}
    for i, level in enumerate(design.levels.tolist()):
        contrast = np.concatenate([design.others.mean(axis=0), np.zeros(len(design.levels) - 1)])
        if i:
            contrast[design.others.shape[1] + i - 1] = 1.0
        weights = np.linalg.solve(design.r.T, contrast)
        mean = unit * float(weights @ along)
        error = unit * math.sqrt(max(0.0, float(weights @ middle @ weights)))
        means[level] = Estimate(
            value=mean,
            low=mean - wide * error,
            high=mean + wide * error,
            method=method,
            n=int(np.sum(design.codes == i)),
        )
    return means


def leverages(q: Floats) -> Floats:
    """How much each trial decides its own fitted value; HC3 divides by what is left of 1."""
    return np.asarray(np.sum(q**2, axis=1), dtype=np.float64)


def _adjusted_curve(
    data: Data, param: ParamInfo, rows: Ints, table: Sequence[ValueRow]
) -> tuple[list[ValueRow], list[tuple[float, Estimate]]]:
    model = surrogate(data, rows)
    if model is None:
        return list(table), []
    n = len(param.active_among(model.rows))
    at = _places(param)
    middles = [row.value if row.value is not None else _middle(param, i) for i, row in enumerate(table)]
    result = model.curve(param, [*at, *middles])
    estimates = [
        Estimate(value=m, low=m - Z * e, high=m + Z * e, method="Gaussian process, approximate band", n=n)
        for m, e in result
    ]
    points = [(float(v), estimate) for v, estimate in zip(at, estimates, strict=False)] if param.numeric else []
    rest = estimates[len(at) :]
    return [replace(row, adjusted=e) for row, e in zip(table, rest, strict=True)], points


def _places(param: ParamInfo) -> list[float]:
    """Where a curve is computed, evenly on the parameter's own scale."""
    if not param.numeric:
        return []
    positions = param.level_positions
    even = np.linspace(float(positions.min()), float(positions.max()), POINTS)
    at = 10**even if param.log else even
    # the ends as they were tried, not a last digit beyond them; a zero lies below all powers of ten
    return [float(param.levels[0]), *at[1:-1].tolist(), float(param.levels[-1])]


def plain_rows(data: Data, param: ParamInfo, rows: Ints) -> list[ValueRow]:
    """Counts and means of the trials as they are, repeats included; of distinct trials that are left out, neither."""
    distinct = np.zeros(data.n, dtype=bool)
    distinct[rows] = True
    counted = np.ones(data.n, dtype=bool)
    counted[data.distinct] = False
    counted[rows] = True
    groups: list[tuple[str, Value | None, Bools]]
    if _is_shown_in_intervals(param):
        edges = _edges(param)
        inner = np.searchsorted(edges[1:-1], param.positions, side="right")
        groups = [(_interval(param, edges, i), None, param.active & (inner == i)) for i in range(len(edges) - 1)]
    else:
        shown = range(len(param.levels))
        if len(param.levels) > MOST_COMPARED:
            counts = np.bincount(param.codes[param.active], minlength=len(param.levels))
            shown = np.argsort(-counts, kind="stable")[:MOST_COMPARED].tolist()
        groups = [(param.label(param.levels[i]), param.levels[i], param.codes == i) for i in shown]
    table = []
    for label, value, group in groups:
        mask = group & counted
        y = data.y[mask]
        n_distinct = int(np.sum(mask & distinct))
        table.append(
            ValueRow(
                label=label,
                value=value,
                n=len(y),
                mean=float(y.mean()) if len(y) else None,
                std=float(y.std(ddof=1)) if len(y) > 1 else None,
                min=float(y.min()) if len(y) else None,
                max=float(y.max()) if len(y) else None,
                adjusted=None,
                share=len(y) / int(counted.sum()) if counted.any() else 0.0,
                distinct=n_distinct,
                underpowered=n_distinct < POWERED,
            )
        )
    return table


def _is_shown_in_intervals(param: ParamInfo) -> bool:
    return param.numeric and len(param.levels) > MOST_ROWS


def _edges(param: ParamInfo) -> Floats:
    """Of intervals with about as many trials each."""
    return np.unique(np.quantile(param.positions[param.active], np.linspace(0, 1, INTERVALS + 1)))


def _interval(param: ParamInfo, edges: Floats, i: int) -> str:
    low, high = (10 ** edges[i : i + 2] if param.log else edges[i : i + 2]).tolist()
    return f"{low:.3g} to {high:.3g}"


def _middle(param: ParamInfo, i: int) -> float:
    edges = _edges(param)
    middle = float(edges[i : i + 2].mean())
    return 10**middle if param.log else middle


def naive_trend(means: Sequence[float]) -> str:
    """The last mean against the first, whatever lies between: what a reader of plain means would say."""
    if len(means) < 2 or abs(means[-1] - means[0]) < FLAT:
        return "flat"
    return "increasing" if means[-1] > means[0] else "decreasing"
