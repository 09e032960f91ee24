"""The trials of several studies together."""

from __future__ import annotations

from hpo_batch.findings.pooled.numbers import Pooled, pooled
from hpo_batch.findings.pooled.page import section
from hpo_batch.findings.pooled.words import common_sentences
from hpo_batch.findings.subject import ReportInput, Subject


def pooled_of(report: ReportInput) -> Pooled | None:
    """The trials of all studies of a report together."""
    return pooled([study.data for study in report.studies], [study.label for study in report.studies], k=report.top)


SUBJECT = Subject(name="pooled", common={"pooled": pooled_of}, common_sentences=common_sentences, section=section)
