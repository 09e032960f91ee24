"""What the best quarter has in common."""

from __future__ import annotations

from hpo_batch.document.blocks import Section
from hpo_batch.findings import figures, tables
from hpo_batch.findings.elites.plotted import PlottedTrials
from hpo_batch.findings.parts import Blocks, add, make_section, per_study
from hpo_batch.findings.records import Findings, StudyFindings


def section(findings: Findings, names: dict[str, str], trials: dict[str, PlottedTrials]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        if study.elites is not None and study.elites.rows:
            blocks.append(tables.elites(study.elites, spread=study.summary.std))
        drawn = trials.get(study.label)
        if drawn is not None:
            spread, name = study.summary.std, names[study.label]
            add(
                blocks,
                figures.parallel(
                    drawn, direction=study.direction, metric=study.metric, spread=spread, name=f"parallel-{name}"
                ),
            )
            add(
                blocks,
                figures.slices(
                    drawn, direction=study.direction, metric=study.metric, spread=spread, name=f"slices-{name}"
                ),
            )
        return blocks

    return make_section(
        "top",
        "The best quarter",
        "What do the best trials have in common?",
        per_study(findings, of),
        "A value is frequent among the best also where the sampler "
        "merely tried it often: compare with its share of all trials. "
        "A best value at an edge of the space says that the space may end too early, not what lies beyond.",
    )
