"""What the best configurations gave again."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section
from hpo_batch.document.tables import table
from hpo_batch.findings.confirmed.numbers import Confirmed
from hpo_batch.findings.confirmed.words import said
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.text.numbers import NONE, interval, number


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        found: Confirmed | None = study.more.get("confirmed")
        if found is None:
            return []
        told = [
            Said(answer=answer, question=question, text=text)
            for _, question, answer, text, _ in said(found, study.metric)
        ]
        rows = [
            [
                one.name,
                NONE if one.before is None else str(one.before),
                number(one.raw),
                interval(one.held_out),
                interval(one.over_raw_best) if one.name != found.raw_best else "raw best",
                interval(one.over_baseline),
            ]
            for one in found.finalists
        ]
        if found.baseline is not None:
            rows.append(["baseline", NONE, NONE, interval(found.baseline), NONE, NONE])
        names = ["finalist", "trial before", "raw value", "held-out mean [95 %]", "better than the raw best by"]
        return [
            *told,
            table(
                f"Finalists of {study.label}",
                [*names, "better than the baseline by"],
                rows,
                text=("finalist",),
                note="Differences are means over the same seeds, above 0 where the finalist is better. Raw values "
                "chose the finalists and are optimistic; held-out means are of seeds that took no part in that.",
            ),
        ]

    return make_section(
        "confirmed",
        "Confirmed",
        "What do the best configurations give with new seeds?",
        per_study(page.findings, of),
        "The first of several held-out means is chosen by them, and a little optimistic again; the mean of all "
        "finalists is not.",
    )
