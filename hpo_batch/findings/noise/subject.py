"""Whether the metric repeats itself."""

from __future__ import annotations

from hpo_batch.findings.noise.numbers import Noise, noise_floor
from hpo_batch.findings.noise.page import section
from hpo_batch.findings.noise.words import sentences
from hpo_batch.findings.subject import StudyInput, Subject


def noise_of(study: StudyInput) -> Noise:
    """The noise floor of a study, with what its reader knows of the validation set."""
    return noise_floor(study.data, n_eval=study.known.n_eval, n_pos=study.known.n_pos)


SUBJECT = Subject(
    name="noise",
    records={"noise": lambda study: study.once(noise_of)},
    records_of_several_metrics={
        "noise": lambda _: Noise(sd=None, source="unknown", text="several metrics: no noise floor is computed")
    },
    sentences=sentences,
    section=section,
)
