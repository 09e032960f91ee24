"""Which parameters explain the differences between trials."""

from __future__ import annotations

from hpo_batch.document.blocks import Cell, Said, Section, Table, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.importance.figure import importance_figure, shares_figure
from hpo_batch.findings.importance.numbers import Importance
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.records import Answer
from hpo_batch.text.numbers import NONE, number


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        importance = study.importance
        if importance is None:
            return (
                [Said(answer=Answer.CANNOT_TELL, text="No importances: there are too few trials or parameters.")]
                if study.summary.n and not study.front
                else []
            )
        blocks: Blocks = []
        name = page.file_names[study.label]
        add(blocks, shares_figure(study.effects, name=f"shares-{name}", title=f"Main effects: {study.label}"))
        for where, each in (("", importance), *importance.branches):
            blocks += _importances(
                each,
                f"{study.label}{', ' if where else ''}{where}",
                name=f"importance-{name}{_suffix(where, importance)}",
            )
        return blocks

    return make_section(
        "importance",
        "Importance",
        "Which parameters explain the differences between trials?",
        per_study(page.findings, of),
        "Importance says how much of the variation goes with a parameter, "
        "not which value is good, and not that it matters near the best. "
        "Trust the shares of main effects before fANOVA, which names the wrong parameter more often.",
    )


def _suffix(where: str, importance: Importance) -> str:
    return "" if not where else f"-branch{[name for name, _ in importance.branches].index(where) + 1}"


def _importances(importance: Importance, label: str, *, name: str) -> Blocks:
    blocks: Blocks = []
    if importance.interpretable is not Answer.YES:
        why = importance.why or "the forest predicts too badly"
        blocks.append(Said(answer=importance.interpretable, text=f"{label}: fANOVA cannot be interpreted: {why}."))
    elif importance.why:
        blocks.append(Text(text=importance.why))
    add(blocks, importance_figure(importance, name=name, title=f"fANOVA, as other tools have it: {label}"))
    if importance.rows:
        blocks.append(importance_table(importance, caption=f"fANOVA, {label}"))
    return blocks


def importance_table(importance: Importance, *, caption: str) -> Table:
    rows: list[list[Cell]] = [
        [r.parameter, number(r.value, 0.05), _stability(r.low, r.high), "above" if r.above_null else "below"]
        for r in importance.rows
    ]
    line = "" if importance.null_line is None else f" Null line at {number(importance.null_line, 0.02)}."
    fit = (
        ""
        if importance.surrogate_r2 is None
        else f" Cross-validated R squared of the forest: {number(importance.surrogate_r2, 0.05)}."
    )
    return table(
        caption,
        ["parameter", "importance", "stability", "null line"],
        rows,
        text=("parameter", "null line"),
        paper=True,
        note=f"{importance.method}, n = {importance.n}.{line}{fit}",
    )


def _stability(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"{number(low, 0.05)} to {number(high, 0.05)}"
