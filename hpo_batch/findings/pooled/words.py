"""All trials pooled: whether one study fills the top."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.records import Finding, Findings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer


def common_sentences(findings: Findings) -> Iterator[Ranked]:
    heap = findings.pooled
    if heap is None:
        return
    top = heap.top
    confounded = top.confounded is not Answer.NO
    place = Place.ONE_STUDY_FILLS_THE_TOP if top.confounded is Answer.YES else Place.TOP_OF_ALL
    yield Ranked(
        place,
        Finding(
            key="pooled.top",
            study="",
            question=f"Does one study fill the top {top.k}?",
            answer=top.confounded,
            text=top.text,
            actions=(Action(kind=ActionKind.COMPARE_WITHIN),) if confounded else (),
            p=top.p,
            n=heap.n,
            method="shares of the top beside shares of all trials, hypergeometric test",
        ),
    )
