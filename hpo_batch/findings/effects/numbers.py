"""What each parameter does to the metric, on average over the others.

Few values: one mean each from a linear model in which the other parameters stand too, with HC3 intervals. Many: a curve
with an approximate band. The test is an F-test between the models with and without the parameter, on a metric with
both ends drawn in. Means of the trials as they are stand beside them, for comparison with other reports: a sampler that
prefers good values together makes them wrong.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.frame import Data, ParamInfo, recoded
from hpo_batch.findings.model.linear import coded, curve, dummies, f_test, independent, others, residual, squares_left
from hpo_batch.findings.model.stats import ALPHA, Floats, eta_squared, fenced, mde
from hpo_batch.findings.model.surrogate import Z, surrogate
from hpo_batch.records import Estimate, Value

POWERED = 5
"""distinct trials of a value below which nothing is said of it"""
FEWEST = 6
"""distinct trials below which nothing is tested"""
MOST_ROWS = 20
"""a number with more values than this is shown in intervals"""
MOST_COMPARED = 50
"""a category with more values than this is tested on the most tried ones"""
INTERVALS = 4
POINTS = 25
"""of a curve"""
FLAT = 0.01
"""the documents' bound between "flat" and a trend"""
AGAINST = 0.25
"""share of the largest change that may go the other way in what is called increasing or decreasing"""

EPSILON = float(np.finfo(np.float64).eps)

NO_TREND = "no clear trend"
TRENDS: Final = ("increasing", "decreasing", "peaked", "differs")
"""what is said of an effect only where the adjusted test finds it"""
NOT_VARIED = "not varied: no statement possible"


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


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one parameter does to the metric, on average over the others (a marginal effect)."""

    parameter: str
    kind: str
    """``levels`` (few values, one mean each) or ``continuous`` (a curve)"""
    varied: bool
    rows: tuple[ValueRow, ...]
    naive_trend: str
    """the documents' word: last group mean against the first, ``flat`` below 0.01; shown as what not to trust"""
    trend: str
    """``increasing``, ``decreasing``, ``peaked``, ``differs`` or ``no clear trend``; the first four only if the
    adjusted test carries them after Holm"""
    p: float | None
    p_holm: float | None
    effect_size: float | None
    """epsilon squared"""
    detectable: float | None
    """smallest difference between two values that would be found with 80 % power"""
    without_outliers: float | None
    """p of the same test without the flagged trials; None if none is flagged"""
    rows_without: tuple[ValueRow, ...] = ()
    """``rows`` without the flagged trials"""
    curve: tuple[tuple[float, Estimate], ...] = field(default=(), metadata=json_keys("at", "estimate"))
    """continuous parameters: position on the parameter's own scale, adjusted mean"""
    shape: str = ""
    """the word for ``trend`` that the adjusted means have, whether or not the test carries it (``effects.settled``)"""
    span: float | None = None
    """largest less smallest adjusted mean, of values with at least five trials"""
    eta_squared: float | None = None
    seed_formula: float | None = None
    """the documents' "fraction of variance explained": eta squared times (n - 1) / n"""
    method: str = ""
    why: str = ""
    """why there is no adjusted effect, if there is none"""


def effects(data: Data, *, without: Collection[int] = ()) -> tuple[Effect, ...]:
    """One effect for each parameter; trends are settled later, when all claims of the report are known.

    Args:
        data: the trials
        without: numbers of suspicious trials. The effect is that of all trials; ``without_outliers`` and
            ``rows_without`` are p and means without these.
    """
    rows = data.rows()
    found = []
    for param in data.params:
        effect = _effect(data, param, rows)
        if without and effect.p is not None:
            kept = data.rows(without=without)
            p = _test(data, param, _active(param, kept))[0]
            effect = replace(effect, without_outliers=p, rows_without=tuple(_rows(data, param, kept)[0]))
        found.append(effect)
    return tuple(found)


def settled(effect: Effect, *, p_holm: float | None, noise_sd: float | None = None) -> Effect:
    """The effect with its adjusted p, and with a trend if that, the noise floor (if known) and the curve carry it."""
    carried = p_holm is not None and p_holm < ALPHA and bool(effect.shape)
    above_noise = noise_sd is None or (effect.span is not None and effect.span > noise_sd)
    return replace(
        effect, p_holm=p_holm, trend=effect.shape if carried and above_noise and resolved(effect) else NO_TREND
    )


