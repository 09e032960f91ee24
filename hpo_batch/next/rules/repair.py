"""Repair: a value with which nothing ever completed, or a parameter that was never varied."""

from __future__ import annotations

from typing import Final

from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.survival.numbers import Survival, TriedValue
from hpo_batch.next.decision import Decision
from hpo_batch.next.evidence import Evidence
from hpo_batch.next.ranges import only
from hpo_batch.next.rules.enough import FEWEST_TO_WIDEN, may_go
from hpo_batch.space.parameters import Choices, Searched, same
from hpo_batch.text.numbers import count, label

FAILED: Final = 3
"""failed trials without which a value is not taken out. A convention: fewer may be one bad node, whatever a test
says"""


def repair(evidence: Evidence, parameter: Searched, info: ParamInfo) -> Decision | None:
    """A value with which nothing ever completed, or a parameter that was never varied."""
    survival = evidence.survival.get(parameter.name)
    if survival is not None and isinstance(parameter, Choices):
        decision = _without_broken(evidence, parameter, survival)
        if decision is not None:
            return decision
    if info.varied or evidence.n < FEWEST_TO_WIDEN or info.conditional:
        return None
    if survival is not None and survival.only_one_completed:
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


def _without_broken(evidence: Evidence, parameter: Choices, survival: Survival) -> Decision | None:
    broken = [
        value for value in survival.values if _never_completes(value) and may_go(evidence, parameter, value.value)
    ]
    left = [v for v in parameter.values if not any(b.value is not None and same(b.value, v) for b in broken)]
    if not broken or not left:
        return None
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


def _never_completes(value: TriedValue) -> bool:
    if value.value is None or value.complete or value.pruned or value.failed < FAILED:
        return False
    return value.p_failed_holm is not None and value.p_failed_holm < ALPHA
