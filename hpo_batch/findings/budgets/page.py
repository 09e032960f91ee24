"""Several studies beside each other: their bests, and whether they agree."""

from __future__ import annotations

from hpo_batch.document.blocks import Part, Said, Section, Text
from hpo_batch.findings import figures, tables
from hpo_batch.findings.parts import Blocks, add, make_section
from hpo_batch.findings.records import Findings
from hpo_batch.text.numbers import interval


def section(findings: Findings) -> Section | None:
    found = findings.budgets
    if found is None:
        return None
    blocks: Blocks = [
        Said(
            answer=found.order,
            question="Can the best values be put in an order?",
            text=found.order_text or "Whether the best values can be ordered.",
        )
    ]
    if found.text and found.text != found.order_text:
        blocks.append(Text(text=found.text))
    metric = findings.studies[0].metric if findings.studies else "value"
    add(blocks, figures.budgets(found, metric=metric, name="budgets"))
    blocks.append(tables.budgets(found))
    if found.slope is not None:
        blocks.append(
            Text(
                text="Slope of the best value over the logarithm of the parameter count: "
                f"{interval(found.slope)} ({found.slope.method}, n = {found.slope.n})."
            )
        )
    if found.consistency:
        blocks.append(tables.consistency(found))
    if found.transfer:
        blocks.append(tables.transfer(found))
    return make_section(
        "budgets",
        "Studies beside each other",
        "Do larger budgets do better, and do the studies agree?",
        [Part(heading="", blocks=tuple(blocks))],
        "Best values rest on one trial each. An order of them is no "
        "scaling law, and the label of a budget is not its parameter count.",
    )
