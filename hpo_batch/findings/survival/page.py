"""What became of the trials with each value."""

from __future__ import annotations

from hpo_batch.document.blocks import Section
from hpo_batch.document.tables import table
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.text.numbers import p_value


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        rows = [
            [
                parameter.parameter,
                value.label,
                *(str(n) for n in (value.n, value.complete, value.pruned, value.failed)),
                p_value(value.p_pruned_holm),
                p_value(value.p_failed_holm),
            ]
            for parameter in study.survival
            for value in parameter.values
        ]
        if all(v.pruned + v.failed == 0 for parameter in study.survival for v in parameter.values):
            return []
        columns = ["parameter", "value", "tried", "complete", "pruned", "failed", "p pruned", "p failed"]
        return [
            table(
                "Tried, and what became of it",
                columns,
                rows,
                text=columns[:2],
                secondary=True,
                note="p: each value against the others, after Holm over all values.",
            )
        ]

    return make_section(
        "survival",
        "Tried, pruned, failed",
        "What became of the trials with each value?",
        per_study(page.findings, of),
        "A pruned trial was worse at the step where it ended; it need not have stayed so.",
    )
