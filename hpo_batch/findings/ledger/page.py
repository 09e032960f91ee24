"""What was predicted of a sweep, beside what came."""

from __future__ import annotations

from hpo_batch.document.blocks import Section, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.ledger.numbers import Ledger
from hpo_batch.findings.ledger.words import came_text, said_text, study_text
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, make_section, per_study
from hpo_batch.text.lines import printable
from hpo_batch.text.numbers import NONE, number

COLUMNS = ("prediction", "said", "came", "Brier", "base")


def rows_of(ledger: Ledger) -> list[list[str]]:
    """A row for each prediction, as ``COLUMNS``."""
    return [
        [
            printable(one.prediction.statement),
            said_text(one.prediction),
            printable(came_text(one)),
            NONE if one.brier is None else f"{one.brier:.3f}",
            NONE if one.brier_base is None else number(one.brier_base),
        ]
        for one in ledger.predictions
    ]


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        ledger = study.ledger
        if ledger is None:
            return []
        blocks: Blocks = [Text(text=printable(f"{study_text(ledger)}."))]
        if ledger.predictions:
            blocks.append(
                table(
                    f"Predictions of {study.label}",
                    list(COLUMNS),
                    rows_of(ledger),
                    text=("prediction", "said", "came"),
                    note="Brier score: (probability - outcome)², smaller is better; base: that of the base rate.",
                )
            )
        return blocks

    return make_section(
        "ledger",
        "Predictions",
        "Did what was predicted of this sweep come true?",
        per_study(page.findings, of),
        "Predictions of one sweep are about the same trials: 'hpo-batch ledger' scores those of all studies.",
    )
