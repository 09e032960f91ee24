"""Numbers of a reason as a sentence has them."""

from __future__ import annotations

from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.next.evidence import Evidence
from hpo_batch.records import Estimate, Value
from hpo_batch.text.numbers import label, number, p_value


def short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else label(value)


def by_how_much(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"by {number(estimate.value)}"
    spread = (estimate.high - estimate.low) / 2
    return f"by {number(estimate.value, spread)} [{number(estimate.low, spread)}, {number(estimate.high, spread)}]"


def measured(evidence: Evidence, effect: Effect) -> str:
    told = effect.direction
    assert told is not None
    return (
        f"{short(told.better)} over {short(told.worse)} {by_how_much(told.difference)}, "
        f"P(better) = {told.probability:.3f}, p after Holm {p_value(effect.p_holm)}, n = {evidence.n}"
    )
