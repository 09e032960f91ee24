"""Trials to look at before they are believed, and whether models collapsed, as other sections show them."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.document.blocks import Table
from hpo_batch.document.tables import table
from hpo_batch.findings.health.numbers import Suspect, Without
from hpo_batch.findings.phrases import spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.text.numbers import number


def suspects_table(suspects: Sequence[Suspect], *, spread: float | None) -> Table:
    rows = [[str(s.number), number(s.value, spread), s.why, s.text] for s in suspects]
    return table("Trials to look at", ["trial", "value", "what", "why"], rows, text=("what", "why"))


def without_table(study: StudyFindings, without: Without) -> Table:
    """The study with and without its suspects."""
    rows = []
    for name, s in (("all", study.summary), (f"without {', '.join(map(str, without.numbers[:8]))}", without.summary)):
        best = None if s.best is None else s.best.value
        rows.append([name, str(s.n), *(number(v, spread_of(study)) for v in (best, s.mean, s.median, s.std))])
    return table(
        "With and without the suspect trials", ["trials", "n", "best", "mean", "median", "sd"], rows, text=("trials",)
    )
