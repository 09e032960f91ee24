"""What was expected before the sweep, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.expected.numbers import Expected
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    for one in study.expected:
        yield Ranked(Place.EXPECTED, _expected(one, study.label))


def _expected(expected: Expected, where: str) -> Finding:
    words = {Answer.YES: "holds", Answer.NO: "fails"}.get(expected.answer, "cannot be decided")
    return Finding(
        key=f"expect.{expected.statement}",
        study=where,
        question=f"Was it right that {expected.statement}?",
        answer=expected.answer,
        text=f"{where}: expected '{expected.statement}' {words}: {expected.text}",
        actions=(Action(kind=ActionKind.FOLLOW, note=expected.then),)
        if expected.then and expected.answer is Answer.YES
        else (),
        method=expected.expression,
    )