def resolved(effect: Effect) -> bool:
    """Whether a curve moves by more than its band is wide to one side; a few far values can flatten it."""
    if effect.kind == "levels" or effect.span is None:
        return True
    powered = [row.adjusted for row in effect.rows if row.adjusted is not None and not row.underpowered]
    halves = [(e.high - e.low) / 2 for e in powered if e.high is not None and e.low is not None]
    return not halves or effect.span > max(halves)


def _effect(data: Data, param: ParamInfo, rows: NDArray[np.int64]) -> Effect:
    active = _active(param, rows)
    p, size, why, method = _test(data, param, active)
    table, points = _rows(data, param, rows) if not why else (_value_rows(data, param, rows), [])
    if points:
        method += "; curve: Gaussian process, band approximate"
    powered = [row for row in table if not row.underpowered and row.adjusted is not None]
    heights = [row.adjusted.value for row in powered if row.adjusted is not None]
    span = max(heights) - min(heights) if len(heights) > 1 else None
    all_active = np.flatnonzero(param.active)
    eta = eta_squared(data.y[all_active], param.codes[all_active]) if _is_grouped(param, len(all_active)) else None
    return Effect(
        parameter=param.name,
        kind=param.kind,
        varied=param.varied,
        rows=tuple(table),
        naive_trend=_naive_trend(param, table),
        trend=NO_TREND,
        p=p,
        p_holm=None,
        effect_size=size,
        detectable=_detectable(data, param, active) if not why else None,
        without_outliers=None,
        curve=tuple(points),
        shape=_shape(param, heights, sign=data.sign) if p is not None else "",
        span=span,
        eta_squared=eta,
        seed_formula=None if eta is None else eta * (len(all_active) - 1) / len(all_active),
        method=method,
        why=why,
    )


def _rows(data: Data, param: ParamInfo, rows: NDArray[np.int64]) -> tuple[list[ValueRow], list[tuple[float, Estimate]]]:
    """The values with their means as they are and adjusted, and the points of a curve."""
    table = _value_rows(data, param, rows)
    if param.kind == "continuous":
        return _adjusted_curve(data, param, rows, table)
    means = _adjusted_levels(data, param, _active(param, rows))
    return [r if r.value is None else replace(r, adjusted=means.get(param.place(r.value))) for r in table], []


