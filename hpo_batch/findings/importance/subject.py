"""Which parameters explain the differences between trials."""

from __future__ import annotations

from hpo_batch.findings.importance.numbers import importance
from hpo_batch.findings.importance.page import section
from hpo_batch.findings.importance.words import sentences
from hpo_batch.findings.subject import Subject

SUBJECT = Subject(
    name="importance",
    records={"importance": lambda study: importance(study.data, seed=study.seed)},
    sentences=sentences,
    section=section,
)
