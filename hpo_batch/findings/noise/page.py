"""How much the metric moves by itself, and which trials stand out."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section
from hpo_batch.findings.best.page import repeated_table
from hpo_batch.findings.health.page import suspects_table, without_table
from hpo_batch.findings.phrases import spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.records import Answer
from hpo_batch.text.numbers import interval


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        if study.noise.alarms:
            blocks.append(
                repeated_table(
                    study.noise.alarms,
                    spread=spread_of(study),
                    caption="One configuration, no seeds that differ, different values",
                )
            )
        if study.suspects:
            blocks.append(suspects_table(study.suspects, spread=spread_of(study)))
            if study.without is not None:
                blocks.append(without_table(study, study.without))
        return blocks

    return make_section(
        "noise",
        "Noise and suspects",
        "Which trials should be looked at before they are believed?",
        per_study(page.findings, of),
        "Repeats with the same seed say nothing about noise. What the seed "
        "does to one configuration need not be what it does to another.",
    )


def said(study: StudyFindings, *, named: bool = False) -> Said:
    noise = study.noise
    text = noise.text or (
        "The noise floor is unknown."
        if noise.sd is None
        else f"Standard deviation {interval(noise.sd)}, from {noise.source}."
    )
    answer = Answer.NOT_MEASURED if noise.sd is None else Answer.YES
    return Said(answer=answer, question="Is the noise floor known?", text=text, study=study.label if named else "")
