"""Several studies beside each other: their bests, and whether they agree."""

from __future__ import annotations

from hpo_batch.document.blocks import Cell, Part, Said, Section, Table
from hpo_batch.document.tables import table
from hpo_batch.findings.budgets.figure import budgets_figure
from hpo_batch.findings.budgets.numbers import Budgets
from hpo_batch.findings.phrases import configuration_text
from hpo_batch.findings.subject import Blocks, Page, add, make_section
from hpo_batch.text.numbers import NONE, interval, label, number, size_range


def section(page: Page) -> Section | None:
    budgets = page.findings.budgets
    if budgets is None:
        return None
    blocks: Blocks = [
        Said(
            answer=budgets.order,
            question="Can the best values be put in an order?",
            text=budgets.order_text or "Whether the best values can be ordered.",
        )
    ]
    blocks += [
        Said(
            answer=pair.better, question=f"Which is better where both have tried: {pair.a} or {pair.b}?", text=pair.text
        )
        for pair in budgets.pairs
    ]
    metric = page.findings.studies[0].metric if page.findings.studies else "value"
    add(blocks, budgets_figure(budgets, metric=metric, name="budgets"))
    blocks.append(budgets_table(budgets))
    if budgets.consistency:
        blocks.append(consistency_table(budgets))
    if budgets.transfer:
        blocks.append(transfer_table(budgets))
    return make_section(
        "budgets",
        "Studies beside each other",
        "Do larger budgets do better, and do the studies agree?",
        [Part(heading="", blocks=tuple(blocks))],
        "Best values rest on one trial each. An order of them is no "
        "scaling law, and the label of a budget is not its parameter count.",
    )


def budgets_table(budgets: Budgets) -> Table:
    spread = _budget_spread(budgets)
    rows = [
        [
            r.label,
            NONE if r.n_params is None else size_range(r.n_params),
            str(r.n),
            interval(r.best, spread),
            number(r.mean, spread),
            configuration_text(r.params),
        ]
        for r in budgets.rows
    ]
    columns = [
        "study",
        "parameters",
        "n",
        "best [95 %]",
        "mean",
        "configuration of the best",
    ]
    return table(
        "Best of each",
        columns,
        rows,
        text=("study", "parameters", "configuration of the best"),
        note="; ".join(
            dict.fromkeys(
                [
                    *(r.best.method for r in budgets.rows),
                    *(f"sizes {r.n_params_source}" for r in budgets.rows if r.n_params),
                ]
            )
        )
        + ".",
    )


def _budget_spread(budgets: Budgets) -> float | None:
    values = [r.best.value for r in budgets.rows] + [r.mean for r in budgets.rows]
    return (max(values) - min(values)) / 4 if values else None


def consistency_table(budgets: Budgets) -> Table:
    names = [r.label for r in budgets.rows]
    rows: list[list[Cell]] = [[p, *(label(v.get(n)) for n in names), a] for p, v, a in budgets.consistency]
    columns = ["parameter", *names, "agree?"]
    return table("Best value of each parameter", columns, rows, text=columns)


def transfer_table(budgets: Budgets) -> Table:
    rows = [[a, b, interval(e), str(n)] for a, b, e, n in budgets.transfer]
    return table(
        "Do they rank configurations in the same order?",
        ["of", "with", "rank correlation [95 %]", "configurations in both"],
        rows,
        text=("of", "with"),
    )
