"""What further trials of the search would gain, and cost."""

from __future__ import annotations

from hpo_batch.findings.further.numbers import Further, further
from hpo_batch.findings.further.page import section
from hpo_batch.findings.further.words import sentences
from hpo_batch.findings.hours.numbers import efficiency
from hpo_batch.findings.noise.numbers import single_sd
from hpo_batch.findings.noise.subject import noise_of
from hpo_batch.findings.subject import StudyInput, Subject


def _further(study: StudyInput) -> Further | None:
    return further(study.data, efficiency(study.data.table), noise=single_sd(study.once(noise_of)))


SUBJECT = Subject(name="further", records={"further": _further}, sentences=sentences, section=section)
