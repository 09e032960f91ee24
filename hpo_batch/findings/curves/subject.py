"""Learning curves, and whether early steps tell which trials end well."""

from __future__ import annotations

from dataclasses import replace

from hpo_batch.findings.curves.numbers import Curves, fidelity, learning_curves, shortened_curves
from hpo_batch.findings.curves.page import section
from hpo_batch.findings.curves.words import sentences
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.steps import equal_steps
from hpo_batch.findings.subject import Shortened, StudyInput, Subject


def curves_of(study: StudyInput) -> Curves:
    """The learning curves of a study."""
    return learning_curves(study.data.table)


def _shorten(study: StudyFindings, _: int) -> Shortened:
    curves = shortened_curves(study)
    return Shortened(replace(study, curves=curves), "curves", len(curves), len(study.curves))


SUBJECT = Subject(
    name="curves",
    records={
        "curves": lambda study: study.once(curves_of),
        "equal_steps": lambda study: equal_steps(study.data.table),
        "fidelity": lambda study: fidelity(study.once(curves_of), seed=study.seed),
    },
    sentences=sentences,
    speaks_without_trials=True,
    section=section,
    shorten=_shorten,
)
