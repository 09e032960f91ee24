"""What became of the trials with each value."""

from __future__ import annotations

from hpo_batch.document.blocks import Section
from hpo_batch.document.tables import table
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.findings.survival.numbers import Survival
from hpo_batch.text.numbers import p_value


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        told = [parameter for parameter in study.survival if _is_told(parameter)]
        rows = [
            [
                parameter.parameter,
                value.label,
                *(str(n) for n in (value.n, value.complete, value.pruned, value.failed)),
                p_value(value.p_pruned_holm),
                p_value(value.p_failed_holm),
            ]
            for parameter in told
            for value in parameter.values
        ]
        if not rows:
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


def _is_told(parameter: Survival) -> bool:
    """Whether there is anything to compare: of hardly any pruned or failed trials there is not."""
    tested = (p for value in parameter.values for p in (value.p_pruned, value.p_failed))
    return parameter.only_one_completed or any(p is not None for p in tested)
