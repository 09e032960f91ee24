"""Fix, drop, narrow: values of which even an optimistic bound lies below what the best configuration gives."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.next.decision import Decision
from hpo_batch.next.evidence import Evidence
from hpo_batch.next.phrases import measured
from hpo_batch.next.ranges import between, only
from hpo_batch.next.rules.enough import FEWEST_TO_NARROW, LEAST_KEPT, PER_VALUE, SURE, may_go, to_leave_out
from hpo_batch.records import Value, is_number
from hpo_batch.space.changes import share_kept
from hpo_batch.space.parameters import Choices, Integer, Real, Searched, same
from hpo_batch.text.numbers import label, percent

# Conventions, not measured one by one: the bound alone decides what is good, these keep it from being believed too far.
# Survival of the best thousandth was measured with all of them.
LEAST_SHARE: Final = 0.4
"""of a range, that stays in any case"""
WORTH: Final = 0.8
"""of a range: one that keeps more is not narrowed, as a tenth of the trials goes to what was left out"""
MARGIN: Final = 0.1
"""of a range, kept beyond the good part at either side: as far apart as two places of ``GRID``"""
GRID: Final = 11
"""places of a range at which the bound is asked"""


def leave_out(evidence: Evidence, parameter: Searched, info: ParamInfo) -> Decision | None:
    """Values of which even an optimistic bound lies below what the best configuration is expected to give."""
    effect = evidence.effects.get(parameter.name)
    enough = to_leave_out(len(evidence.sweep.space.searched))
    if effect is None or effect.p_holm is None or effect.p_holm >= ALPHA or evidence.n < FEWEST_TO_NARROW:
        return None
    if effect.direction is None or effect.direction.probability < SURE or len(effect.together) > 1:
        return None
    if effect.without_outliers is not None and effect.without_outliers >= ALPHA:
        return None  # a few suspicious trials carry it
    if evidence.model is None or evidence.model.place(info) is None:
        return None
    if isinstance(parameter, Choices):
        return _drop(evidence, parameter, info, effect, enough=evidence.n >= enough)
    return _narrow(evidence, parameter, info, effect) if evidence.n >= enough else None


def _drop(evidence: Evidence, parameter: Choices, info: ParamInfo, effect: Effect, *, enough: bool) -> Decision | None:
    keep = _good_choices(evidence, parameter, info)
    gone = tuple(v for v in parameter.values if not any(same(v, k) for k in keep))
    if not gone or not keep:
        return None
    fixes = len(keep) == 1
    if fixes and not _may_be_fixed(evidence, parameter, info, effect, keep[0]):
        return None
    if not fixes and (not enough or (1 - len(gone) / parameter.count) < LEAST_KEPT):
        return None
    assert effect.direction is not None
    told = ", ".join(label(v) for v in gone)
    reason = f"{'it is best' if fixes else f'{told} cannot reach the best'}: {measured(evidence, effect)}"
    return Decision(
        parameter=parameter.name,
        action="fix" if fixes else "drop",
        reason=reason,
        old=parameter,
        new=only(parameter, keep),
        n=evidence.n,
        confidence="moderate",
        probability=effect.direction.probability,
        interval=effect.direction.difference,
        p_holm=effect.p_holm,
        left_out=gone,
        would_change_it=f"a trial of the old space with {told} among the best",
    )


def _good_choices(evidence: Evidence, parameter: Choices, info: ParamInfo) -> list[Value]:
    """Choices that may reach the best, that nobody has tried enough, or that have been among the best."""
    values = [level for level in info.levels if parameter.why_outside(level) is None]
    bounds = dict(zip(map(_key, values), evidence.at_their_best(info, list(values)).tolist(), strict=True))
    keep = [
        v
        for v in parameter.values
        if _key(v) not in bounds
        or bounds[_key(v)] >= evidence.level
        or evidence.tried(info, v) < PER_VALUE
        or not may_go(evidence, parameter, v)
        or any(_has(info, row, v) for row in evidence.elites)
    ]
    if parameter.ordered and parameter.count > 2:
        order = list(parameter.in_order)
        places = [order.index(v) for v in keep]
        # contiguous, and one further value at either side
        keep = order[max(0, min(places) - 1) : max(places) + 2]
    return keep


def _may_be_fixed(evidence: Evidence, parameter: Choices, info: ParamInfo, effect: Effect, value: Value) -> bool:
    assert effect.direction is not None
    noise = evidence.study.noise.sd
    best = evidence.incumbent.get(parameter.name)
    enough_each = all(evidence.tried(info, v) >= PER_VALUE for v in parameter.values)
    above_noise = noise is None or effect.direction.difference.value > noise.value
    alone = not any(
        parameter.name in (pair.a, pair.b) and pair.p_holm is not None and pair.p_holm < ALPHA
        for pair in evidence.study.interactions
    )
    is_best = same(effect.direction.better, value) and best is not None and same(parameter.normalise(best), value)
    # a value that only a sampler's preference made frequent among the best shows no effect in the adjusted test
    return enough_each and above_noise and alone and is_best


def _narrow(evidence: Evidence, parameter: Integer | Real, info: ParamInfo, effect: Effect) -> Decision | None:
    narrower = _good_part(evidence, parameter, info)
    if narrower is None or not LEAST_KEPT <= share_kept(parameter, narrower) <= WORTH:
        return None
    assert effect.direction is not None
    return Decision(
        parameter=parameter.name,
        action="narrow",
        reason=(
            f"the rest cannot reach the best: {measured(evidence, effect)}; "
            f"{percent(share_kept(parameter, narrower))} of the range stay"
        ),
        old=parameter,
        new=narrower,
        n=evidence.n,
        confidence="moderate",
        probability=effect.direction.probability,
        interval=effect.direction.difference,
        p_holm=effect.p_holm,
        would_change_it="a trial of the old space beyond the new ends among the best",
    )


def _good_part(evidence: Evidence, parameter: Integer | Real, info: ParamInfo) -> Searched | None:
    """The range around the places that may reach the best, and around the trials that have; None if that is most."""
    scale, back = (math.log, math.exp) if parameter.log else (float, float)
    low, high = scale(float(parameter.low)), scale(float(parameter.high))
    seen = [scale(float(v)) for v in info.levels]
    # beyond what was tried nothing is known: it stays, and so does a margin
    places = np.linspace(max(low, min(seen)), min(high, max(seen)), GRID)
    bounds = evidence.at_their_best(info, [back(float(at)) for at in places])
    inside = [scale(float(v)) for v in _anchors(evidence, parameter, info)]
    inside += places[bounds >= evidence.level].tolist()
    if not inside:
        return None
    margin = MARGIN * (high - low)
    first = low if min(inside) <= places[1] else min(inside) - margin
    last = high if max(inside) >= places[-2] else max(inside) + margin
    missing = (LEAST_SHARE * (high - low) - (last - first)) / 2
    if missing > 0:
        first, last = first - missing, last + missing
    first, last = max(low, first), min(high, last)
    if (last - first) / (high - low) > WORTH:
        return None
    return between(parameter, back(first), back(last))


def _anchors(evidence: Evidence, parameter: Integer | Real, info: ParamInfo) -> list[float]:
    """Values of the best configurations and of the baseline, which stay inside."""
    values = [info.value(row) for row in evidence.elites]
    values += [evidence.baseline.get(parameter.name), evidence.incumbent.get(parameter.name)]
    numbers = [float(value) for value in values if value is not None and is_number(value)]
    return [value for value in numbers if parameter.low <= value <= parameter.high]


def _key(value: Value) -> tuple[type, Value]:
    return type(value), value


def _has(info: ParamInfo, row: int, value: Value) -> bool:
    own = info.value(row)
    return own is not None and same(own, value)
