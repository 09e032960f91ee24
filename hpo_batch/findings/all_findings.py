"""All findings, each with its test, and the methods."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from hpo_batch.document.blocks import Part, Section, Text
from hpo_batch.findings.records import Findings
from hpo_batch.findings.subject import Blocks, make_section
from hpo_batch.findings.summary import merged, said, told_once
from hpo_batch.text.lines import printable
from hpo_batch.text.numbers import NONE, count

SAID_THERE: Final = {
    "expect.": "expected",
    "further": "further",
    "ledger": "ledger",
    "budgets.order": "budgets",
    "pooled.top": "pooled",
    "coverage.": "coverage",
    "efficiency": "hours",
    "health.": "noise",
    "metrics": "metrics",
    "order": "order",
    "transfer.": "transfer",
}
"""by key of a finding, or by its beginning with a point: the section that says the same in full"""
NOT_THERE: Final = ("health.collapse", "health.influence")
"""keys that begin like others, of which no section says all"""


def section(findings: Findings, *, said_there: Collection[str] = ()) -> Section | None:
    """All findings but those that the sections with the keys ``said_there`` tell."""
    told = [
        (finding, studies) for finding, studies in merged(told_once(findings)) if not _is_there(finding.key, said_there)
    ]
    blocks: Blocks = [said(finding, studies, detailed=True) for finding, studies in told]
    if findings.family:
        blocks.append(Text(text=f"p after Holm: adjusted for all {count(findings.family, 'claim')} of this report."))
    blocks += [Text(text=f"Left out or assumed: {printable(warning)}") for warning in findings.warnings]
    return make_section(
        "findings",
        "All findings and methods",
        "What exactly was tested, and how?",
        [Part(heading="", blocks=tuple(blocks))],
        "Findings are about these trials. Numbers with full precision "
        f"are in report.json; {NONE} stands where one cannot be given.",
    )


def _is_there(key: str, sections: Collection[str]) -> bool:
    if key in NOT_THERE:
        return False
    return any(
        at in sections and (key.startswith(told) if told.endswith(".") else key == told)
        for told, at in SAID_THERE.items()
    )
