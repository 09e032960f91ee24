"""How much of the space was tried, beside what random trials would have tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.coverage.numbers import Coverage
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer

SPACES: Final = {"all": "whole space", "training": "training parameters"}
"""sets of parameters as a sentence has them"""
VERDICTS: Final = {
    Answer.NO: "below what random trials find",
    Answer.YES: "as many as random trials find, or more",
    Answer.CANNOT_TELL: "within what random trials find by chance",
}


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    for result in study.coverage:
        if not result.counts:
            yield _set(result, study.label)


def _set(coverage: Coverage, where: str) -> Ranked:
    called = SPACES.get(coverage.label, coverage.label)
    what = f"the {called} ({', '.join(coverage.parameters)})"
    finding = Finding(
        key=f"coverage.{coverage.label}",
        study=where,
        question=f"{'Were' if called.endswith('s') else 'Was'} the {called} covered as well as by random trials?",
        answer=Answer.CANNOT_TELL,
        text=f"{where}: coverage of {what} cannot be counted: {coverage.why or 'no cells'}",
        method="distinct cells",
        n=coverage.attainable,
    )
    expected = coverage.random
    if expected is None or not coverage.cells:
        return Ranked(Place.COVERAGE_UNKNOWN, finding)
    text = (
        f"{where}: {coverage.found} of {coverage.cells} cells of {what} tried ({coverage.found / coverage.cells:.1%}), "
        f"{coverage.attainable} attainable; random trials would find {expected.value:.1f} "
        f"[{expected.low:.0f}, {expected.high:.0f}]: {VERDICTS[coverage.answer]}"
    )
    below = coverage.answer is Answer.NO
    place = Place.COVERAGE_BELOW_RANDOM if below and coverage.label != "all" else Place.COVERAGE
    return Ranked(
        place,
        replace(
            finding,
            answer=coverage.answer,
            text=f"{text} ({coverage.why})" if coverage.why else text,
            actions=(Action(kind=ActionKind.COVER, beside=coverage.parameters),) if below else (),
            estimate=expected,
            method=expected.method,
            n=expected.n,
        ),
    )
