"""Whether the metric moved while the search went on."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section
from hpo_batch.findings.order.words import QUESTION
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.records import Answer


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        if study.order is None:
            return []
        told = {f.study: f for f in page.findings.findings if f.key == "order"}.get(study.label)
        text = told.text.removeprefix(f"{study.label}: ") if told is not None else study.order.why
        return [Said(answer=study.order.answer, question=QUESTION, text=text or Answer.CANNOT_TELL.value)]

    return make_section(
        "order",
        "Order",
        "Did the metric move while the search went on?",
        per_study(page.findings, of),
        "A parameter that changed at the same time cannot be told from a drift. A drift far below the spread of the "
        "trials goes unseen.",
    )
