"""How much of the space was tried."""

from __future__ import annotations

from hpo_batch.document.blocks import Section
from hpo_batch.findings import figures, tables
from hpo_batch.findings.parts import Blocks, add, make_section, per_study
from hpo_batch.findings.records import Findings, StudyFindings


def section(findings: Findings, names: dict[str, str], *, pictures: bool = True) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        sets = [c for c in study.coverage if not c.counts]
        blocks: Blocks = [tables.coverage(sets or study.coverage)] if study.coverage else []
        if not pictures:
            return blocks
        for c in sets:
            if c.gaps and (c.label != "all" or len(sets) == 1):
                blocks.append(tables.gaps(c))
        add(
            blocks,
            figures.coverage(study.coverage, name=f"coverage-{names[study.label]}", title=f"Coverage: {study.label}"),
        )
        if study.summary.repeated:
            blocks.append(
                tables.repeated(
                    study.summary.repeated, spread=study.summary.std, caption="Configurations that ran more than once"
                )
            )
        return blocks

    return make_section(
        "coverage",
        "Coverage",
        "How much of the space was tried?",
        per_study(findings, of),
        "Few trials in a region may be a sampler's good judgement "
        "or its blindness; coverage alone does not tell which. "
        "Invalid combinations are not counted as gaps.",
    )
