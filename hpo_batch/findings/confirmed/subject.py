"""What the best configurations gave again, with new seeds."""

from __future__ import annotations

from hpo_batch.findings.confirmed.numbers import confirmed
from hpo_batch.findings.confirmed.page import section
from hpo_batch.findings.confirmed.words import sentences
from hpo_batch.findings.subject import Subject

SUBJECT = Subject(
    name="confirmed",
    records={"confirmed": lambda study: confirmed(study.data)},
    sentences=sentences,
    section=section,
)
