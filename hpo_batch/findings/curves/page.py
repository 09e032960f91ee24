"""Whether models collapsed, and how training went."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section, Table
from hpo_batch.document.tables import table
from hpo_batch.findings.curves.figure import curves_figure
from hpo_batch.findings.phrases import some
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.records import Answer
from hpo_batch.text.numbers import interval


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        hit = [n for n, answer in study.collapse.trials if answer is Answer.YES]
        if hit:
            blocks.append(Said(answer=Answer.YES, text=f"{study.collapse.text}. Collapsed trials: {some(hit)}."))
        key = page.file_names[study.label]
        add(blocks, curves_figure(study, name=f"curves-{key}", key=key))
        if study.fidelity:
            blocks.append(fidelity_table(study))
        return blocks

    return make_section(
        "training",
        "Training",
        "How did training go?",
        per_study(page.findings, of),
        "A curve that rises early need not end high, unless the correlations say so.",
    )


def fidelity_table(study: StudyFindings) -> Table:
    rows = [[str(step), interval(e), str(n if e is None else min(n, e.n))] for step, e, n in study.fidelity]
    caption = "Does an early step rank the trials as the last one does?"
    return table(caption, ["step", "rank correlation [95 %]", "n"], rows, paper=True)
