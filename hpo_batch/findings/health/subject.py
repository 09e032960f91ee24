"""Which trials may not be believed; the sections on noise and training show it."""

from __future__ import annotations

from dataclasses import replace

from hpo_batch.findings.health.numbers import Suspect, collapse, shortened_trials, suspects, without_suspects
from hpo_batch.findings.health.words import sentences
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Shortened, StudyInput, Subject


def suspects_of(study: StudyInput) -> tuple[Suspect, ...]:
    """The suspects of a study."""
    return suspects(study.data)


def _shorten(study: StudyFindings, most: int) -> Shortened:
    trials = shortened_trials(study.collapse.trials, most=most)
    collapse_of_some = replace(study.collapse, trials=trials)
    return Shortened(
        replace(study, collapse=collapse_of_some), "collapse.trials", len(trials), len(study.collapse.trials)
    )


SUBJECT = Subject(
    name="health",
    records={
        "suspects": lambda study: study.once(suspects_of),
        "collapse": lambda study: collapse(study.data),
        "without": lambda study: without_suspects(study.data, study.once(suspects_of)),
    },
    records_of_several_metrics={"collapse": lambda study: collapse(study.data)},
    sentences=sentences,
    shorten=_shorten,
)
