"""What each parameter does to the metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from hpo_batch.findings.effects.numbers import Effect, effects, settled
from hpo_batch.findings.effects.page import section
from hpo_batch.findings.effects.words import common_sentences, sentences
from hpo_batch.findings.health.subject import suspects_of
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.model.stats import holm
from hpo_batch.findings.order.numbers import without_move
from hpo_batch.findings.order.subject import order_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.steps import at_equal_steps, equal_steps
from hpo_batch.findings.subject import StudyInput, Subject
from hpo_batch.findings.tried import tried
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count

CONFOUNDED: Final = "it changed with the order of the trials, just where the metric moved: that may be either's doing"
MOVED: Final = "the move of the metric with the order of the trials is taken out"
NO_RESULT: Final = ("PRUNED", "FAIL")
"""states of trials that ended without a final value"""
PRUNED: Final = 0.25
"""share of pruned trials from which all are compared at one step"""


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


class Compared(NamedTuple):
    """The trials whose metric effects are computed from."""

    data: Data
    step: int | None
    """at which pruned trials are compared with the others; None: complete trials, with their final values"""
    is_moved: bool = False
    """a move of the metric with the order of the trials was taken out"""


def compared(study: StudyInput) -> Compared:
    """Complete trials; where many were pruned, all trials at the latest step that nearly all of them reached.

    Those that were not pruned are the good ones: among them alone, what made trials good hardly varies.
    """
    found = equal_steps(study.data.table)
    if found is not None and found.n_pruned >= PRUNED * found.n_ended:
        at = at_equal_steps(study.data.table)
        assert at is not None
        return Compared(prepare(at[0]), at[1])
    data = without_move(study.data, study.once(order_of))
    return Compared(data, None, data is not study.data)


def _effects(study: StudyInput) -> tuple[Effect, ...]:
    data, step, is_moved = study.once(compared)
    order = study.once(order_of)
    confounded = order.confounded if order is not None and order.answer is Answer.CANNOT_TELL else ()
    found = tuple(
        _claiming_nothing(effect) if effect.parameter in confounded else effect
        for effect in effects(data, without={suspect.number for suspect in study.once(suspects_of)}, step=step)
    )
    if is_moved:
        found = tuple(replace(effect, method=f"{effect.method}; {MOVED}") for effect in found)
    if all(effect.varied for effect in found):
        return found
    ended = tried(study.data, states=(*NO_RESULT, "COMPLETE"))
    return tuple(effect if effect.varied else _with_lost_values(effect, data, ended) for effect in found)


def _with_lost_values(effect: Effect, data: Data, ended: Data) -> Effect:
    """Of a parameter with one value in the trials compared: other values may have been tried, without a result."""
    everywhere = {param.name: param for param in ended.params}
    (kept,) = (param.levels for param in data.params if param.name == effect.parameter)
    param = everywhere.get(effect.parameter)
    if param is None or not param.varied:
        return effect
    others = sum(param.levels[code] not in kept for code in param.codes[np.flatnonzero(param.active)])
    trials = count(others, "trial with another value has", "trials with other values have")
    return replace(effect, why=f"{trials} no result")


def _claiming_nothing(effect: Effect) -> Effect:
    """Of a parameter that changed just where the metric moved: plain means alone."""
    rows = tuple(replace(row, adjusted=None) for row in effect.rows)
    return replace(
        effect,
        rows=rows,
        curve=(),
        span=None,
        p=None,
        effect_size=None,
        detectable=None,
        direction=None,
        variance_share=None,
        top_probability=None,
        edge=None,
        why=CONFOUNDED,
    )


SUBJECT = Subject(
    name="effects",
    records={
        "effects": _effects,
    },
    adjust=adjusted,
    sentences=sentences,
    common_sentences=common_sentences,
    section=section,
)
