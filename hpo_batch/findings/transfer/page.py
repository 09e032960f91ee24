"""The matrix of budgets."""

from __future__ import annotations

from hpo_batch.document.blocks import Part, Said, Section, Table
from hpo_batch.document.tables import table
from hpo_batch.findings.subject import Blocks, Page, make_section
from hpo_batch.findings.transfer.numbers import Matrix
from hpo_batch.findings.transfer.words import OWN, VARIED, gap_text, varied_text
from hpo_batch.records import Answer, Estimate
from hpo_batch.text.numbers import NONE, count, interval, number


def section(page: Page) -> Section | None:
    found = page.findings.transfer
    metric = page.findings.studies[0].metric if page.findings.studies else "value"
    return make_section(
        "transfer",
        "Transfer between budgets",
        "What are the best configurations of one budget worth in another?",
        [Part(heading=one.study if len(found) > 1 else "", blocks=tuple(_blocks(one, metric))) for one in found],
        "The gap is about these budgets and the best few configurations of each: another search would have found "
        "others. What is better or worse in a whole column is the budget, not the configurations.",
    )


def _blocks(matrix: Matrix, metric: str) -> Blocks:
    answer, text = gap_text(matrix, metric)
    return [
        Said(answer=Answer.YES if matrix.varied else Answer.NO, question=VARIED, text=varied_text(matrix)),
        Said(answer=answer, question=OWN, text=text, detail=_detail(matrix.gap)),
        _means(matrix, metric),
        _losses(matrix, metric),
        _configurations(matrix, metric),
    ]


def _detail(gap: Estimate | None) -> str:
    """How the gap was computed; why it has no interval is said before."""
    return "" if gap is None else gap.method.partition("; no interval")[0]


def _means(matrix: Matrix, metric: str) -> Table:
    budgets = [f"on {budget}" for budget in matrix.budgets]
    means = [cell.mean.value for row in matrix.rows for cell in row.cells if cell.mean is not None]
    spread = (max(means) - min(means)) / 4 if means else None  # so fine that means of different cells look different
    rows = [
        [
            row.budget,
            *(
                NONE
                if cell.mean is None
                else f"{interval(cell.mean, spread)}{' (own)' if cell.trained_on == row.budget else ''}"
                for cell in row.cells
            ),
            ", ".join(str(n) for n in dict.fromkeys(cell.n for cell in row.cells)),
        ]
        for row in matrix.rows
    ]
    return table(
        f"Mean {metric} of the configurations of a budget (rows), trained on each budget (columns)",
        ["configurations of", *budgets, "n"],
        rows,
        text=("configurations of",),
        note=f"[95 %] from the configurations, over {count(matrix.seeds, 'new seed')}. n: configurations that are "
        "complete.",
    )


def _losses(matrix: Matrix, metric: str) -> Table:
    found = {(loss.budget, loss.trained_on): interval(loss.difference) for loss in matrix.losses}
    rows = [[row.budget, *(found.get((row.budget, budget), NONE) for budget in matrix.budgets)] for row in matrix.rows]
    return table(
        f"What a budget (columns) loses with configurations of another (rows), in {metric}",
        ["configurations of", *(f"on {budget}" for budget in matrix.budgets)],
        rows,
        text=("configurations of",),
        note="Its own configurations against those there, above 0 where its own are better. The 95 % intervals are not "
        "adjusted for how many there are.",
    )


def _configurations(matrix: Matrix, metric: str) -> Table:
    def cell(name: str | None, value: float | None) -> str:
        return "cannot run" if name is not None else number(value)

    rows = [
        [
            one.name,
            one.budget,
            NONE if one.before is None else str(one.before),
            number(one.raw),
            *(cell(one.left_out.get(budget), one.values.get(budget)) for budget in matrix.budgets),
        ]
        for one in matrix.configurations
    ]
    reasons = "; ".join(
        f"{one.name} cannot run on {budget}: {why}"
        for one in matrix.configurations
        for budget, why in one.left_out.items()
    )
    return table(
        f"Each configuration, {metric}",
        ["configuration", "of", "trial before", "raw value", *(f"on {budget}" for budget in matrix.budgets)],
        rows,
        text=("configuration", "of"),
        note=f"Raw values chose the configurations and are optimistic.{f' {reasons}.' if reasons else ''}",
        secondary=not reasons,
    )
