"""Whether the search is better than what there was before."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section, Table, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.baseline.numbers import Baseline
from hpo_batch.findings.phrases import spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count, interval, label, number, percent


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        baseline = study.baseline
        if baseline is None:
            return []
        blocks: Blocks = []
        if baseline.value is None:
            blocks.append(Said(answer=Answer.CANNOT_TELL, text=baseline.text or baseline.why))
        if baseline.value is not None:
            n_above, n = baseline.n_above, baseline.n
            above = f"{n_above} of {count(n, 'trial')} ({percent(n_above / n)}) do better." if n else ""
            blocks.append(
                Text(text=f"Baseline: {interval(baseline.value, spread_of(study))} (n = {baseline.value.n}). {above}")
            )
        if baseline.pairs:
            blocks.append(baseline_table(baseline, spread=spread_of(study)))
        if baseline.unexplained is not None:
            blocks.append(
                Text(
                    text=f"Of the best trial's lead, {number(baseline.unexplained, spread_of(study))} "
                    "is unexplained by these single changes."
                )
            )
        return blocks

    return make_section(
        "baseline",
        "Against the baseline",
        "Is the search better than what there was before?",
        per_study(page.findings, of),
        "One trial per configuration cannot tell small differences "
        "from the seed; confirm with the same seeds for both.",
    )


def baseline_table(baseline: Baseline, *, spread: float | None) -> Table:
    rows = [[p.parameter, label(p.value), interval(p.difference, spread), str(p.difference.n)] for p in baseline.pairs]
    return table(
        "One parameter changed from the baseline",
        ["parameter", "to", "difference [95 %]", "n"],
        rows,
        text=("parameter",),
    )
