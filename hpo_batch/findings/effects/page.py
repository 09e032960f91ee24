"""What each parameter does to the metric."""

from __future__ import annotations

from hpo_batch.document.blocks import Block, Said, Section
from hpo_batch.findings import figures, tables
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.parts import Blocks, add, make_section, per_study
from hpo_batch.findings.phrases import metric_title
from hpo_batch.findings.records import Findings, StudyFindings
from hpo_batch.records import Answer


def section(findings: Findings, names: dict[str, str]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        if not study.effects:
            return []
        spread = study.summary.std
        blocks: Blocks = [
            tables.effects(study.effects, spread=spread, caption=f"Effects on {study.metric}, {study.label}")
        ]
        add(
            blocks,
            figures.effects(
                study.effects,
                metric=study.metric,
                spread=spread,
                name=f"effects-{names[study.label]}",
                title=f"Effect of each parameter on {metric_title(study)}: {study.label}",
            ),
        )
        blocks += [_effect_table(e, spread) for e in study.effects if e.varied and e.rows]
        if any(e.eta_squared is not None for e in study.effects):
            blocks.append(tables.variance(study.effects, caption="Shares of the variance by the plain formulas"))
        constant = [e.parameter for e in study.effects if not e.varied]
        if constant:
            blocks.append(
                Said(
                    answer=Answer.NOT_MEASURED, text=f"Not varied, so no statement is possible: {', '.join(constant)}."
                )
            )
        return blocks

    return make_section(
        "effects",
        "Effects",
        "What does each parameter do to the metric, the others held alike?",
        per_study(findings, of),
        "Effects are averages over the other parameters, not the effect "
        "at the best configuration. 'No clear trend' is not 'no effect': "
        "see what difference could have been detected. Values outside those tried are not spoken of.",
    )


def _effect_table(effect: Effect, spread: float | None) -> Block:
    return tables.effect(effect, spread=spread, caption=f"{effect.parameter}: {effect.trend}")
