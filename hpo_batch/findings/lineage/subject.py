"""The studies that one comes from."""

from __future__ import annotations

from hpo_batch.findings.lineage.numbers import lineage
from hpo_batch.findings.lineage.page import section
from hpo_batch.findings.subject import StudyInput, Subject


def of_study(study: StudyInput) -> object:
    return lineage(study.data.table)


SUBJECT = Subject(
    name="lineage",
    records={"lineage": of_study},
    records_of_several_metrics={"lineage": of_study},
    section=section,
)
