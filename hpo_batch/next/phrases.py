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
    test = "not tested" if effect.p_holm is None else f"p after Holm {p_value(effect.p_holm)}"
    return (
        f"{short(told.better)} over {short(told.worse)} {by_how_much(told.difference)}, "
        f"P(better) = {told.probability:.3f}, {test}, {n_text(evidence, effect.parameter)}"
    )


def n_text(evidence: Evidence, parameter: str) -> str:
    """The trials that a statement about a parameter rests on; of a conditional one, also how many have it."""
    info = evidence.data.by_name.get(parameter)
    active = evidence.n if info is None else int(info.active[evidence.data.distinct].sum())
    return f"n = {evidence.n}" + ("" if active == evidence.n else f", {active} with it")
