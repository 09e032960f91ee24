"""All findings, each with its test, and the methods."""

from __future__ import annotations

from hpo_batch.document.blocks import Part, Section, Text
from hpo_batch.findings.records import Findings
from hpo_batch.findings.subject import Blocks, make_section
from hpo_batch.findings.summary import said, told_once
from hpo_batch.text.lines import printable
from hpo_batch.text.numbers import NONE, count


def section(findings: Findings) -> Section | None:
    blocks: Blocks = [said(finding, studies, detailed=True) for finding, studies in told_once(findings)]
    if findings.family:
        blocks.append(
            Text(
                text=f"p after Holm: adjusted for all {count(findings.family, 'claim')} "
                "of this report. No p: a count or a fact, not a claim."
            )
        )
    blocks += [Text(text=f"Left out or assumed: {printable(warning)}") for warning in findings.warnings]
    methods = dict.fromkeys(e.method for study in findings.studies for e in study.effects if e.method)
    blocks += [Text(text=f"Effects: {method}") for method in methods]
    return make_section(
        "findings",
        "All findings and methods",
        "What exactly was tested, and how?",
        [Part(heading="", blocks=tuple(blocks))],
        "Findings are about these trials. Numbers with full precision "
        f"are in report.json; {NONE} stands where one cannot be given.",
    )
