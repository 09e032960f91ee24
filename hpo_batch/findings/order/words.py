"""Whether the metric moved while the search went on, and what to do then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.order.numbers import LEVEL, Order
from hpo_batch.findings.phrases import p_text
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer, Estimate
from hpo_batch.text.numbers import interval

QUESTION: Final = "Did the metric move with time?"
METHOD: Final = (
    "generalized least squares on normal scores beside a Gaussian process of the parameters: a line and a step at each "
    f"trial, called at p < {LEVEL} if the values themselves agree"
)


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    found = study.order
    if found is None:
        return
    finding = Finding(
        key="order", study=study.label, question=QUESTION, answer=found.answer, text="", p=found.p, n=found.n,
        method=METHOD, estimate=found.size,
    )  # fmt: skip
    if found.answer is Answer.NO:
        yield Ranked(Place.NO_DRIFT, _with(finding, f"{study.label}: no drift of {study.metric} over the trials, and "
                                           f"no step, beyond chance ({p_text(found.p)})"))  # fmt: skip
    elif not found.kind:
        yield Ranked(Place.NO_DRIFT, _with(finding, f"{study.label}: {found.why}"))
    elif found.confounded:
        names = " and ".join(found.confounded[:3])
        text = (
            f"{study.label}: {study.metric} moved with time or with {names}: {_moved(study, found)}, and {names} "
            "changed there too. Which of them did it cannot be told"
        )
        again = Action(kind=ActionKind.REPEAT_EARLY, count=found.since, beside=tuple(found.confounded[:3]))
        yield Ranked(Place.DRIFT, _with(finding, text, again))
    else:
        text = (
            f"{study.label}: {_moved(study, found)}, at equal parameters ({p_text(found.p)}). Trials from before "
            "and after cannot be compared as they are"
        )
        yield Ranked(Place.DRIFT, _with(finding, text, Action(kind=ActionKind.REPEAT_EARLY, count=found.since)))


def _with(finding: Finding, text: str, *actions: Action) -> Finding:
    return replace(finding, text=text, actions=actions)


def _moved(study: StudyFindings, found: Order) -> str:
    assert found.size is not None
    better = (found.size.value > 0) == (study.direction == "maximize")
    how = "better" if better else "worse"
    by = _by(found.size)
    if found.since is not None:
        return f"from trial {found.since} on {study.metric} is {how} by {by}"
    return f"{study.metric} drifts over the trials, from first to last by {by} ({how})"


def _by(size: Estimate) -> str:
    sign = -1 if size.value < 0 else 1
    low, high = size.low, size.high
    if low is None or high is None:
        return interval(Estimate(value=abs(size.value), low=None, high=None, method="", n=size.n))
    low, high = sorted((sign * low, sign * high))
    return interval(Estimate(value=abs(size.value), low=low, high=high, method="", n=size.n))
