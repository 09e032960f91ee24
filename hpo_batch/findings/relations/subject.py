"""What parameters do together: interactions, and correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpo_batch.findings.effects.subject import compared
from hpo_batch.findings.model.stats import holm
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.relations.correlations import correlations
from hpo_batch.findings.relations.interactions import interactions
from hpo_batch.findings.relations.page import section
from hpo_batch.findings.relations.words import sentences
from hpo_batch.findings.subject import Subject


def adjusted(studies: Sequence[StudyFindings]) -> list[StudyFindings]:
    """The studies with every interaction adjusted for all of them: a screen, and a family of its own."""
    p_holm = iter(holm([pair.p for study in studies for pair in study.interactions]))
    return [
        replace(study, interactions=tuple(replace(pair, p_holm=next(p_holm)) for pair in study.interactions))
        for study in studies
    ]


SUBJECT = Subject(
    name="relations",
    records={
        "correlations": lambda study: correlations(study.data),
        "interactions": lambda study: interactions(study.once(compared).data),
    },
    adjust=adjusted,
    sentences=sentences,
    section=section,
)
