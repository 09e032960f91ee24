"""What each parameter does to the metric, averaged over the settings of the others that were tried.

Everything comes from one model of all trials (``model.surrogate``): the test, a mean with its interval for each value
or a curve, which of two values is better with the probability of that, and the parameter's share of the variance. Means
of the trials as they are stand beside them, for comparison with other reports: a sampler that prefers good values
together makes those wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from hpo_batch.findings.effects.direction import Direction, direction
from hpo_batch.findings.effects.edges import Edge, edge
from hpo_batch.findings.effects.means import ValueRow, naive_trend, value_rows
from hpo_batch.findings.effects.shares import Share, main_effect_shares
from hpo_batch.findings.effects.significance import detectable, significance, trials_to_tell
from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA, eta_squared
from hpo_batch.findings.model.surrogate import Surrogate, surrogate
from hpo_batch.records import Estimate

AGAINST = 0.25
"""share of the largest change that may go the other way in what is called increasing or decreasing"""


CERTAIN = 0.95
"""probability from which a direction is called a trend"""
NAMED: Final = 0.8
"""probability with which the parameter that matters most is among those named"""
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
    """smallest difference between two values that the test finds with 80 % power after the adjustment for all
    parameters of the study"""
    without_outliers: float | None
    """p of the same test without the flagged trials; None if none is flagged"""
    rows_without: tuple[ValueRow, ...] = ()
    """``rows`` without the flagged trials"""
    curve: tuple[tuple[float, Estimate], ...] = field(default=(), metadata=json_keys("at", "estimate"))
    """continuous parameters: position on the parameter's own scale, adjusted mean"""
    shape: str = ""
    """the word for ``trend`` that the adjusted means have, whether or not the test carries it (``effects.settled``)"""
    span: float | None = None
    """largest less smallest adjusted mean"""
    eta_squared: float | None = None
    seed_formula: float | None = None
    """eta squared times (n - 1) / n, the "fraction of variance explained" of older reports"""
    direction: Direction | None = None
    """which value is better than which; None if not even a guess is possible"""
    variance_share: Estimate | None = None
    """of the variance that the main effects of all parameters have over the space; parameters are ranked by it"""
    top_probability: float | None = None
    """probability that no other parameter has a larger ``variance_share``"""
    step: int | None = None
    """at which all trials, pruned ones among them, are compared; None: complete trials, by their final values"""
    edge: Edge | None = None
    """the end of the space at which it is probably best"""
    together: tuple[str, ...] = ()
    """parameters that always changed together, this one among them, which share one test; else empty"""
    method: str = ""
    why: str = ""
    """why there is no adjusted effect, if there is none"""

    @property
    def claim(self) -> str:
        """Name of the claim that it makes: parameters that always changed together share one."""
        return self.together[0] if self.together else self.parameter


def effects(data: Data, *, without: Collection[int] = (), step: int | None = None) -> tuple[Effect, ...]:
    """One effect for each parameter; trends are settled later, when all claims of the report are known.

    Args:
        data: the trials
        without: numbers of suspicious trials. The effect is that of all trials; ``without_outliers`` and
            ``rows_without`` are p and means without these.
        step: at which the metric was measured, where it is not the final value.
    """
    rows = data.rows()
    model = surrogate(data, rows)
    shares = main_effect_shares(model) if model is not None else {}
    results = []
    for param in data.params:
        effect = replace(_effect(data, param, rows, model, shares), step=step)
        if without and effect.p is not None:
            kept = data.rows(without=without)
            p = significance(data, param, kept).p
            effect = replace(effect, without_outliers=p, rows_without=tuple(value_rows(data, param, kept)[0]))
        results.append(effect)
    return tuple(results)


def settled(effect: Effect, *, p_holm: float | None) -> Effect:
    """The effect with its adjusted p, and with a trend if that and its direction carry it."""
    carried = p_holm is not None and p_holm < ALPHA and bool(effect.shape) and resolved(effect)
    return replace(effect, p_holm=p_holm, trend=effect.shape if carried else NO_TREND)


def resolved(effect: Effect) -> bool:
    """Whether it is as good as certain which of the best and the worst value is better."""
    return effect.direction is not None and effect.direction.probability >= CERTAIN


def most_important(found: Sequence[Effect], *, level: float = NAMED) -> list[Effect]:
    """The fewest parameters among which the one with the largest main effect is with this probability, the likeliest
    first; of those that always changed together one. Empty where no shares are known."""
    ranked = sorted((e for e in found if e.top_probability is not None), key=lambda e: -(e.top_probability or 0.0))
    named: dict[str, Effect] = {}
    for effect in ranked:
        if sum(one.top_probability or 0.0 for one in named.values()) >= level:
            break
        named.setdefault(effect.claim, effect)
    return list(named.values())


def _effect(data: Data, param: ParamInfo, rows: Ints, model: Surrogate | None, shares: Mapping[str, Share]) -> Effect:
    result = significance(data, param, rows)
    table, points = value_rows(data, param, rows)
    told = [row for row in table if row.adjusted is not None]
    heights = [row.adjusted.value for row in told if row.adjusted is not None]
    means = [row.mean for row in table if row.mean is not None]
    all_active = np.flatnonzero(param.active)
    eta = eta_squared(data.y[all_active], param.codes[all_active]) if _is_grouped(param, len(all_active)) else None
    limit, tell = None, None
    if model is not None and result.test is not None:
        family = len(model.together)
        limit = detectable(model, param, result.test, family=family)
        if limit is not None:
            tell = functools.partial(trials_to_tell, limit=limit, test=result.test, n=model.tested.n, family=family)
    share = shares.get(param.name)
    return Effect(
        parameter=param.name,
        kind=param.kind,
        varied=param.varied,
        rows=tuple(table),
        naive_trend=naive_trend(means) if param.ordered and len(means) > 1 else "",
        trend=NO_TREND,
        p=result.p,
        p_holm=None,
        effect_size=result.effect_size,
        detectable=limit,
        without_outliers=None,
        curve=tuple(points),
        shape=_shape(param, heights, sign=data.sign) if result.p is not None else "",
        span=max(heights) - min(heights) if len(heights) > 1 else None,
        eta_squared=eta,
        seed_formula=None if eta is None else eta * (len(all_active) - 1) / len(all_active),
        direction=direction(data, param, model, tell=tell) if model is not None else None,
        variance_share=share.estimate if share is not None else None,
        top_probability=share.largest if share is not None else None,
        edge=edge(data, param, model) if model is not None else None,
        together=result.together,
        method=result.method,
        why=result.why,
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
