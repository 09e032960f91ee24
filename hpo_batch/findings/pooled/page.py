"""The trials of all studies pooled."""

from __future__ import annotations

from hpo_batch.document.blocks import Part, Said, Section, Table, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.effects.page import effect_table, effects_table
from hpo_batch.findings.pooled.figure import shares_figure
from hpo_batch.findings.pooled.numbers import Pooled, TopShares
from hpo_batch.findings.relations.page import correlations
from hpo_batch.findings.subject import Blocks, Page, add, make_section
from hpo_batch.text.numbers import count, percent


def section(page: Page) -> Section | None:
    pooled = page.findings.pooled
    if pooled is None:
        return None
    top = pooled.top
    blocks: Blocks = [
        Said(
            answer=top.confounded,
            question=f"Does one study fill the top {top.k}?",
            text=top.text or f"Whether one study fills the top {top.k}.",
        )
    ]
    add(blocks, shares_figure(top.studies, k=top.k, name="shares", title=f"Who fills the top {top.k}"))
    if top.groups:
        blocks.append(groups_table(top))
    spread = max((s.summary.std or 0.0 for s in page.findings.studies), default=0.0)
    blocks.append(
        Text(
            text=f"{count(top.unique, 'distinct configuration')} among "
            f"the top {top.k}; {count(pooled.n, 'trial')} in all."
        )
    )
    if pooled.effects:
        blocks.append(effects_table(pooled.effects, spread=spread, caption="All studies pooled"))
        blocks += pooled_table(pooled, spread=spread)
    blocks += correlations(pooled.correlations, page.findings.studies[0].metric if page.findings.studies else "")
    return make_section(
        "pooled",
        "All trials pooled",
        "What do the trials of all studies show together?",
        [Part(heading="", blocks=tuple(blocks))],
        "Studies differ in more than the parameters shown: where one of "
        "them fills the top, shares of values are shares of that study.",
    )


def groups_table(shares: TopShares) -> Table:
    rows = [[which, name, f"{n} of {shares.k}", percent(base)] for which, name, n, base in shares.groups]
    columns = ["studies by", "group", f"of the top {shares.k}", "of all"]
    return table("Groups of studies", columns, rows, text=("studies by", "group"))


def pooled_table(pooled: Pooled, *, spread: float | None) -> tuple[Table, ...]:
    return tuple(
        effect_table(e, spread=spread, caption=f"{e.parameter}, all studies pooled", top_k=True, paper=True)
        for e in pooled.effects
        if e.rows
    )
