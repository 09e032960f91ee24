"""What ran, and what came out best."""

from __future__ import annotations

from dataclasses import replace

from hpo_batch.findings.best.numbers import Summary, pareto_front, shortened_history, summarise
from hpo_batch.findings.best.optimism import optimism
from hpo_batch.findings.best.page import section
from hpo_batch.findings.best.words import sentences
from hpo_batch.findings.noise.subject import noise_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Shortened, StudyInput, Subject


def _summary_of_several_metrics(study: StudyInput) -> Summary:
    """Counts without moments: there is no one value to take them of."""
    return replace(summarise(study.data), mean=None, median=None, std=None, best=None, top=())


def _shorten(study: StudyFindings, most: int) -> Shortened:
    history = shortened_history(study.history, most=most, better=max if study.direction == "maximize" else min)
    return Shortened(replace(study, history=history), "history", len(history), len(study.history))


SUBJECT = Subject(
    name="best",
    records={
        "summary": lambda study: summarise(study.data),
        "history": lambda study: tuple(zip(study.data.numbers.tolist(), study.data.y.tolist(), strict=True)),
        "curse": lambda study: optimism(study.data, study.once(noise_of)),
    },
    records_of_several_metrics={
        "summary": _summary_of_several_metrics,
        "front": lambda study: pareto_front(study.data),
    },
    sentences=sentences,
    speaks_without_trials=True,
    section=section,
    shorten=_shorten,
)
