"""Whether the search is better than what there was before."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section, Text
from hpo_batch.findings import tables
from hpo_batch.findings.parts import Blocks, make_section, per_study
from hpo_batch.findings.records import Findings, StudyFindings
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count, interval, number, percent


def section(findings: Findings) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        found = study.baseline
        if found is None:
            return []
        answer = Answer.CANNOT_TELL if found.value is None else Answer.YES
        blocks: Blocks = [Said(answer=answer, question="Is the baseline known?", text=found.text or found.why)]
        if found.value is not None:
            above = (
                f"{found.n_above} of {count(found.n, 'trial')} ({percent(found.n_above / found.n)}) do better."
                if found.n
                else ""
            )
            blocks.append(
                Text(text=f"Baseline: {interval(found.value, study.summary.std)} (n = {found.value.n}). {above}")
            )
        if found.pairs:
            blocks.append(tables.baseline(found, spread=study.summary.std))
        if found.unexplained is not None:
            blocks.append(
                Text(
                    text=f"Of the best trial's lead, {number(found.unexplained, study.summary.std)} "
                    "is unexplained by these single changes."
                )
            )
        return blocks

    return make_section(
        "baseline",
        "Against the baseline",
        "Is the search better than what there was before?",
        per_study(findings, of),
        "One trial per configuration cannot tell small differences "
        "from the seed; confirm with the same seeds for both.",
    )
