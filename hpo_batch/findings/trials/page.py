"""All trials, one by one, to sort and to filter."""

from __future__ import annotations

from hpo_batch.document.blocks import Section, Table
from hpo_batch.document.drawing import trial_key
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.findings.trials.rows import Reported


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        drawn = page.plotted.get(study.label)
        if drawn is None or drawn.every is None or not drawn.every.rows:
            return []
        return [trials_table(drawn.every, page.file_names[study.label], label=study.label)]

    return make_section(
        "trials",
        "All trials",
        "Which trial did what?",
        per_study(page.findings, of),
        "A single trial is one draw of its seed.",
    )


def trials_table(reported: Reported, key: str, *, label: str) -> Table:
    """Every trial, of all states; of very many some."""
    shown = len(reported.rows)
    part = (
        f"{shown:,} of {reported.n_all:,} trials: the best, and others evenly. 'hpo-batch collect' writes all of them."
        if shown < reported.n_all
        else ""
    )
    return Table(
        caption=f"Trials of {label}",
        columns=reported.columns,
        rows=reported.rows,
        numeric=frozenset(i for i, name in enumerate(reported.columns) if name not in reported.texts),
        note=part,
        searched=True,
        trials=tuple(trial_key(key, n) for n in reported.numbers),
    )
