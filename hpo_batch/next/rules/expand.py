"""Expand: the range goes on where the best value lies at its end."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.survival.numbers import Survival
from hpo_batch.next.added import unreachable
from hpo_batch.next.decision import Decision
from hpo_batch.next.evidence import NEAR_END, Evidence
from hpo_batch.next.phrases import by_how_much, n_text, short
from hpo_batch.next.ranges import widened
from hpo_batch.next.rules.enough import FEWEST_TO_WIDEN, SURE
from hpo_batch.next.rules.keep import keep
from hpo_batch.records import Value, is_number
from hpo_batch.space.parameters import Choices, Searched
from hpo_batch.text.numbers import count

# Chosen on two complete tables (hpobench_australian, hpolib_parkinsons), 292 ends of ranges that leave out values, 50
# trials each; what they find on tables that they were not chosen on is in docs/benchmarks.md. On these two and on 34
# drawn problems (741 ends, benchmarks/refine.py) nothing told more than this chance: not what the model expects beyond
# the end, nor where the best trial or the best tenth lies, alone or beside it. Lower bounds call one more end falsely
# for each that they find.
AT_END: Final = 0.6
"""chance that the best value is at an end, from which the range is widened there"""
AT_END_WITH_BEST: Final = 0.4
"""the same if the best trial is there, too"""
AT_END_OF_TWO: Final = 0.9
"""the same for two values, one of which is always the best"""
AT_END_OF_TWO_WITH_BEST: Final = 0.7
FEWEST_OF_TWO: Final = 3
"""trials of each of two values: a search of 50 trials gave a bad one of two 3 to 16 (hpolib_parkinsons)"""
GOES_ON: Final = (-1.2, 0.8)
"""log odds that it is better beyond an end: at an even chance that the optimum of the range is there, and for each unit
of the log odds of that chance. Fitted to the same 741 ends (Platt 1999, "Probabilistic outputs for support vector
machines"): a chance of 0.6 means 0.29, of 0.8 0.48, of 0.95 0.76"""
SUREST: Final = 0.98
"""chances above are taken for this one, and below for its opposite: 400 draws tell no more"""
FAILED: Final = 3
"""failed trials at an end, from which it counts as a limit of stability if at least half of the trials there failed"""


def expand(evidence: Evidence, parameter: Searched, info: ParamInfo) -> Decision | None:
    """An optimum that the model puts at an end, the best trial there if no model can tell, or a trend towards it."""
    if evidence.n < FEWEST_TO_WIDEN or not info.ordered or not info.varied:
        return None
    if parameter.count == 1 or _are_hardly_compared(evidence, info):
        return None
    chances = evidence.edge_chances(info)
    option = _end_to_move(evidence, parameter, info, chances)
    if option is None:
        return None
    chance, side, is_best = option
    unstable = _unstable(evidence.survival.get(parameter.name), side)
    if unstable:
        why = f"where {unstable}: a limit of stability, not of the range"
        return keep(evidence, parameter, f"best at the {side} end, {why}")
    moved = widened(parameter, side)
    why = moved if isinstance(moved, str) else unreachable(evidence.sweep.space, moved.parameter)
    if isinstance(moved, str) or why:
        return keep(evidence, parameter, f"best at the {side} end, but {why}")
    effect = evidence.effects.get(parameter.name)
    direction = effect.direction if effect is not None else None
    what = "best trial" if is_best else "optimum" if chance >= AT_END else "best mean"
    gain = None if chances is None else better_beyond(chance)
    reason = f"{what} at the {side} end"
    if gain is not None:
        reason += f", P(optimum there) = {chance:.2f}, P(better beyond) = {gain:.2f}"
    if direction is not None:
        by = by_how_much(direction.difference)
        if (info.position(direction.better) > sum(info.ends) / 2) == (side == "high"):
            reason += f", {short(direction.better)} over {short(direction.worse)} {by}"
        else:
            better, worse = short(direction.better), short(direction.worse)
            reason += f", although on average {better} does better than {worse} {by}"
    return Decision(
        parameter=parameter.name,
        action="expand",
        reason=f"{reason}, {n_text(evidence, parameter.name)}" + (f"; {moved.capped}" if moved.capped else ""),
        old=parameter,
        new=moved.parameter,
        n=evidence.n,
        confidence="high" if chance >= SURE else "moderate",
        probability=gain,
        interval=direction.difference if direction is not None else None,
        p_holm=effect.p_holm if effect is not None else None,
        would_change_it=f"a best trial inside the range, not at its {side} end",
    )


def better_beyond(chance: float) -> float:
    """How likely it is better beyond an end, given the chance that the optimum of the range is there."""
    told = min(max(chance, 1 - SUREST), SUREST)
    at_even, slope = GOES_ON
    return 1 / (1 + math.exp(-at_even - slope * math.log(told / (1 - told))))


def _are_hardly_compared(evidence: Evidence, info: ParamInfo) -> bool:
    """Whether there are two values, one of which had too few trials to tell which is better."""
    return len(info.levels) == 2 and any(evidence.tried(info, level) < FEWEST_OF_TWO for level in info.levels)


def _end_to_move(
    evidence: Evidence, parameter: Searched, info: ParamInfo, chances: tuple[float, float] | None
) -> tuple[float, str, bool] | None:
    """The end to move: the chance that the optimum is there, its side, and whether the best trial is there."""
    at_best = _ends_of_best(evidence, parameter, info)
    are_two = len(info.levels) == 2
    enough = (AT_END_OF_TWO, AT_END_OF_TWO_WITH_BEST) if are_two else (AT_END, AT_END_WITH_BEST)
    leads_to = _end_of_trend(evidence, parameter, info)
    options = []
    for i, side in enumerate(("low", "high")):
        chance = chances[i] if chances is not None else None
        if chance is None:
            told = side in at_best
        else:
            told = chance >= enough[side in at_best]
        if told or side == leads_to:
            options.append((chance or 0.0, side, side in at_best))
    return max(options, default=None)


def _end_of_trend(evidence: Evidence, parameter: Searched, info: ParamInfo) -> str:
    """The end of the space towards which the metric improves all the way, by a test after Holm; empty if none."""
    effect = evidence.effects.get(parameter.name)
    if effect is None or effect.trend not in ("increasing", "decreasing") or effect.direction is None:
        return ""
    better = info.position(effect.direction.better)
    low, high = info.ends
    near = NEAR_END * (high - low)
    return "low" if better <= low + near else "high" if better >= high - near else ""


def _ends_of_best(evidence: Evidence, parameter: Searched, info: ParamInfo) -> set[str]:
    """The ends of the space at which the best configuration lies, and with it all that are as good."""
    best = evidence.study.summary.best
    tied = [number for number, value in evidence.study.history if best is not None and value == best.value]
    rows = np.flatnonzero(np.isin(evidence.data.numbers, tied)).tolist()
    values = {evidence.incumbent.get(parameter.name), *(info.value(row) for row in rows)} - {None}
    at_each = [_ends_at(parameter, value) for value in values if value is not None]
    return set.intersection(*at_each) if at_each else set()


def _ends_at(parameter: Searched, value: Value) -> set[str]:
    """The ends of the space at which a value lies."""
    if not is_number(value):
        return set()
    low, high = parameter.low, parameter.high
    if isinstance(parameter, Choices) or parameter.count is not None:
        return {side for side, end in (("low", low), ("high", high)) if value == end}
    scale = math.log if parameter.log else float
    at, near = scale(float(value)), NEAR_END * (scale(float(high)) - scale(float(low)))
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
