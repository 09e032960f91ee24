"""Where the hours went."""

from __future__ import annotations

from typing import Final

from hpo_batch.findings.hours.numbers import efficiency
from hpo_batch.findings.hours.page import section
from hpo_batch.findings.hours.words import sentences
from hpo_batch.findings.subject import Subject

RECORDS: Final = {"efficiency": lambda study: efficiency(study.data.table)}

SUBJECT = Subject(
    name="hours",
    records=RECORDS,
    records_of_several_metrics=RECORDS,
    sentences=sentences,
    speaks_without_trials=True,
    section=section,
)
