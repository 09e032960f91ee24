"""Findings -> the document: its first screen and its sections, in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hpo_batch.document.blocks import Document, Part, Said
from hpo_batch.findings import all_findings, tables
from hpo_batch.findings.baseline import page as baseline
from hpo_batch.findings.best import page as results
from hpo_batch.findings.budgets import page as budgets
from hpo_batch.findings.coverage import page as coverage
from hpo_batch.findings.curves import page as training
from hpo_batch.findings.effects import page as effects
from hpo_batch.findings.elites import page as top
from hpo_batch.findings.elites.plotted import PlottedTrials
from hpo_batch.findings.expected import page as expected
from hpo_batch.findings.hours import page as hours
from hpo_batch.findings.importance import page as importance
from hpo_batch.findings.noise import page as noise
from hpo_batch.findings.parts import Blocks, make_section
from hpo_batch.findings.pooled import page as pooled
from hpo_batch.findings.records import Findings
from hpo_batch.findings.relations import page as relations
from hpo_batch.findings.summary import FIRST_SCREEN, first_screen, said, to_do, told_once
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count


def report(findings: Findings, trials: Sequence[PlottedTrials] = (), *, version: str) -> Document:
    """The whole report. ``trials``: by label of their study, for slice plots and parallel coordinates."""
    by_label = {drawn.label: drawn for drawn in trials}
    names = _file_names([study.label for study in findings.studies])
    told = told_once(findings)
    believe = tuple(said(f, studies) for f, studies in first_screen(told))
    sections = [
        results.section(findings, names),
        noise.section(findings),
        coverage.section(findings, names),
        effects.section(findings, names),
        importance.section(findings, names),
        relations.section(findings),
        top.section(findings, names, by_label),
        budgets.section(findings),
        pooled.section(findings),
        training.section(findings, names),
        baseline.section(findings),
        hours.section(findings, names),
        expected.section(findings),
        all_findings.section(findings),
    ]
    return Document(
        title=_title(findings),
        subtitle=_subtitle(findings, version),
        believe=believe or (_nothing(findings),),
        believe_more=max(0, len(told) - FIRST_SCREEN),
        do=to_do(findings),
        sections=tuple(section for section in sections if section is not None),
    )


def comparison(findings: Findings, *, version: str) -> Document:
    """Several studies beside each other."""
    studies = findings.studies
    alike = len({(study.metric, study.direction) for study in studies}) == 1
    blocks: Blocks = []
    if not alike:
        told = "; ".join(f"{study.label}: {study.metric}, {study.direction}" for study in studies)
        blocks.append(
            Said(
                answer=Answer.CANNOT_TELL,
                text=f"The studies measure different things, so no value is compared ({told}).",
            )
        )
    blocks.append(tables.studies(studies))
    for study in studies:
        blocks.append(noise.said(study, named=True))
    sections = [
        make_section(
            "beside",
            "Side by side",
            "How do the studies compare at a glance?",
            [Part(heading="", blocks=tuple(blocks))],
            "A higher best value is no better study: it grows with the number of trials, and noise alone moves it.",
        )
    ]
    if alike:
        sections.append(budgets.section(findings))
    if any(study.effects for study in studies):
        sections.append(
            make_section(
                "parameters",
                "Parameters",
                "Does each parameter do the same everywhere?",
                [Part(heading="", blocks=(tables.side_by_side(studies),))],
                "'No clear trend' in one study and a trend in another is no "
                "contradiction: the first may have been too small to see it.",
            )
        )
    sections.append(coverage.section(findings, {}, pictures=False))
    return Document(
        title="Comparison of "
        + (" and ".join(s.label for s in studies) if len(studies) < 4 else count(len(studies), "study", "studies")),
        subtitle=_subtitle(findings, version),
        believe=tuple(said(f, "") for f in findings.findings if not f.study)[:FIRST_SCREEN]
        or (Said(answer=Answer.CANNOT_TELL, text="No finding is about the studies together."),),
        do=to_do(findings),
        sections=tuple(section for section in sections if section is not None),
    )


def _title(findings: Findings) -> str:
    labels = [study.label for study in findings.studies]
    if not labels:
        return "Report: no studies"
    return "Report of " + (labels[0] if len(labels) == 1 else count(len(labels), "study", "studies"))


def _subtitle(findings: Findings, version: str) -> str:
    n = sum(study.summary.n for study in findings.studies)
    labels = [study.label for study in findings.studies]
    named = f" ({', '.join(labels[:8])}{', ...' if len(labels) > 8 else ''})" if len(labels) > 1 else ""
    return f"{count(n, 'complete trial')}{named}, {count(len(findings.findings), 'finding')}, hpo-batch {version}"


def _nothing(findings: Findings) -> Said:
    if not any(study.summary.n for study in findings.studies):
        return Said(
            answer=Answer.CANNOT_TELL,
            text="There is no complete trial with a finite value: nothing can be said of the metric.",
        )
    return Said(answer=Answer.CANNOT_TELL, text="No question of this report could be put to these trials.")


def _file_names(labels: Sequence[str]) -> dict[str, str]:
    """Names of files from names of studies, which may hold anything."""
    names: dict[str, str] = {}
    for label in labels:
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-.")[:40] or "study"
        taken = sum(name == plain or name.startswith(f"{plain}~") for name in names.values())
        names[label] = f"{plain}~{taken + 1}" if taken else plain
    return names
