"""What the best quarter has in common."""

from __future__ import annotations

from hpo_batch.findings.elites.numbers import Elites, elites
from hpo_batch.findings.elites.page import section
from hpo_batch.findings.elites.words import sentences
from hpo_batch.findings.steps import ENDED
from hpo_batch.findings.subject import StudyInput, Subject
from hpo_batch.findings.tried import tried


def elites_of(study: StudyInput) -> Elites | None:
    """The elites of a study; the resamples of its edges do not depend on the report's seed."""
    return elites(study.data, tried=tried(study.data, states=ENDED))


SUBJECT = Subject(
    name="elites",
    records={"elites": lambda study: study.once(elites_of)},
    sentences=sentences,
    section=section,
)