def _test(data: Data, param: ParamInfo, rows: NDArray[np.int64]) -> tuple[float | None, float | None, str, str]:
    """p, epsilon squared, why there is none, method."""
    counts = np.bincount(param.codes[rows], minlength=len(param.levels)) if len(rows) else np.zeros(0, dtype=np.int64)
    seen = int(np.count_nonzero(counts))
    if not param.varied or seen < 2:
        return None, None, NOT_VARIED, ""
    if len(rows) < FEWEST:
        return None, None, f"only {len(rows)} distinct trials have it: no test", ""
    if np.ptp(data.y[rows]) == 0:
        return None, None, "the metric is the same in all of these trials", ""
    apart, enough = len(rows) - int(counts.max()), min(POWERED, len(rows) // 3)
    rows = _comparable(param, rows)
    if len(rows) < FEWEST or len(np.unique(param.codes[rows])) < 2:
        return None, None, f"{seen} values in {int(counts.sum())} trials: too few of each for a test", ""
    trials, own = coded(data, rows), _own(param, rows)
    base = others(trials, [param.name], own=own.shape[1])
    turned, own = trials.beside(own)
    free = independent(np.hstack([turned[:, base.places], own])).shape[1] - len(base.places)
    if free < own.shape[1] and (twins := _twins(data, param, rows)):
        return None, None, f"cannot be told apart from {' and '.join(twins)}: they always changed together", ""
    if apart < enough:
        return None, None, f"all but {apart} distinct trial{'s' if apart > 1 else ''} have one value of it", ""
    y = np.concatenate([trials.clipped, np.zeros(len(turned) - len(trials.clipped))])
    tested = f_test(y, turned[:, base.places], own, n=len(rows), total=trials.total)
    if tested is None:
        return None, None, "too few trials for the number of parameters and values", ""
    what = "a column for each value" if param.kind == "levels" else "line and curve"
    method = f"F-test of {what}, {base.method}; metric drawn in to its 10 and 90 % quantiles; n = {len(rows)}"
    return tested[0], tested[2], "", method


def _comparable(param: ParamInfo, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The trials of a category's most tried values, where it has very many."""
    if param.kind == "continuous" or len(param.levels) <= MOST_COMPARED:
        return rows
    counts = np.bincount(param.codes[rows], minlength=len(param.levels))
    common = np.argsort(-counts, kind="stable")[:MOST_COMPARED]
    return rows[np.isin(param.codes[rows], common[counts[common] > 1])]


def _own(param: ParamInfo, rows: NDArray[np.int64]) -> Floats:
    if param.kind == "continuous":
        return curve(param, rows)
    seen, codes = recoded(param.codes[rows])
    return dummies(codes, len(seen))


def _twins(data: Data, param: ParamInfo, rows: NDArray[np.int64]) -> list[str]:
    """Parameters that say the same as this one: each of its values goes with one of theirs, and the other way round."""
    own = param.codes[rows]
    found = []
    for other in data.varied:
        theirs = other.codes[rows]
        pairs = len(np.unique((own + 1) * (len(other.levels) + 1) + theirs + 1))
        if other.name != param.name and pairs == len(np.unique(own)) == len(np.unique(theirs)):
            found.append(f"'{other.name}'")
    return found or [
        f"'{other.name}'" for other in data.varied if other.name != param.name and _spans(other, param, rows)
    ]


def _spans(other: ParamInfo, param: ParamInfo, rows: NDArray[np.int64]) -> bool:
    """Whether what stands for another parameter in the model contains this one."""
    if not other.ordered or len(np.unique(other.codes[rows])) < 2:
        return False
    base = np.column_stack([np.ones(len(rows)), np.nan_to_num(curve(other, rows))])
    left = residual(_own(param, rows), base)
    return bool(np.linalg.matrix_rank(left, tol=1e-8) < _own(param, rows).shape[1])


def _adjusted_levels(data: Data, param: ParamInfo, rows: NDArray[np.int64]) -> dict[int, Estimate]:
    """Mean of each level with the others at their average over the trials, and its HC3 interval. Levels of one trial
    have none: that trial's error cannot be told from its level's mean."""
    levels, counts = np.unique(param.codes[rows], return_counts=True)
    rows = rows[np.isin(param.codes[rows], levels[counts > 1])]
    levels = levels[counts > 1]
    if len(levels) < 2 or len(levels) > MOST_COMPARED:
        return {}
    trials = coded(data, rows)
    base = others(trials, [param.name], own=len(levels) - 1)
    columns = trials.of_trials(base.places)
    codes = np.searchsorted(levels, param.codes[rows])
    design = np.hstack([columns, dummies(codes, len(levels))])
    q, r = np.linalg.qr(design)
    # a trial that alone decides a column is fitted exactly: it says nothing of the rest, and HC3 would divide by zero
    free = leverages(q) < 1 - 1e-9
    if not free.all():
        rows, columns = rows[free], independent(columns[free])
        levels = np.unique(param.codes[rows])
        codes = np.searchsorted(levels, param.codes[rows])
        design = np.hstack([columns, dummies(codes, len(levels))])
        q, r = np.linalg.qr(design)
    few = len(rows) - design.shape[1] < 2 or len(levels) < 2
    if few or np.linalg.matrix_rank(r, rtol=len(rows) * EPSILON) < design.shape[1]:
        return {}
    leverage = leverages(q)
    if np.max(leverage) > 1 - 1e-9:
        return {}
    # in a unit of their own: squares of very small or large numbers are none
    y = fenced(data.y[rows])
    unit = float(np.ptp(y)) or 1.0
    along = q.T @ (y / unit)
    # White's estimate with the third correction (MacKinnon and White 1985), along the columns of q
    squares = ((y / unit - q @ along) / (1 - leverage)) ** 2
    middle = q.T @ (q * squares[:, None])
    wide = float(stats.t.ppf(1 - ALPHA / 2, len(rows) - design.shape[1]))
    found = {}
    for i, level in enumerate(levels.tolist()):
        contrast = np.concatenate([columns.mean(axis=0), np.zeros(len(levels) - 1)])
        if i:
            contrast[columns.shape[1] + i - 1] = 1.0
        weights = np.linalg.solve(r.T, contrast)
        mean = unit * float(weights @ along)
        error = unit * math.sqrt(max(0.0, float(weights @ middle @ weights)))
        found[level] = Estimate(
            value=mean,
            low=mean - wide * error,
            high=mean + wide * error,
            method=f"least squares with HC3, {base.method}",
            n=int(np.sum(codes == i)),
        )
    return found


def leverages(q: Floats) -> Floats:
    """How much each trial decides its own fitted value; HC3 divides by what is left of 1."""
    return np.asarray(np.sum(q**2, axis=1), dtype=np.float64)


def _adjusted_curve(
    data: Data, param: ParamInfo, rows: NDArray[np.int64], table: Sequence[ValueRow]
) -> tuple[list[ValueRow], list[tuple[float, Estimate]]]:
    model = surrogate(data, rows)
    if model is None:
        return list(table), []
    n = len(_active(param, model.rows))
    at = _places(param)
    middles = [row.value if row.value is not None else _middle(param, i) for i, row in enumerate(table)]
    found = model.curve(param, [*at, *middles])
    estimates = [
        Estimate(value=m, low=m - Z * e, high=m + Z * e, method="Gaussian process, approximate band", n=n)
        for m, e in found
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


def _value_rows(data: Data, param: ParamInfo, rows: NDArray[np.int64]) -> list[ValueRow]:
    """Counts and means of the trials as they are, repeats included; of distinct trials that are left out, neither."""
    distinct = np.zeros(data.n, dtype=bool)
    distinct[rows] = True
    counted = np.ones(data.n, dtype=bool)
    counted[data.distinct] = False
    counted[rows] = True
    groups: list[tuple[str, Value | None, NDArray[np.bool_]]]
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


def _active(param: ParamInfo, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[param.active[rows]]


def _is_grouped(param: ParamInfo, n: int) -> bool:
    """Whether means of groups say anything: a value for each trial explains everything and nothing."""
    return param.varied and 2 * len(param.levels) <= n


def _naive_trend(param: ParamInfo, rows: Sequence[ValueRow]) -> str:
    means = [row.mean for row in rows if row.mean is not None]
    if not param.ordered or len(means) < 2:
        return ""
    change = means[-1] - means[0]
    return "flat" if abs(change) < FLAT else "increasing" if change > 0 else "decreasing"


def _shape(param: ParamInfo, heights: Sequence[float], *, sign: float) -> str:
    """The word for adjusted means in the order of their values, of the metric as it is."""
    if len(heights) < 2:
        return ""
    if not param.ordered:
        return "differs"
    rises = max(b - a for i, a in enumerate(heights) for b in heights[i + 1 :])
    falls = max(a - b for i, a in enumerate(heights) for b in heights[i + 1 :])
    if falls <= AGAINST * rises:
        return "increasing"
    if rises <= AGAINST * falls:
        return "decreasing"
    good = [sign * height for height in heights]
    return "peaked" if 0 < int(np.argmax(good)) < len(good) - 1 else "differs"


def _detectable(data: Data, param: ParamInfo, rows: NDArray[np.int64]) -> float | None:
    """Of two values (halves of the range of a curve) tried as often as this parameter's on average are."""
    rows = _comparable(param, rows)
    trials, own = coded(data, rows), _own(param, rows)
    base = others(trials, [param.name], own=own.shape[1])
    turned, own = trials.beside(own)
    y = np.concatenate([trials.scaled, np.zeros(len(turned) - len(trials.scaled))])
    left, rank = squares_left(y, np.hstack([turned[:, base.places], own]))
    spare = len(rows) - rank
    if spare < 2:
        return None
    unit = float(np.ptp(fenced(data.y[rows]))) or 1.0
    sd = unit * math.sqrt(left / spare)
    if param.kind == "continuous":
        return mde(sd, len(rows) / 2, len(rows) / 2)
    counts = np.bincount(param.codes[rows])
    counts = counts[counts > 1]
    typical = float(len(counts) / np.sum(1 / counts)) if len(counts) > 1 else 0.0
    return mde(sd, typical, typical)
