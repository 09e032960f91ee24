"""The trials of all studies in one heap."""

from __future__ import annotations

from hpo_batch.document.blocks import Part, Said, Section, Text
from hpo_batch.findings import figures, tables
from hpo_batch.findings.parts import Blocks, add, make_section
from hpo_batch.findings.records import Findings
from hpo_batch.findings.relations.page import correlations
from hpo_batch.text.numbers import count


def section(findings: Findings) -> Section | None:
    found = findings.pooled
    if found is None:
        return None
    top = found.top
    blocks: Blocks = [
        Said(
            answer=top.confounded,
            question=f"Does one study fill the top {top.k}?",
            text=top.text or f"Whether one study fills the top {top.k}.",
        )
    ]
    add(blocks, figures.shares(top.studies, k=top.k, name="shares", title=f"Who fills the top {top.k}"))
    if top.groups:
        blocks.append(tables.groups(top))
    spread = max((s.summary.std or 0.0 for s in findings.studies), default=0.0)
    blocks.append(
        Text(
            text=f"{count(top.unique, 'distinct configuration')} among "
            f"the top {top.k}; {count(found.n, 'trial')} in all."
        )
    )
    if found.effects:
        blocks.append(tables.effects(found.effects, spread=spread, caption="All studies in one heap"))
        blocks += tables.pooled(found, spread=spread)
    blocks += correlations(found.correlations, findings.studies[0].metric if findings.studies else "")
    return make_section(
        "pooled",
        "All trials in one heap",
        "What do the trials of all studies show together?",
        [Part(heading="", blocks=tuple(blocks))],
        "Studies differ in more than the parameters shown: where one of "
        "them fills the top, shares of values are shares of that study.",
    )
