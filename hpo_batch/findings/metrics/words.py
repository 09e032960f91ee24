"""Which of the other reported numbers go with the metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.findings.metrics.numbers import OtherMetric
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer
from hpo_batch.text.numbers import number

STRONG: Final = 0.5
"""rank correlation from whose size on a reader should know of it"""
MOST: Final = 3


def strong(study: StudyFindings) -> list[OtherMetric]:
    """Those that go with the metric clearly, the closest first."""
    found = []
    for one in study.others:
        rho = one.rank_correlation
        if rho is None:
            continue
        if abs(rho.value) >= STRONG and one.p_holm is not None and one.p_holm < ALPHA:
            found.append(one)
    return found


def named(found: list[OtherMetric]) -> str:
    """``best_epoch (0.83), train_auc (0.7)``."""
    texts = [f"{one.name} ({number(one.rank_correlation.value, 0.1)})" for one in found if one.rank_correlation]
    more = len(texts) - MOST
    return ", ".join(texts[:MOST]) + (f" and {more} more" if more > 0 else "")


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    found = strong(study)
    known = [one for one in study.others if one.rank_correlation is not None]
    if not known:
        return
    text = f"none of {len(known)} other reported numbers clearly goes with {study.metric}"
    if found:
        text = f"{study.metric} goes with {named(found)}, by rank correlation"
    yield Ranked(
        Place.DETAIL,
        Finding(
            key="metrics",
            study=study.label,
            question=f"Does anything else that was reported go with {study.metric}?",
            answer=Answer.YES if found else Answer.CANNOT_TELL,
            text=f"{study.label}: {text}",
            estimate=found[0].rank_correlation if found else None,
            n=study.summary.n,
            method=f"Spearman of {STRONG} or more, Holm over all of them; no cause",
        ),
    )
