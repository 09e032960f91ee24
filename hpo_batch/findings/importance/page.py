"""Which parameters explain the differences between trials."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section, Text
from hpo_batch.findings import figures, tables
from hpo_batch.findings.importance.numbers import Importance
from hpo_batch.findings.parts import Blocks, add, make_section, per_study
from hpo_batch.findings.records import Findings, StudyFindings
from hpo_batch.records import Answer


def section(findings: Findings, names: dict[str, str]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        found = study.importance
        if found is None:
            return (
                [Said(answer=Answer.CANNOT_TELL, text="No importances: there are too few trials or parameters.")]
                if study.summary.n
                else []
            )
        blocks: Blocks = []
        for where, each in (("", found), *found.branches):
            blocks += _importances(
                each,
                f"{study.label}{', ' if where else ''}{where}",
                name=f"importance-{names[study.label]}{_suffix(where, found)}",
            )
        return blocks

    return make_section(
        "importance",
        "Importance",
        "Which parameters explain the differences between trials?",
        per_study(findings, of),
        "Importance says how much of the variation goes with a parameter, "
        "not which value is good, and not that it matters near the best. "
        "Bars below the null line are what a parameter reaches that does nothing.",
    )


def _suffix(where: str, found: Importance) -> str:
    return "" if not where else f"-branch{[name for name, _ in found.branches].index(where) + 1}"


def _importances(found: Importance, label: str, *, name: str) -> Blocks:
    blocks: Blocks = []
    if found.interpretable is not Answer.YES:
        why = found.why or "the forest predicts too badly"
        blocks.append(Said(answer=found.interpretable, text=f"{label}: importances are not to be interpreted: {why}."))
    elif found.why:
        blocks.append(Text(text=found.why))
    add(blocks, figures.importance(found, name=name, title=f"Importance: {label}"))
    if found.rows:
        blocks.append(tables.importance(found, caption=f"Importance, {label}"))
    return blocks
