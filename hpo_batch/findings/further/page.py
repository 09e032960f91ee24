"""What further trials of the search would gain."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section
from hpo_batch.findings.actions import Action, ActionKind, action_text
from hpo_batch.findings.further.words import QUESTION, further_text
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.records import Answer


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        found = study.further
        if found is None:
            return []
        stop = action_text(Action(kind=ActionKind.STOP)) if found.worth is Answer.NO else ""
        return [Said(answer=found.worth, question=QUESTION, text=further_text(found, study.metric), do=stop)]

    return make_section(
        "further",
        "More trials",
        "Is it worth going on?",
        per_study(page.findings, of),
        "More trials of the same space: a wider one may gain more. The gain is of the best value as observed, luck "
        "included.",
    )
