"""Whether models collapsed, and how training went."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section, Table, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.curves.figure import curves_figure
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.records import Answer
from hpo_batch.text.numbers import interval


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        if study.summary.n:
            c = study.collapse
            blocks.append(
                Said(
                    answer=c.answer,
                    question="Did models collapse?",
                    text=c.text or "Whether models predict one thing for all.",
                )
            )
            hit = [str(n) for n, answer in c.trials if answer is Answer.YES]
            if hit:
                blocks.append(Text(text=f"Collapsed trials: {', '.join(hit[:40])}{' ...' if len(hit) > 40 else ''}."))
        add(blocks, curves_figure(study, name=f"curves-{page.file_names[study.label]}"))
        if study.fidelity:
            blocks.append(fidelity_table(study))
        if study.summary.n and not study.curves:
            blocks.append(Said(answer=Answer.NOT_MEASURED, text="No learning curves: the trials reported no steps."))
        return blocks

    return make_section(
        "training",
        "Training",
        "Did models collapse, and how did training go?",
        per_study(page.findings, of),
        "No collapse by these measures is no proof of a sound model.",
    )


def fidelity_table(study: StudyFindings) -> Table:
    rows = [[str(step), interval(e), str(n if e is None else min(n, e.n))] for step, e, n in study.fidelity]
    return table(
        "Does an early step rank the trials as the last one does?", ["step", "rank correlation [95 %]", "n"], rows
    )
