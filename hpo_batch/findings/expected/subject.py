"""What was expected before the sweep, and what came of it."""

from __future__ import annotations

from hpo_batch.findings.elites.subject import elites_of
from hpo_batch.findings.expected.numbers import expected
from hpo_batch.findings.expected.page import section
from hpo_batch.findings.expected.words import sentences
from hpo_batch.findings.noise.numbers import single_sd
from hpo_batch.findings.noise.subject import noise_of
from hpo_batch.findings.steps import ENDED
from hpo_batch.findings.subject import Subject
from hpo_batch.findings.tried import tried

SUBJECT = Subject(
    name="expected",
    records={
        "expected": lambda study: expected(
            study.data,
            study.once(elites_of),
            noise_sd=single_sd(study.once(noise_of)),
            seed=study.seed,
            tried=tried(study.data, states=ENDED),
        )
    },
    sentences=sentences,
    section=section,
)
