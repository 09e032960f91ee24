"""Several studies beside each other."""

from __future__ import annotations

from hpo_batch.findings.budgets.numbers import Budgets, budgets
from hpo_batch.findings.budgets.page import section
from hpo_batch.findings.budgets.words import common_sentences
from hpo_batch.findings.subject import ReportInput, Subject


def budgets_of(report: ReportInput) -> Budgets | None:
    """The studies of a report beside each other."""
    return budgets(
        [study.data for study in report.studies],
        [study.label for study in report.studies],
        [study.noise for study in report.findings],
        [study.effects for study in report.findings],
        seed=report.seed,
    )


SUBJECT = Subject(name="budgets", common={"budgets": budgets_of}, common_sentences=common_sentences, section=section)
