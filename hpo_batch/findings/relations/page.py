"""What goes together: correlations and interactions."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.document.blocks import Said, Section
from hpo_batch.findings import tables
from hpo_batch.findings.parts import Blocks, make_section, per_study
from hpo_batch.findings.records import Findings, StudyFindings
from hpo_batch.findings.relations.correlations import Correlation
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count


def section(findings: Findings) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        blocks: Blocks = []
        blocks += correlations(study.correlations, study.metric)
        tested = [i for i in study.interactions if i.p is not None]
        if tested:
            blocks.append(tables.interactions(tested))
        untested = [i for i in study.interactions if i.p is None]
        if untested:
            first = untested[0]
            one = f" ({first.a} and {first.b})" if len(untested) == 1 else f", {first.a} and {first.b} for example"
            told = f"{count(len(untested), 'pair')} of parameters could not be tested{one}: {first.why}."
            blocks.append(Said(answer=Answer.CANNOT_TELL, question="Which parameters act together?", text=told))
        return blocks

    return make_section(
        "relations",
        "Correlations and interactions",
        "What goes together?",
        per_study(findings, of),
        "Correlation over trials that a sampler chose shows the sampler's "
        "habits as well as the metric's. An interaction that was not "
        "found may still be there: pairs need many trials.",
    )


def correlations(found: Sequence[Correlation], metric: str) -> Blocks:
    with_metric = [c for c in found if metric in (c.a, c.b)]
    rest = [c for c in found if metric not in (c.a, c.b)]
    blocks: Blocks = [tables.correlations(with_metric, caption=f"Correlations with {metric}")] if with_metric else []
    if rest:
        blocks.append(tables.correlations(rest, caption="Correlations between parameters", secondary=True))
    return blocks
