"""What trials report beside their metric."""

from __future__ import annotations

from hpo_batch.findings.metrics.numbers import other_metrics
from hpo_batch.findings.metrics.page import section
from hpo_batch.findings.metrics.words import sentences
from hpo_batch.findings.subject import Subject

SUBJECT = Subject(
    name="metrics",
    records={"others": lambda study: other_metrics(study.data)},
    sentences=sentences,
    section=section,
)
