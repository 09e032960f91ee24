"""The line of studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpo_batch.document.blocks import Section
from hpo_batch.document.tables import table
from hpo_batch.findings.lineage.numbers import Ancestor
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.text.numbers import NONE, duration, number

MOST_ON_A_LINE: Final = 4


def section(page: Page) -> Section | None:
    return make_section(
        "lineage",
        "Where the study comes from",
        "Which studies led here, and what changed from one to the next?",
        per_study(page.findings, _of),
        "Best values are those of different numbers of trials, and of other seeds: a better one may be luck.",
    )


def _of(study: StudyFindings) -> Blocks:
    if not study.lineage:
        return []
    rows = [
        [
            one.study,
            one.by or NONE,
            str(one.finished),
            number(one.best),
            time_text(one),
            "; ".join((*one.changes, *([one.problem] if one.problem else []))) or NONE,
        ]
        for one in study.lineage
    ]
    columns = ["study", "written by", "trials", "best", "time", "what changed"]
    return [
        table(
            f"From the first study to {study.label}",
            columns,
            rows,
            text=("study", "written by", "what changed"),
            note="Times add up the attempts of all workers, each times its GPUs where there are any.",
        )
    ]


def time_text(one: Ancestor) -> str:
    return NONE if one.hours is None else duration(3600 * one.hours)


def line_text(line: Sequence[Ancestor]) -> str:
    """``toy (best 0.5) -> toy-v2 (best 0.4)``, for the first page: what came before the study."""
    shown = [f"{one.study}{'' if one.best is None else f' (best {number(one.best)})'}" for one in line[:-1]]
    if len(shown) > MOST_ON_A_LINE:
        shown = [shown[0], f"{len(shown) - MOST_ON_A_LINE + 1} more", *shown[-MOST_ON_A_LINE + 2 :]]
    if line and line[0].problem:
        shown = ["...", *shown] if shown else ["a study that cannot be found"]
    return " -> ".join(shown)
