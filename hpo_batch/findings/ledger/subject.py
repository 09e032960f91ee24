"""What the command that wrote the sweep predicted, and what came of it."""

from __future__ import annotations

from hpo_batch.findings.ledger.numbers import ledger_of
from hpo_batch.findings.ledger.page import section
from hpo_batch.findings.ledger.words import sentences
from hpo_batch.findings.subject import Subject

RECORDS = {"ledger": lambda study: ledger_of(study.data.table)}

SUBJECT = Subject(
    name="ledger",
    records=RECORDS,
    sentences=sentences,
    speaks_without_trials=True,
    section=section,
)
