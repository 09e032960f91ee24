"""Whether what was expected before the sweep came true."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.records import Answer


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        return [
            Said(
                answer=e.answer,
                question=f"Was it right that {e.statement}?",
                text=f"{e.text} ({e.expression})",
                do=e.then if e.answer is Answer.YES else "",
            )
            for e in study.expected
        ]

    return make_section(
        "expected",
        "Expectations",
        "Did what was expected before the sweep come true?",
        per_study(page.findings, of),
        "An expectation that held once may have held by chance.",
    )
