"""What the best configurations of each budget are worth in the others."""

from __future__ import annotations

from hpo_batch.findings.subject import Subject
from hpo_batch.findings.transfer.numbers import matrices
from hpo_batch.findings.transfer.page import section
from hpo_batch.findings.transfer.words import common_sentences

SUBJECT = Subject(
    name="transfer",
    common={"transfer": lambda report: matrices([study.data for study in report.studies])},
    common_sentences=common_sentences,
    section=section,
)
