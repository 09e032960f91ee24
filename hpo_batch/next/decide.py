"""What to do with each parameter in the next sweep, by rules whose hit rates were measured.

Widening is cheap and can be taken back, so that little evidence is enough: a model that puts the optimum at the end of
a range more likely than not. Leaving values out can lose the best configuration for good, so that it needs many
trials, an effect that the adjusted test carries, and a bound: even an optimistic reading of what is left out stays
below what the best configuration is expected to give.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.survival.numbers import Survival, TriedValue
from hpo_batch.next.evidence import CLOSE, Evidence
from hpo_batch.next.ranges import between, only, widened
from hpo_batch.records import Estimate, Value, is_number
from hpo_batch.space.changes import described, share_kept
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Real, Searched, same
from hpo_batch.text.numbers import count, label, number, p_value, percent

FEWEST_TO_NARROW: Final = 20
PER_PARAMETER: Final = 10
"""trials for each searched parameter, without which no value is left out"""
FEWEST_TO_WIDEN: Final = 10
PER_VALUE: Final = 5
"""trials of each value that is compared, for a parameter to be fixed"""
SURE: Final = 0.95
# On complete tables (338 ends after 50 trials each), where the best value beyond an end was better or worse by a
# quarter, a half and one noise SD: recall 0.55, 0.70 and 1.0 (of 8), false alarms 0.18, 0.10 and 0.09. "Best trial
# there, or 0.95" has 0.55, 0.68 and 1.0, and 0.23, 0.13 and 0.11. The two numbers below were chosen on the same ends.
AT_END: Final = 0.6
"""chance that the best value is at an end, from which the range is widened there"""
AT_END_WITH_BEST: Final = 0.5
"""the same if the best trial is there, too"""
LEAST_KEPT: Final = 0.25
"""of the space, after everything that is narrowed or left out"""
LEAST_SHARE: Final = 0.4
"""of a range, that stays in any case"""
WORTH: Final = 0.8
"""of a range: one that keeps more is not narrowed"""
MARGIN: Final = 0.1
"""of a range, kept beyond the good part at either side"""
GRID: Final = 11
QUOTA: Final = 0.25
"""share of the trials for each value that had too few"""
UNFAIR: Final = 0.025
"""chance of so few trials of a value under equal shares, below which the search has neglected it, if they are at most
half of a fair share"""
MOST_ARMS: Final = 12
FAILED: Final = 3
"""failed trials at an end, from which it counts as a limit of stability if at least half of the trials there failed"""

# in the order in which changes are made: what makes the search wrong, what it could not see, then what saves trials
ACTIONS: Final = ("repair", "expand", "quota", "fix", "drop", "narrow", "keep")
LEAVES_OUT: Final = ("fix", "drop", "narrow")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the next sweep does with one parameter."""

    parameter: str
    action: str
    """one of ``ACTIONS``"""
    reason: str
    """one sentence with its numbers"""
    old: Parameter
    new: Parameter
    """equal to ``old`` for ``keep``, and for a repair that only plans trials"""
    n: int
    """trials that the reason rests on"""
    confidence: str = ""
    """``high`` or ``moderate``; empty for ``keep``"""
    probability: float | None = None
    """that the change is right: the best value at the end, or the better value better"""
    interval: Estimate | None = None
    """of the difference that was measured, on the metric's scale; above 0 is better"""
    p_holm: float | None = None
    left_out: tuple[Value, ...] = ()
    would_change_it: str = ""
    """what would lead to another decision"""
    extremes: bool = False
    """the next sweep tries both ends of it first"""

    @property
    def changes(self) -> bool:
        return self.action != "keep"

    @property
    def kept(self) -> float:
        """Share of the old values or range that is left; above 1 for a wider one."""
        return share_kept(self.old, self.new)

    @property
    def comment(self) -> str:
        """What stands beside the parameter in the file."""
        was = f"; was {described(self.old)}" if self.changes and described(self.old) != described(self.new) else ""
        return f"{self.action}: {self.reason}{was}"


def decide(evidence: Evidence) -> tuple[Decision, ...]:
    """One decision for each searched parameter, in the order of the file; at most half of them change."""
    proposed = [_of_parameter(evidence, parameter) for parameter in evidence.sweep.space.searched]
    return tuple(_limited(evidence, proposed))


