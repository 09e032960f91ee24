"""What each parameter does to the metric, on average over the others.

Few values: one mean each from a linear model in which the other parameters stand too, with HC3 intervals. Many: a curve
with an approximate band. The test is an F-test between the models with and without the parameter, on a metric with
both ends drawn in. Means of the trials as they are stand beside them, for comparison with other reports: a sampler that
prefers good values together makes them wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from hpo_batch.findings.effects.direction import Direction
from hpo_batch.findings.effects.means import ValueRow, naive_trend, plain_rows, value_rows
from hpo_batch.findings.effects.significance import detectable, significance
from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA, eta_squared
from hpo_batch.records import Estimate

AGAINST = 0.25
"""share of the largest change that may go the other way in what is called increasing or decreasing"""


NO_TREND = "no clear trend"
TRENDS: Final = ("increasing", "decreasing", "peaked", "differs")
"""what is said of an effect only where the adjusted test finds it"""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one parameter does to the metric, on average over the others (a marginal effect)."""

    parameter: str
    kind: str
    """``levels`` (few values, one mean each) or ``continuous`` (a curve)"""
    varied: bool
    rows: tuple[ValueRow, ...]
    naive_trend: str
    """last plain mean against the first, ``flat`` below 0.01; shown beside ``trend`` as what not to rely on"""
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
    """eta squared times (n - 1) / n, the "fraction of variance explained" of older reports"""
    direction: Direction | None = None
    """which value is better than which; None if not even a guess is possible"""
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
    results = []
    for param in data.params:
        effect = _effect(data, param, rows)
        if without and effect.p is not None:
            kept = data.rows(without=without)
            p = significance(data, param, param.active_among(kept))[0]
            effect = replace(effect, without_outliers=p, rows_without=tuple(value_rows(data, param, kept)[0]))
        results.append(effect)
    return tuple(results)


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


def _effect(data: Data, param: ParamInfo, rows: Ints) -> Effect:
    active = param.active_among(rows)
    p, size, why, method = significance(data, param, active)
    table, points = value_rows(data, param, rows) if not why else (plain_rows(data, param, rows), [])
    if points:
        method += "; curve: Gaussian process, band approximate"
    powered = [row for row in table if not row.underpowered and row.adjusted is not None]
    heights = [row.adjusted.value for row in powered if row.adjusted is not None]
    means = [row.mean for row in table if row.mean is not None]
    span = max(heights) - min(heights) if len(heights) > 1 else None
    all_active = np.flatnonzero(param.active)
    eta = eta_squared(data.y[all_active], param.codes[all_active]) if _is_grouped(param, len(all_active)) else None
    return Effect(
        parameter=param.name,
        kind=param.kind,
        varied=param.varied,
        rows=tuple(table),
        naive_trend=naive_trend(means) if param.ordered and len(means) > 1 else "",
        trend=NO_TREND,
        p=p,
        p_holm=None,
        effect_size=size,
        detectable=detectable(data, param, active) if not why else None,
        without_outliers=None,
        curve=tuple(points),
        shape=_shape(param, heights, sign=data.sign) if p is not None else "",
        span=span,
        eta_squared=eta,
        seed_formula=None if eta is None else eta * (len(all_active) - 1) / len(all_active),
        method=method,
        why=why,
    )


def _is_grouped(param: ParamInfo, n: int) -> bool:
    """Whether means of groups say anything: a value for each trial explains everything and nothing."""
    return param.varied and 2 * len(param.levels) <= n


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
