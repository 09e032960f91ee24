"""What goes together: correlations and interactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpo_batch.document.blocks import Said, Section, Table
from hpo_batch.document.tables import table
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.relations.correlations import Correlation
from hpo_batch.findings.relations.figure import contour_figure
from hpo_batch.findings.relations.interactions import Interaction
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count, number, p_value

MOST_PAIRS: Final = 6


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        drawn, key = page.plotted.get(study.label), page.file_names[study.label]
        if drawn is not None:
            add(blocks, contour_figure(study, drawn, name=f"contour-{key}", key=key))
        blocks += correlations(study.correlations, study.metric)
        tested = [i for i in study.interactions if i.p is not None]
        if tested:
            blocks.append(interactions_table(tested))
        untested = [i for i in study.interactions if i.p is None]
        if untested:
            first = untested[0]
            one = f" ({first.a} and {first.b})" if len(untested) == 1 else f", {first.a} and {first.b} for example"
            text = f"{count(len(untested), 'pair')} of parameters could not be tested{one}: {first.why}."
            blocks.append(Said(answer=Answer.CANNOT_TELL, question="Which parameters act together?", text=text))
        return blocks

    return make_section(
        "relations",
        "Pairs of parameters",
        "What do parameters do together?",
        per_study(page.findings, of),
        "An interaction that was not found may still be there: pairs need many trials.",
    )


def correlations(found: Sequence[Correlation], metric: str) -> Blocks:
    with_metric = [c for c in found if metric in (c.a, c.b)]
    rest = [c for c in found if metric not in (c.a, c.b)]
    blocks: Blocks = [correlations_table(with_metric, caption=f"Correlations with {metric}")] if with_metric else []
    if rest:
        blocks.append(correlations_table(rest, caption="Correlations between parameters"))
    return blocks


def correlations_table(found: Sequence[Correlation], *, caption: str) -> Table:
    rows = [
        [
            c.a,
            c.b,
            number(c.pearson, 0.01),
            p_value(c.pearson_p),
            number(c.spearman, 0.01),
            p_value(c.spearman_p),
            str(c.n),
        ]
        for c in found
    ]
    columns = ["of", "with", "Pearson", "p of Pearson", "Spearman", "p of Spearman", "n"]
    return table(
        caption,
        columns,
        rows,
        text=("of", "with"),
        paper=True,
        note="Plain p of trials that the sampler chose: too small wherever it concentrated.",
    )


def interactions_table(interactions: Sequence[Interaction]) -> Table:
    ranked = sorted(interactions, key=lambda i: 1.0 if i.p is None else i.p)
    rows = [[i.a, i.b, p_value(i.p), p_value(i.p_holm), str(i.n)] for i in ranked[:MOST_PAIRS]]
    more = len(ranked) - len(rows)
    return table(
        "Do two parameters act together?",
        ["of", "with", "p", "p after Holm", "n"],
        rows,
        text=("of", "with"),
        note=f"{more} further pairs, all with larger p, are in report.json." if more > 0 else "",
    )
