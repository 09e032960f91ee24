"""Whether anything is better than what there was before."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.phrases import band
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    if study.baseline is not None:
        yield Ranked(
            Place.BASELINE,
            Finding(
                key="baseline",
                study=study.label,
                question="Is anything better than the baseline?",
                answer=_beats(study),
                text=f"{study.label}: {study.baseline.text}",
                actions=()
                if study.confirms
                else (Action(kind=ActionKind.CONFIRM, where="baseline", trials=_best(study), seeds=2),),
                estimate=study.baseline.value,
                n=study.baseline.n,
                method="matched pairs",
            ),
        )


def _best(study: StudyFindings) -> tuple[int, ...]:
    return () if study.summary.best is None else (study.summary.best.number,)


def _beats(study: StudyFindings) -> Answer:
    """Whether the best trial lies beyond the noise of a difference. Being the best of many makes that a low bar."""
    best, noise, baseline = study.summary.best, study.noise.sd, study.baseline
    if best is None or noise is None or baseline is None or baseline.value is None:
        return Answer.CANNOT_TELL
    lead = best.value - baseline.value.value
    lead = lead if study.direction == "maximize" else -lead
    if lead <= 0:
        return Answer.NO
    return Answer.YES if lead > band(noise.value) else Answer.CANNOT_TELL
