"""No change of a parameter: why, and what would lead to one."""

from __future__ import annotations

from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.next.decision import Decision
from hpo_batch.next.evidence import Evidence
from hpo_batch.next.phrases import measured, short
from hpo_batch.next.rules.enough import FEWEST_TO_NARROW, PER_PARAMETER, to_leave_out
from hpo_batch.space.parameters import Searched
from hpo_batch.text.numbers import count, number


def keep(evidence: Evidence, parameter: Searched, reason: str, *, needs: str = "") -> Decision:
    """The parameter as it is; ``needs`` is what it would take, if that is not more trials."""
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
        would_change_it=needs or _would_change(evidence, effect),
    )


def _would_change(evidence: Evidence, effect: Effect | None) -> str:
    n, d = evidence.n, len(evidence.sweep.space.searched)
    enough = to_leave_out(d)
    parts = []
    if n < enough:
        parts.append(f"{count(enough - n, 'more trial')} (then {enough}: {PER_PARAMETER} for each parameter)")
    if effect is not None and effect.direction is not None and effect.direction.trials_to_tell:
        better, worse = short(effect.direction.better), short(effect.direction.worse)
        parts.append(f"{count(effect.direction.trials_to_tell, 'more trial')} to tell {better} from {worse}")
    return "; ".join(parts)


def why_kept(evidence: Evidence, parameter: Searched, info: ParamInfo) -> str:
    effect = evidence.effects.get(parameter.name)
    n = evidence.n
    if effect is None or effect.direction is None:
        return f"nothing can be told of it (n = {n}{f': {effect.why}' if effect is not None and effect.why else ''})"
    evidence_text = measured(evidence, effect)
    if effect.p_holm is not None and effect.p_holm < ALPHA:
        if n < FEWEST_TO_NARROW:
            return f"it matters, but {n} trials are too few to leave anything out: {evidence_text}"
        return f"it matters, but no value is certainly useless: {evidence_text}"
    limit = f"; only differences above {number(effect.detectable)} would show" if effect.detectable is not None else ""
    return f"the trials do not carry a change: {evidence_text}{limit}"
