"""How much of the space was tried."""

from __future__ import annotations

from typing import Final

from hpo_batch.findings.coverage.numbers import coverage
from hpo_batch.findings.coverage.page import section
from hpo_batch.findings.coverage.words import sentences
from hpo_batch.findings.subject import Subject
from hpo_batch.findings.survival.subject import tried_of

# a pruned or failed trial tried its cell too
RECORDS: Final = {"coverage": lambda study: coverage(study.once(tried_of))}

SUBJECT = Subject(
    name="coverage", records=RECORDS, records_of_several_metrics=RECORDS, sentences=sentences, section=section
)
