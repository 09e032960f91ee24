"""How much of the space was tried, beside what random trials would have tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.findings import order
from hpo_batch.findings.coverage.numbers import Coverage
from hpo_batch.findings.order import Told
from hpo_batch.findings.records import Finding, StudyFindings
from hpo_batch.records import Answer

SPACES: Final = {"all": "whole space", "training": "training parameters"}
"""sets of parameters as a sentence has them"""


def findings(study: StudyFindings) -> Iterator[Told]:
    for found in study.coverage:
        if not found.counts:
            yield _set(found, study.label)


def _set(coverage: Coverage, where: str) -> Told:
    names = ", ".join(coverage.parameters)
    called = SPACES.get(coverage.label, coverage.label)
    what = f"the {called} ({names})"
    if coverage.random is None or not coverage.cells:
        text = f"{where}: coverage of {what} cannot be counted: {coverage.why or 'no cells'}"
        return order.COVERAGE_UNKNOWN, Finding(
            key=f"coverage.{coverage.label}",
            study=where,
            question=f"{'Were' if called.endswith('s') else 'Was'} the {called} covered as well as by random trials?",
            answer=Answer.CANNOT_TELL,
            text=text,
            method="distinct cells",
            n=coverage.attainable,
        )
    expected = coverage.random
    words = {
        Answer.NO: "below what random trials find",
        Answer.YES: "as many as random trials find, or more",
        Answer.CANNOT_TELL: "within what random trials find by chance",
    }
    share = coverage.found / coverage.cells
    text = (
        f"{where}: {coverage.found} of {coverage.cells} cells of {what} tried ({share:.1%}), "
        f"{coverage.attainable} attainable; random trials would find {expected.value:.1f} "
        f"[{expected.low:.0f}, {expected.high:.0f}]: {words[coverage.answer]}"
    )
    if coverage.why:
        text += f" ({coverage.why})"
    below = coverage.answer is Answer.NO
    place = order.COVERAGE_BELOW_RANDOM if below and coverage.label != "all" else order.COVERAGE
    return place, Finding(
        key=f"coverage.{coverage.label}",
        study=where,
        question=f"{'Were' if called.endswith('s') else 'Was'} the {called} covered as well as by random trials?",
        answer=coverage.answer,
        text=text,
        do="give a share of the trials to cells not tried yet ([sampler] coverage_share)" if below else "",
        estimate=expected,
        method=expected.method,
        n=expected.n,
    )
