"""What became of the trials with each value of a parameter."""

from __future__ import annotations

from typing import Final

from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.subject import StudyInput, Subject
from hpo_batch.findings.survival.numbers import survival
from hpo_batch.findings.survival.page import section
from hpo_batch.findings.survival.words import sentences
from hpo_batch.findings.tried import tried


def tried_of(study: StudyInput) -> Data:
    """All trials of a study that began."""
    return tried(study.data)


RECORDS: Final = {"survival": lambda study: survival(study.data, study.once(tried_of))}

SUBJECT = Subject(
    name="survival",
    records=RECORDS,
    records_of_several_metrics=RECORDS,
    sentences=sentences,
    speaks_without_trials=True,
    section=section,
)
