"""Findings in words: each may be read alone, has its numbers, and says what to do. No computing here.

There is a module for each subject. Where its findings stand among the others is said in ``order``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpo_batch.analysis.answers import (
    best,
    budgets,
    coverage,
    edges,
    effects,
    efficiency,
    expected,
    fidelity,
    health,
    importance,
    interactions,
    noise,
    pooled,
    trials,
)
from hpo_batch.analysis.answers.order import Told
from hpo_batch.analysis.records import Budgets, Finding, Pooled, StudyFindings


def ordered(
    studies: Sequence[StudyFindings], beside: Budgets | None, heap: Pooled | None, *, family: int
) -> tuple[Finding, ...]:
    """All findings, most telling first. ``family``: the number of claims that were adjusted together."""
    told: list[Told] = []
    for study in studies:
        told += _study(study, family=family)
    if family:
        told.append(effects.survivors(studies, family=family))
    if beside is not None:
        told += budgets.findings(beside)
    if heap is not None:
        told.append(pooled.finding(heap))
    # a stable sort: findings of one kind stay in the order of the studies
    return tuple(finding for _, finding in sorted(told, key=lambda pair: pair[0]))


def _study(study: StudyFindings, *, family: int) -> Iterator[Told]:
    yield from trials.findings(study)
    if study.summary.n:
        yield from health.suspects(study)
        yield from noise.findings(study)
        yield from effects.findings(study, family=family)
        yield from interactions.findings(study)
        yield from coverage.findings(study)
        yield health.collapse(study)
        yield from best.findings(study)
        yield from edges.findings(study)
        yield from importance.findings(study)
        yield from fidelity.findings(study)
        yield from expected.findings(study)
    yield from efficiency.findings(study)
