"""Findings as documents: a report with the section of each subject, and a comparison of several studies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from hpo_batch.document.blocks import Card, Document, Part, Said, Section
from hpo_batch.findings import all_findings
from hpo_batch.findings.best.page import studies_table
from hpo_batch.findings.budgets import page as budgets
from hpo_batch.findings.coverage import page as coverage
from hpo_batch.findings.effects.page import side_by_side_table
from hpo_batch.findings.elites.plotted import PlottedTrials
from hpo_batch.findings.first_page import first_page, next_steps
from hpo_batch.findings.noise import page as noise
from hpo_batch.findings.records import Findings, StudyFindings
from hpo_batch.findings.subject import Blocks, Page, Subject, make_section
from hpo_batch.findings.subjects import SUBJECTS
from hpo_batch.findings.summary import said
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count

MOST_COMMON: Final = 7
"""findings on all studies together that a comparison begins with"""


def report_document(
    findings: Findings,
    plotted: Sequence[PlottedTrials] = (),
    *,
    version: str,
    subjects: Sequence[Subject] = SUBJECTS,
) -> Document:
    """The whole report. ``plotted``: the trials of studies, for slice plots and parallel coordinates."""
    page = Page(
        findings=findings,
        file_names=_file_names([study.label for study in findings.studies]),
        plotted={trials.label: trials for trials in plotted},
    )
    sections = [subject.section(page) for subject in subjects if subject.section is not None]
    said_there = {section.key for section in sections if section is not None}
    return Document(
        title=_title(findings),
        subtitle=_subtitle(findings, version),
        first=first_page(page),
        sections=tuple(
            section
            for section in [*sections, all_findings.section(findings, said_there=said_there)]
            if section is not None
        ),
    )


def comparison_document(findings: Findings, *, version: str) -> Document:
    """Several studies beside each other."""
    studies = findings.studies
    page = Page(findings=findings, file_names={}, plotted={})
    sections = [_side_by_side(studies)]
    if _measure_the_same(studies):
        sections.append(budgets.section(page))
    if any(study.effects for study in studies):
        sections.append(
            make_section(
                "parameters",
                "Parameters",
                "Does each parameter do the same everywhere?",
                [Part(heading="", blocks=(side_by_side_table(studies),))],
                "'No clear trend' in one study and a trend in another is no "
                "contradiction: the first may have been too small to see it.",
            )
        )
    sections.append(coverage.short_section(page))
    labels = [study.label for study in studies]
    several = f"{', '.join(labels[:-1])} and {labels[-1]}"
    named = several if len(studies) < 4 else count(len(studies), "study", "studies")
    common = tuple(said(f, "") for f in findings.findings if not f.study)[:MOST_COMMON]
    return Document(
        title=f"Comparison of {named}",
        subtitle=_subtitle(findings, version),
        first=(
            Card(
                key="believe",
                title="What the studies show together",
                blocks=common or (Said(answer=Answer.CANNOT_TELL, text="No finding is about the studies together."),),
            ),
            Card(key="next", title="What to do next", blocks=(next_steps(findings),)),
        ),
        sections=tuple(section for section in sections if section is not None),
    )


def _side_by_side(studies: Sequence[StudyFindings]) -> Section | None:
    blocks: Blocks = []
    if not _measure_the_same(studies):
        metrics = "; ".join(f"{study.label}: {study.metric}, {study.direction}" for study in studies)
        blocks.append(
            Said(
                answer=Answer.CANNOT_TELL,
                text=f"The studies measure different things, so no value is compared ({metrics}).",
            )
        )
    blocks.append(studies_table(studies))
    blocks += [noise.said(study, named=True) for study in studies]
    return make_section(
        "beside",
        "Side by side",
        "How do the studies compare at a glance?",
        [Part(heading="", blocks=tuple(blocks))],
        "A higher best value is no better study: it grows with the number of trials, and noise alone moves it.",
    )


def _measure_the_same(studies: Sequence[StudyFindings]) -> bool:
    return len({(study.metric, study.direction) for study in studies}) == 1


def _title(findings: Findings) -> str:
    labels = [study.label for study in findings.studies]
    if not labels:
        return "Report: no studies"
    return "Report of " + (labels[0] if len(labels) == 1 else count(len(labels), "study", "studies"))


def _subtitle(findings: Findings, version: str) -> str:
    labels = [study.label for study in findings.studies]
    named = f"{', '.join(labels[:8])}{', ...' if len(labels) > 8 else ''}; " if len(labels) > 1 else ""
    n = sum(study.summary.n for study in findings.studies)
    return f"{named}{count(n, 'complete trial')}; hpo-batch {version}"


def _file_names(labels: Sequence[str]) -> dict[str, str]:
    """Names of files from names of studies, which may hold anything."""
    names: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-.")[:40] or "study"
        taken = sum(name == plain or name.startswith(f"{plain}~") for name in names.values())
        names[label] = f"{plain}~{taken + 1}" if taken else plain
    return names
