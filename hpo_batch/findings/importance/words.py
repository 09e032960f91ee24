"""Which parameters explain the differences, as far as the tests of effects confirm it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.findings.effects.figure import joint_name
from hpo_batch.findings.effects.numbers import most_important
from hpo_batch.findings.effects.words import chance
from hpo_batch.findings.importance.figure import shares_of
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer, Estimate

MOST_NAMED: Final = 4


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    shares = list(shares_of(study.effects))
    if not shares:
        return
    shares.sort(key=lambda pair: -pair[1].value)
    shown = [f"{joint_name(e)} {_percent(share)}" for e, share in shares[:MOST_NAMED]]
    more = len(shares) - MOST_NAMED
    confirmed = [joint_name(e) for e, _ in shares if e.p_holm is not None and e.p_holm < ALPHA]
    named = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    text = f"{study.label}: of the variance of all main effects, {named}"
    text += _first(study)
    text += f"; confirmed: {', '.join(confirmed)}" if confirmed else "; none is confirmed"
    yield Ranked(
        Place.IMPORTANCE,
        Finding(
            key="importance",
            study=study.label,
            question="Does a parameter explain the differences between trials?",
            answer=Answer.YES if confirmed else Answer.CANNOT_TELL,
            text=text,
            method=shares[0][1].method,
            n=shares[0][1].n,
        ),
    )


def _first(study: StudyFindings) -> str:
    """Which parameter has the largest share; where that is open, which may have it, and how likely."""
    named = [(e.parameter, e.top_probability) for e in most_important(study.effects) if e.top_probability is not None]
    if not named:
        return ""
    if len(named) == 1:
        return f"; {named[0][0]} has the largest share ({chance(named[0][1])})"
    if len(named) > MOST_NAMED:
        return f"; it is open which has the largest share ({named[0][0]}: {chance(named[0][1])})"
    each = [f"{name} ({chance(probability)})" for name, probability in named]
    return f"; the largest share is that of {', '.join(each[:-1])} or {each[-1]}"


def _percent(share: Estimate) -> str:
    low, high = share.low, share.high
    assert low is not None
    assert high is not None
    return f"{100 * share.value:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
