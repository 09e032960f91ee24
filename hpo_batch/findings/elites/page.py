"""What the best quarter has in common."""

from __future__ import annotations

from typing import Final

from hpo_batch.document.blocks import Section, Table
from hpo_batch.document.tables import table
from hpo_batch.findings.elites.figure import parallel_figure, slices_figure
from hpo_batch.findings.elites.numbers import Elites
from hpo_batch.findings.phrases import spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.text.numbers import NONE, count, label, number

MOST_VALUES: Final = 6
"""values of a parameter whose shares a table shows"""


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        if study.elites is not None and study.elites.rows:
            blocks.append(elites_table(study.elites, spread=spread_of(study)))
        drawn = page.plotted.get(study.label)
        if drawn is not None:
            spread, name = spread_of(study), page.file_names[study.label]
            add(
                blocks,
                parallel_figure(
                    drawn,
                    direction=study.direction,
                    metric=study.metric,
                    spread=spread,
                    name=f"parallel-{name}",
                    key=name,
                ),
            )
            add(
                blocks,
                slices_figure(
                    drawn,
                    direction=study.direction,
                    metric=study.metric,
                    spread=spread,
                    name=f"slices-{name}",
                    key=name,
                ),
            )
        return blocks

    return make_section(
        "top",
        "The best quarter",
        "What do the best trials have in common?",
        per_study(page.findings, of),
        "A value is frequent among the best also where the sampler "
        "merely tried it often: compare with its share of all trials. "
        "A best value at an edge of the space says that the space may end too early, not what lies beyond.",
    )


def elites_table(elites: Elites, *, spread: float | None) -> Table:
    rows = []
    for r in elites.rows:
        # shares of the single values of a real number say nothing: each was tried once
        shares = r.shares if len(r.shares) <= MOST_VALUES else ()
        among = "; ".join(f"{text}: {a:.0%} ({b:.0%})" for text, a, b in shares)
        span = NONE if r.low is None else f"{label(r.low)} to {label(r.high)}"
        rows.append([r.parameter, span, r.at_edge or NONE, among or NONE])
    return table(
        f"The top quarter: {count(elites.n, 'trial')} at {number(elites.threshold, spread)} or better",
        ["parameter", "range", "at an edge", "share among them (of all)"],
        rows,
        text=("parameter", "range", "at an edge", "share among them (of all)"),
    )
