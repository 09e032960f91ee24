"""What each parameter does to the metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpo_batch.findings.effects.numbers import effects, settled
from hpo_batch.findings.effects.page import section
from hpo_batch.findings.effects.words import common_sentences, sentences
from hpo_batch.findings.health.subject import suspects_of
from hpo_batch.findings.model.stats import holm
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Subject


def adjusted(studies: Sequence[StudyFindings]) -> list[StudyFindings]:
    """The studies with every claim of an effect adjusted for all of them, and its trend settled."""
    # parameters that always changed together share one claim
    claims = {(study.label, effect.claim): effect.p for study in studies for effect in study.effects}
    p_holm = dict(zip(claims, holm(list(claims.values())), strict=True))
    return [
        replace(
            study,
            effects=tuple(settled(effect, p_holm=p_holm[study.label, effect.claim]) for effect in study.effects),
        )
        for study in studies
    ]


SUBJECT = Subject(
    name="effects",
    records={
        "effects": lambda study: effects(study.data, without={s.number for s in study.once(suspects_of)}),
    },
    adjust=adjusted,
    sentences=sentences,
    common_sentences=common_sentences,
    section=section,
)
