"""Quota: a fair share for values that the search has neglected, and that no test has found to be worse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.next.decision import Decision
from hpo_batch.next.evidence import Evidence
from hpo_batch.next.rules.enough import FEWEST_TO_WIDEN
from hpo_batch.records import Value, is_number
from hpo_batch.space.parameters import Choices, Searched
from hpo_batch.text.numbers import count, label, p_value

# Conventions. That quotas cost nothing that could be seen, and gain nothing either, is measured with these numbers only
# (docs/benchmarks.md, rounds of whole tables): they are there to judge a value, not to find the best sooner.
QUOTA: Final = 0.25
"""share of the trials for each value that had too few: document 003's, of which its search gave 2 %"""
UNFAIR: Final = 0.025
"""chance of so few trials of a value under equal shares, below which the search has neglected it, if they are at most
half of a fair share; one side of the usual 5 %"""
MOST_ARMS: Final = 12
"""combinations of weighted values, each of which needs trials"""
MOST_VALUES: Final = 4
"""of a parameter with a quota: 25 % each leave nothing for a fifth"""


def quota(evidence: Evidence, parameter: Searched, info: ParamInfo) -> Decision | None:
    """Weights for values that the search has neglected, and that no test has found to be worse."""
    if not isinstance(parameter, Choices) or not _may_be_weighed(evidence, parameter):
        return None
    effect = evidence.effects.get(parameter.name)
    if effect is not None and effect.p_holm is not None and effect.p_holm < ALPHA:
        return None  # neglected because it is worse
    counts = _counts(evidence, parameter, info)
    n = sum(counts)
    starved = [_is_starved(k, n, 1 / parameter.count) for k in counts]
    if not any(starved) or all(starved) or n < FEWEST_TO_WIDEN:
        return None
    told = ", ".join(
        f"{label(v)} had {k} of {n} trials" for v, k, few in zip(parameter.values, counts, starved, strict=True) if few
    )
    direction = effect.direction if effect is not None else None
    more = f", p after Holm {p_value(effect.p_holm)}" if effect is not None and effect.p_holm is not None else ""
    if direction is not None and direction.trials_to_tell:
        more += f", {count(direction.trials_to_tell, 'more trial')} to tell"
    return Decision(
        parameter=parameter.name,
        action="quota",
        reason=f"{told}, too few to judge it{more}",
        old=parameter,
        new=replace(parameter, weights=_weights(starved)),
        n=n,
        confidence="high",
        probability=direction.probability if direction is not None else None,
        interval=direction.difference if direction is not None else None,
        p_holm=effect.p_holm if effect is not None else None,
        would_change_it="a fair number of trials of every value",
    )


def _may_be_weighed(evidence: Evidence, parameter: Choices) -> bool:
    """Whether it is a scientific choice (few values that are no numbers) whose shares can be set."""
    return not (
        parameter.weights is not None
        or parameter.when is not None
        or evidence.sweep.sampler.capabilities.is_finite
        or parameter.count > MOST_VALUES
        or all(is_number(v) for v in parameter.values)
        or _arms(evidence) > MOST_ARMS
    )


def _counts(evidence: Evidence, parameter: Choices, info: ParamInfo) -> list[int]:
    """Trials that were begun with each value, however they ended."""
    survival = evidence.survival.get(parameter.name)
    begun = {} if survival is None else {_key(v.value): v.n for v in survival.values if v.value is not None}
    return [begun.get(_key(v), evidence.tried(info, v)) for v in parameter.values]


def _key(value: Value) -> tuple[type, Value]:
    return type(value), value


def _is_starved(k: int, n: int, fair: float) -> bool:
    return k <= fair * n / 2 and _chance_of_at_most(k, n, fair) < UNFAIR


def _weights(starved: Sequence[bool]) -> tuple[float, ...]:
    """A quota for each value that had too few; the others share the rest equally."""
    share = min(QUOTA, 1 / len(starved))
    rest = (1 - share * sum(starved)) / (len(starved) - sum(starved))
    smallest = min(share, rest)
    return tuple(round((share if few else rest) / smallest, 2) for few in starved)


def _arms(evidence: Evidence) -> int:
    return math.prod(p.count for p in evidence.sweep.space.searched if isinstance(p, Choices) and p.weights is not None)


def _chance_of_at_most(k: int, n: int, share: float) -> float:
    """Of a binomial number."""
    return sum(math.comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1)) if n else 1.0
