"""Findings in words: each may be read alone, has its numbers, and says what to do. No computing here.

There is a module for each subject. Where its findings stand among the others is said in ``order``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpo_batch.findings.best import words as best
from hpo_batch.findings.budgets import words as budgets
from hpo_batch.findings.budgets.numbers import Budgets
from hpo_batch.findings.coverage import words as coverage
from hpo_batch.findings.curves import words as fidelity
from hpo_batch.findings.effects import words as effects
from hpo_batch.findings.elites import words as edges
from hpo_batch.findings.expected import words as expected
from hpo_batch.findings.health import words as health
from hpo_batch.findings.hours import words as efficiency
from hpo_batch.findings.importance import words as importance
from hpo_batch.findings.noise import words as noise
from hpo_batch.findings.order import Told
from hpo_batch.findings.pooled import words as pooled
from hpo_batch.findings.pooled.numbers import Pooled
from hpo_batch.findings.records import Finding, StudyFindings
from hpo_batch.findings.relations import words as interactions
from hpo_batch.findings.trials import words as trials


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
