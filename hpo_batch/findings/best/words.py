"""How good the best trial really is, by itself and beside what there was before."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings import order
from hpo_batch.findings.order import Told
from hpo_batch.findings.records import Finding, StudyFindings
from hpo_batch.records import Answer


def findings(study: StudyFindings) -> Iterator[Told]:
    if study.curse is not None:
        yield (
            order.OPTIMISM,
            Finding(
                key="best.optimism",
                study=study.label,
                question="Is it known how good the best really is?",
                answer=Answer.YES if study.curse.held_out is not None else Answer.CANNOT_TELL,
                text=f"{study.label}: {study.curse.text}",
                do="" if study.curse.held_out is not None else "confirm the top few with new seeds",
                estimate=study.curse.held_out or study.curse.shrunken,
                n=study.summary.n,
            ),
        )
    if study.baseline is not None:
        yield (
            order.BASELINE,
            Finding(
                key="baseline",
                study=study.label,
                question="Is anything better than the baseline?",
                answer=_beats(study),
                text=f"{study.label}: {study.baseline.text}",
                do="run the baseline and the best with the same new seeds",
                estimate=study.baseline.value,
                n=study.baseline.n,
                method="matched pairs",
            ),
        )


def _beats(study: StudyFindings) -> Answer:
    """Whether the best trial lies beyond the noise of a difference. Being the best of many makes that a low bar."""
    best, noise, baseline = study.summary.best, study.noise.sd, study.baseline
    if best is None or noise is None or baseline is None or baseline.value is None:
        return Answer.CANNOT_TELL
    lead = best.value - baseline.value.value
    lead = lead if study.direction == "maximize" else -lead
    if lead <= 0:
        return Answer.NO
    return Answer.YES if lead > 1.96 * 2**0.5 * noise.value else Answer.CANNOT_TELL
