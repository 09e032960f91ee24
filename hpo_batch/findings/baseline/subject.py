"""What was gained over the baseline."""

from __future__ import annotations

from hpo_batch.findings.baseline.numbers import baseline
from hpo_batch.findings.baseline.page import section
from hpo_batch.findings.baseline.words import sentences
from hpo_batch.findings.noise.numbers import single_sd
from hpo_batch.findings.noise.subject import noise_of
from hpo_batch.findings.subject import Subject

SUBJECT = Subject(
    name="baseline",
    records={
        "baseline": lambda study: baseline(
            study.data, noise_sd=single_sd(study.once(noise_of)), value=study.known.baseline
        )
    },
    sentences=sentences,
    section=section,
)
