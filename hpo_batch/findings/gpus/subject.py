"""Whether GPUs were slowed down, or had memory errors."""

from __future__ import annotations

from typing import Final

from hpo_batch.findings.gpus.numbers import gpu_health
from hpo_batch.findings.gpus.words import sentences
from hpo_batch.findings.subject import Subject

RECORDS: Final = {"gpus": lambda study: gpu_health(study.data.table)}

SUBJECT = Subject(
    name="gpus",
    records=RECORDS,
    records_of_several_metrics=RECORDS,
    sentences=sentences,
    speaks_without_trials=True,
)
