"""What ran, and what came out best."""

from __future__ import annotations

from hpo_batch.document.blocks import Part, Said, Section, Text
from hpo_batch.findings import figures, tables
from hpo_batch.findings.parts import Blocks, add, make_section, per_study
from hpo_batch.findings.records import Findings, StudyFindings
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count


def section(findings: Findings, names: dict[str, str]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        s = study.summary
        blocks: Blocks = []
        if s.n == 0:
            states = ", ".join(f"{n} {state.lower()}" for state, n in s.states.items() if n) or "none at all"
            blocks.append(
                Said(answer=Answer.CANNOT_TELL, text=f"No complete trial with a finite value (trials: {states}).")
            )
        if s.skipped:
            blocks.append(
                Text(text=f"{count(s.skipped, 'complete trial')} without a finite value: left out of everything.")
            )
        if study.front:
            blocks.append(
                Said(
                    answer=Answer.YES,
                    text=f"Several metrics: {count(len(study.front), 'trial')} that no other dominates. "
                    "There is no single best one, so nothing that needs one is computed.",
                )
            )
            blocks.append(
                tables.top(study.front, spread=None, caption=f"The Pareto front of {study.label}", metric=study.metric)
            )
        if s.top:
            blocks.append(
                tables.top(s.top, spread=s.std, caption=f"Best configurations of {study.label}", metric=study.metric)
            )
        if study.curse is not None:
            known = study.curse.held_out is not None
            blocks.append(
                Said(
                    answer=Answer.YES if known else Answer.CANNOT_TELL,
                    question="Is it known how good the best really is?",
                    text=study.curse.text,
                )
            )
        add(blocks, figures.history(study, name=f"history-{names[study.label]}"))
        return blocks

    parts = per_study(findings, of)
    if findings.studies:
        parts = [Part(heading="", blocks=(tables.studies(findings.studies),)), *parts]
    else:
        parts = [Part(heading="", blocks=(Said(answer=Answer.CANNOT_TELL, text="There is no study to report on."),))]
    return make_section(
        "results",
        "Results",
        "What ran, and what came out best?",
        parts,
        "The best of many is partly luck: its value would be worse if it were trained again with another seed. "
        "Ranks within the noise are no ranks.",
    )