def most_changes(searched: int) -> int:
    """How many of so many parameters may change in one sweep: half of them."""
    return max(1, searched // 2)


def _limited(evidence: Evidence, proposed: Sequence[Decision]) -> Iterator[Decision]:
    """Keep the most important changes; the others wait for the next sweep."""
    wanted = sorted((d for d in proposed if d.changes), key=_urgency)
    most = most_changes(len(proposed))
    done: set[str] = set()
    room = 1.0
    whys: dict[str, str] = {}
    for decision in wanted:
        if len(done) == most:
            whys[decision.parameter] = f"at most {most} of {len(proposed)} parameters change in one sweep"
        elif decision.action in LEAVES_OUT and room * decision.kept < LEAST_KEPT:
            whys[decision.parameter] = f"less than {LEAST_KEPT:.0%} of the space would be left"
        else:
            done.add(decision.parameter)
            room *= min(1.0, decision.kept) if decision.action in LEAVES_OUT else 1.0
    for decision in proposed:
        if decision.changes and decision.parameter not in done:
            yield kept(decision, f"waits ({whys[decision.parameter]}); {decision.action}: {decision.reason}")
        else:
            yield decision


def kept(decision: Decision, reason: str) -> Decision:
    """The decision not to change a parameter after all."""
    return replace(decision, action="keep", reason=reason, new=decision.old, confidence="", left_out=(), extremes=False)


def _urgency(decision: Decision) -> tuple[int, float]:
    return ACTIONS.index(decision.action), -(decision.probability or 0.0)


def _of_parameter(evidence: Evidence, parameter: Searched) -> Decision:
    info = evidence.data.by_name.get(parameter.name)
    if parameter.count == 1:
        return _keep(evidence, parameter, "it has a single value")
    if info is None or not info.levels:
        return _keep(evidence, parameter, "no complete trial has a value of it")
    for rule in (_repair, _expand, _leave_out, _quota):
        decision = rule(evidence, parameter, info)
        if decision is not None:
            return decision
    return _keep(evidence, parameter, _why_kept(evidence, parameter, info))


def _keep(evidence: Evidence, parameter: Searched, reason: str) -> Decision:
    effect = evidence.effects.get(parameter.name)
    return Decision(
        parameter=parameter.name,
        action="keep",
        reason=reason,
        old=parameter,
        new=parameter,
        n=evidence.n,
        p_holm=effect.p_holm if effect is not None else None,
        interval=effect.direction.difference if effect is not None and effect.direction is not None else None,
        probability=effect.direction.probability if effect is not None and effect.direction is not None else None,
        would_change_it=_would_change(evidence, effect),
    )


def _would_change(evidence: Evidence, effect: Effect | None) -> str:
    n, d = evidence.n, len(evidence.sweep.space.searched)
    enough = max(FEWEST_TO_NARROW, PER_PARAMETER * d)
    parts = []
    if n < enough:
        parts.append(f"{count(enough - n, 'more trial')} (then {enough}: {PER_PARAMETER} for each parameter)")
    if effect is not None and effect.direction is not None and effect.direction.trials_to_tell:
        better, worse = _short(effect.direction.better), _short(effect.direction.worse)
        parts.append(f"{count(effect.direction.trials_to_tell, 'more trial')} to tell {better} from {worse}")
    return "; ".join(parts)


def _why_kept(evidence: Evidence, parameter: Searched, info: ParamInfo) -> str:
    effect = evidence.effects.get(parameter.name)
    n = evidence.n
    if effect is None or effect.direction is None:
        return f"nothing can be told of it (n = {n}{f': {effect.why}' if effect is not None and effect.why else ''})"
    evidence_text = _measured(evidence, effect)
    if effect.p_holm is not None and effect.p_holm < ALPHA:
        if n < FEWEST_TO_NARROW:
            return f"it matters, but {n} trials are too few to leave anything out: {evidence_text}"
        return f"it matters, but no value is certainly useless: {evidence_text}"
    limit = f"; only differences above {number(effect.detectable)} would show" if effect.detectable is not None else ""
    return f"the trials do not carry a change: {evidence_text}{limit}"


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else label(value)


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"by {number(estimate.value)}"
    spread = (estimate.high - estimate.low) / 2
    return f"by {number(estimate.value, spread)} [{number(estimate.low, spread)}, {number(estimate.high, spread)}]"


# repair


def _repair(evidence: Evidence, parameter: Searched, info: ParamInfo) -> Decision | None:
    """A value with which nothing ever completed, or a parameter that was never varied."""
    survival = evidence.survival.get(parameter.name)
    if survival is not None and isinstance(parameter, Choices):
        broken = [
            value for value in survival.values if _never_completes(value) and _may_go(evidence, parameter, value.value)
        ]
        left = [v for v in parameter.values if not any(b.value is not None and same(b.value, v) for b in broken)]
        if broken and left:
            told = ", ".join(f"{value.label}: {value.failed} of {value.n}" for value in broken)
            n = sum(value.n for value in survival.values)
            return Decision(
                parameter=parameter.name,
                action="repair",
                reason=f"no trial with it completed ({told} failed), others did, n = {n}",
                old=parameter,
                new=only(parameter, left),
                n=n,
                confidence="high",
                left_out=tuple(value.value for value in broken if value.value is not None),
                would_change_it="a cause of the failures that has nothing to do with the value",
            )
    if info.varied or evidence.n < FEWEST_TO_WIDEN or info.conditional:
        return None
    tells = survival is not None and survival.only_one_completed
    if tells:
        return None
    return Decision(
        parameter=parameter.name,
        action="repair",
        reason=f"not varied: all {count(evidence.n, 'trial')} have {label(info.levels[0])}, so nothing is known of it",
        old=parameter,
        new=parameter,
        n=evidence.n,
        confidence="high",
        would_change_it="trials with other values",
        extremes=not isinstance(parameter, Choices) or parameter.ordered,
    )


def _never_completes(value: TriedValue) -> bool:
    if value.value is None or value.complete or value.pruned or value.failed < FAILED:
        return False
    return value.p_failed_holm is not None and value.p_failed_holm < ALPHA


def _may_go(evidence: Evidence, parameter: Searched, value: Value | None) -> bool:
    """Whether a value is neither the baseline's nor the best configuration's."""
    if value is None:
        return False
    kept_ones = (evidence.baseline.get(parameter.name), evidence.incumbent.get(parameter.name))
    return not any(v is not None and same(parameter.normalise(v), parameter.normalise(value)) for v in kept_ones)


# expand


def _expand(evidence: Evidence, parameter: Searched, info: ParamInfo) -> Decision | None:
    """An optimum that the model puts at an end, the best trial there if no model can tell, or a trend towards it."""
    if evidence.n < FEWEST_TO_WIDEN or not info.ordered or not info.varied:
        return None
    if parameter.count is not None and parameter.count < 3:
        return None
    chances = evidence.edge_chances(info)
    at_best = _ends_of_best(evidence, parameter)
    leads_to = _end_of_trend(evidence, parameter, info)
    options = []
    for i, side in enumerate(("low", "high")):
        chance = chances[i] if chances is not None else None
        if chance is None:
            told = side in at_best
        else:
            told = chance >= (AT_END_WITH_BEST if side in at_best else AT_END)
        if told or side == leads_to:
            options.append((chance or 0.0, side, side in at_best))
    if not options:
        return None
    chance, side, is_best = max(options)
    unstable = _unstable(evidence.survival.get(parameter.name), side)
    if unstable:
        return _keep(
            evidence, parameter, f"best at the {side} end, where {unstable}: a limit of stability, not of the range"
        )
    moved = widened(parameter, side)
    if isinstance(moved, str):
        return _keep(evidence, parameter, f"best at the {side} end, but {moved}")
    effect = evidence.effects.get(parameter.name)
    direction = effect.direction if effect is not None else None
    what = "best trial" if is_best else "optimum" if chance >= AT_END else "best mean"
    reason = f"{what} at the {side} end" + (f", P(optimum there) = {chance:.2f}" if chances is not None else "")
    if direction is not None:
        reason += f", {_short(direction.better)} over {_short(direction.worse)} {_interval(direction.difference)}"
    reason += f", n = {evidence.n}" + (f"; {moved.capped}" if moved.capped else "")
    return Decision(
        parameter=parameter.name,
        action="expand",
        reason=reason,
        old=parameter,
        new=moved.parameter,
        n=evidence.n,
        confidence="high" if chance >= SURE else "moderate",
        probability=chance if chances is not None else None,
        interval=direction.difference if direction is not None else None,
        p_holm=effect.p_holm if effect is not None else None,
        would_change_it=f"a best trial inside the range, at {label(moved.end)} or before it",
    )


def _end_of_trend(evidence: Evidence, parameter: Searched, info: ParamInfo) -> str:
    """The end of the space towards which the metric improves all the way, by a test after Holm; empty if none."""
    effect = evidence.effects.get(parameter.name)
    if effect is None or effect.trend not in ("increasing", "decreasing") or effect.direction is None:
        return ""
    better = info.position(effect.direction.better)
    low, high = info.ends
    near = CLOSE * (high - low)
    return "low" if better <= low + near else "high" if better >= high - near else ""


def _ends_of_best(evidence: Evidence, parameter: Searched) -> set[str]:
    """The ends of the space at which the best configuration lies."""
    value = evidence.incumbent.get(parameter.name)
    if not is_number(value):
        return set()
    assert value is not None
    low, high = parameter.low, parameter.high
    if isinstance(parameter, Choices) or parameter.count is not None:
        return {side for side, end in (("low", low), ("high", high)) if value == end}
    scale = math.log if parameter.log else float
    at, near = scale(float(value)), CLOSE * (scale(float(high)) - scale(float(low)))
    return {
        side
        for side, is_there in (("low", at <= scale(float(low)) + near), ("high", at >= scale(float(high)) - near))
        if is_there
    }


def _unstable(survival: Survival | None, side: str) -> str:
    if survival is None or not survival.values:
        return ""
    value = survival.values[0 if side == "low" else -1]
    if value.failed < FAILED or value.failed * 2 < value.n:
        return ""
    return f"{value.failed} of {count(value.n, 'trial')} failed"


# fix, drop, narrow


def _leave_out(evidence: Evidence, parameter: Searched, info: ParamInfo) -> Decision | None:
    """Values of which even an optimistic bound lies below what the best configuration is expected to give."""
    effect = evidence.effects.get(parameter.name)
    enough = max(FEWEST_TO_NARROW, PER_PARAMETER * len(evidence.sweep.space.searched))
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
    values = [level for level in info.levels if parameter.why_outside(level) is None]
    bounds = dict(zip(map(_key, values), evidence.at_their_best(info, list(values)).tolist(), strict=True))
    keep = [
        v
        for v in parameter.values
        if _key(v) not in bounds
        or bounds[_key(v)] >= evidence.level
        or evidence.tried(info, v) < PER_VALUE
        or not _may_go(evidence, parameter, v)
        or any(_has(info, row, v) for row in evidence.elites)
    ]
    if parameter.ordered and parameter.count > 2:
        order = list(parameter.in_order)
        places = [order.index(v) for v in keep]
        # contiguous, and one further value at either side
        keep = order[max(0, min(places) - 1) : max(places) + 2]
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
    reason = f"{'it is best' if fixes else f'{told} cannot reach the best'}: {_measured(evidence, effect)}"
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


def _measured(evidence: Evidence, effect: Effect) -> str:
    told = effect.direction
    assert told is not None
    return (
        f"{_short(told.better)} over {_short(told.worse)} {_interval(told.difference)}, "
        f"P(better) = {told.probability:.3f}, p after Holm {p_value(effect.p_holm)}, n = {evidence.n}"
    )


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
    scale, back = (math.log, math.exp) if parameter.log else (float, float)
    low, high = scale(float(parameter.low)), scale(float(parameter.high))
    seen = [scale(float(v)) for v in info.levels]
    # beyond what was tried nothing is known: it stays, and so does a margin
    places = np.linspace(max(low, min(seen)), min(high, max(seen)), GRID)
    bounds = evidence.at_their_best(info, [back(float(at)) for at in places])
    good = np.flatnonzero(bounds >= evidence.level)
    anchors = [row_value for row in evidence.elites if is_number(row_value := info.value(row))]
    anchors += [
        v for v in (evidence.baseline.get(parameter.name), evidence.incumbent.get(parameter.name)) if is_number(v)
    ]
    inside = [scale(float(v)) for v in anchors if v is not None and parameter.low <= v <= parameter.high]  # type: ignore[operator]
    inside += places[good].tolist()
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
    narrower = between(parameter, back(first), back(last))
    if narrower is None or not LEAST_KEPT <= share_kept(parameter, narrower) <= WORTH:
        return None
    assert effect.direction is not None
    return Decision(
        parameter=parameter.name,
        action="narrow",
        reason=(
            f"the rest cannot reach the best: {_measured(evidence, effect)}; "
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


def _key(value: Value) -> tuple[type, Value]:
    return type(value), value


def _has(info: ParamInfo, row: int, value: Value) -> bool:
    own = info.value(row)
    return own is not None and same(own, value)


# quota


def _quota(evidence: Evidence, parameter: Searched, info: ParamInfo) -> Decision | None:
    """Values that the search has neglected, and that no test has found to be worse."""
    can = evidence.sweep.sampler.capabilities
    if not isinstance(parameter, Choices) or parameter.weights is not None or parameter.when is not None:
        return None
    if (
        can.is_finite
        or parameter.count > 4
        or all(is_number(v) for v in parameter.values)
        or _arms(evidence) > MOST_ARMS
    ):
        return None
    effect = evidence.effects.get(parameter.name)
    if effect is not None and effect.p_holm is not None and effect.p_holm < ALPHA:
        return None  # neglected because it is worse
    begun = {}
    survival = evidence.survival.get(parameter.name)
    if survival is not None:
        begun = {_key(value.value): value.n for value in survival.values if value.value is not None}
    counts = {_key(v): begun.get(_key(v), evidence.tried(info, v)) for v in parameter.values}
    n = sum(counts.values())
    fair = 1 / parameter.count
    starved = [
        v
        for v in parameter.values
        if counts[_key(v)] <= fair * n / 2 and _chance_of_at_most(counts[_key(v)], n, fair) < UNFAIR
    ]
    if not starved or len(starved) == parameter.count or n < FEWEST_TO_WIDEN:
        return None
    share = min(QUOTA, 1 / parameter.count)
    rest = (1 - share * len(starved)) / (parameter.count - len(starved))
    weights = [share if any(same(v, s) for s in starved) else rest for v in parameter.values]
    smallest = min(weights)
    told = ", ".join(f"{label(v)} had {counts[_key(v)]} of {n} trials" for v in starved)
    direction = effect.direction if effect is not None else None
    more = f", p after Holm {p_value(effect.p_holm)}" if effect is not None and effect.p_holm is not None else ""
    if direction is not None and direction.trials_to_tell:
        more += f", {count(direction.trials_to_tell, 'more trial')} to tell"
    return Decision(
        parameter=parameter.name,
        action="quota",
        reason=f"{told}, too few to judge it{more}",
        old=parameter,
        new=replace(parameter, weights=tuple(round(w / smallest, 2) for w in weights)),
        n=n,
        confidence="high",
        probability=direction.probability if direction is not None else None,
        interval=direction.difference if direction is not None else None,
        p_holm=effect.p_holm if effect is not None else None,
        would_change_it="a fair number of trials of every value",
    )


def _arms(evidence: Evidence) -> int:
    return math.prod(p.count for p in evidence.sweep.space.searched if isinstance(p, Choices) and p.weights is not None)


def _chance_of_at_most(k: int, n: int, share: float) -> float:
    """Of a binomial number."""
    return sum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1)) if n else 1.0


def summary(decisions: Sequence[Decision]) -> Mapping[str, Any]:
    """How many parameters each action is taken for, in the order of ``ACTIONS``."""
    return {action: n for action in ACTIONS if (n := sum(d.action == action for d in decisions))}


def fixed(decisions: Sequence[Decision]) -> tuple[Fixed, ...]:
    return tuple(d.new for d in decisions if isinstance(d.new, Fixed))
