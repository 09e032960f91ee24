"""All trials in one heap: whether its top is that of one study."""

from __future__ import annotations

from hpo_batch.findings import order
from hpo_batch.findings.order import Told
from hpo_batch.findings.pooled.numbers import Pooled
from hpo_batch.findings.records import Finding
from hpo_batch.records import Answer


def finding(heap: Pooled) -> Told:
    top = heap.top
    confounded = top.confounded is not Answer.NO
    place = order.ONE_STUDY_FILLS_THE_TOP if top.confounded is Answer.YES else order.TOP_OF_ALL
    return place, Finding(
        key="pooled.top",
        study="",
        question=f"Does one study fill the top {top.k}?",
        answer=top.confounded,
        text=top.text,
        do="compare within each study, not over all" if confounded else "",
        p=top.p,
        n=heap.n,
        method="shares of the top beside shares of all trials, hypergeometric test",
    )
