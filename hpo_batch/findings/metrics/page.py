"""What else the trials reported, beside the metric."""

from __future__ import annotations

from hpo_batch.document.blocks import Section, Table
from hpo_batch.document.tables import table
from hpo_batch.findings.metrics.figure import metrics_figure
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.text.numbers import interval


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        if all(one.rank_correlation is None for one in study.others):
            return []
        blocks: Blocks = [metrics_table(study)]
        drawn, key = page.plotted.get(study.label), page.file_names[study.label]
        if drawn is not None and drawn.every is not None:
            add(blocks, metrics_figure(study, drawn.every, key, name=f"metrics-{key}"))
        return blocks

    return make_section(
        "metrics",
        "Other reported numbers",
        "What goes with the metric?",
        per_study(page.findings, of),
        "What goes with the metric need not cause it: both may follow from a parameter.",
    )


def metrics_table(study: StudyFindings) -> Table:
    rows = [
        [one.name, interval(one.rank_correlation), str(one.rank_correlation.n if one.rank_correlation else 0)]
        for one in study.others
    ]
    return table(
        f"Other numbers against {study.metric}, {study.label}",
        ["reported", "rank correlation [95 %]", "n"],
        rows,
        text=("reported",),
        paper=True,
    )
