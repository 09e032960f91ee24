"""Whether models collapsed, and how training went."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section, Text
from hpo_batch.findings import figures, tables
from hpo_batch.findings.parts import Blocks, add, make_section, per_study
from hpo_batch.findings.records import Findings, StudyFindings
from hpo_batch.records import Answer


def section(findings: Findings, names: dict[str, str]) -> Section | None:
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
        add(blocks, figures.curves(study, name=f"curves-{names[study.label]}"))
        if study.fidelity:
            blocks.append(tables.fidelity(study))
        if study.summary.n and not study.curves:
            blocks.append(Said(answer=Answer.NOT_MEASURED, text="No learning curves: the trials reported no steps."))
        return blocks

    return make_section(
        "training",
        "Training",
        "Did models collapse, and how did training go?",
        per_study(findings, of),
        "No collapse by these measures is no proof of a sound model.",
    )
