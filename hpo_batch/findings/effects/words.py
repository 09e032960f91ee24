"""What each parameter does to the metric, and which claims of it survive the adjustment for all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.effects.direction import Direction
from hpo_batch.findings.effects.means import ValueRow
from hpo_batch.findings.effects.numbers import NO_TREND, Effect, resolved
from hpo_batch.findings.effects.significance import NOT_VARIED
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.phrases import claims, p_text
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count, interval

MOST_CERTAIN: Final = 0.995
WORTHWHILE: Final = 10
"""times the trials of a study, up to which it is said how many would tell: a number from further away is a guess"""
MOST_DIGITS: Final = 8
"""letters up to which a value is shown as it is"""
LIKELY: Final = 0.9
"""probability of a direction from which a trend of the plain means is not called unsupported"""


def sentences(study: StudyFindings, findings: Findings) -> Iterator[Ranked]:
    for effect in study.effects:
        yield _effect(effect, study, family=findings.family)


def _effect(effect: Effect, study: StudyFindings, *, family: int) -> Ranked:
    name = f"{study.label}: {effect.parameter}{_at(effect)}"
    finding = Finding(
        key=f"effect.{effect.parameter}",
        study=study.label,
        question=f"Does {effect.parameter} matter?",
        answer=Answer.CANNOT_TELL,
        text=f"{name}: {f'best guess {graded(effect.direction)}; ' if effect.direction else ''}no test possible "
        f"({effect.why or 'too few trials'})",
        method=effect.method,
        n=_n(effect, study),
        p=effect.p,
        p_holm=effect.p_holm,
    )
    if not effect.varied:
        what = "cannot be compared" if lost_values(effect) else "was not varied"
        text = f"{name} {what}: {lost_values(effect) or 'no statement about it is possible'}"
        return Ranked(Place.NOT_VARIED, replace(finding, answer=Answer.NOT_MEASURED, text=text))
    if effect.p is None:
        return Ranked(Place.UNTESTED_EFFECT, finding)
    if effect.p_holm is None or effect.p_holm >= ALPHA:
        text = f"{name}: {_no_clear_effect(effect, study, family=family)}{_without_suspects(effect, study)}"
        return Ranked(Place.NO_CLEAR_EFFECT, replace(finding, text=text))
    text = f"{name} {_clear_effect(effect, study, family=family)}"
    beside = tuple(other for other in effect.together if other != effect.parameter)
    narrow = Action(kind=ActionKind.NARROW, parameter=effect.parameter, beside=beside)
    return Ranked(Place.EFFECT, replace(finding, answer=Answer.YES, text=text, actions=(narrow,)), within=effect.p_holm)


def lost_values(effect: Effect) -> str:
    """How many trials with other values ended without a result, where those with a result have one value alone."""
    return "" if effect.varied or effect.why in ("", NOT_VARIED) else effect.why


def _n(effect: Effect, study: StudyFindings) -> int:
    """Trials with the parameter, those that are compared at a step among them."""
    return study.summary.n if effect.step is None else sum(row.n for row in effect.rows)


def _at(effect: Effect) -> str:
    return "" if effect.step is None else f" (all trials, pruned ones too, at step {effect.step})"


def short_labels(texts: Sequence[str]) -> list[str]:
    """Three digits of each number, if all of them can still be told apart; else the labels as they are."""
    shortened = [f"{float(text):.3g}" if len(text) > MOST_DIGITS and _is_number(text) else text for text in texts]
    return shortened if len(set(shortened)) == len(set(texts)) else list(texts)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def compared_values(direction: Direction) -> str:
    """``8 rather than 32``."""
    better, worse = short_labels([direction.better_label, direction.worse_label])
    return f"{better} rather than {worse}"


def graded(direction: Direction) -> str:
    """``8 rather than 32: 97 %, about 0.07 [0.03, 0.11] better``."""
    size = interval(direction.difference)
    return f"{compared_values(direction)}: {chance(direction.probability)}, about {size} better"


def chance(probability: float) -> str:
    """A probability in whole percent; none is certain."""
    return "> 99 %" if probability > MOST_CERTAIN else f"{100 * probability:.0f} %"


def confirmed(effect: Effect) -> bool:
    return effect.p_holm is not None and effect.p_holm < ALPHA


def more_trials(effect: Effect, study: StudyFindings) -> int | None:
    """How many further trials would tell, in two digits; None if it is told already, or if that is not known from
    so few."""
    more = effect.direction.trials_to_tell if effect.direction is not None else None
    if more is None or confirmed(effect) or more > WORTHWHILE * _n(effect, study):
        return None
    unit = int(10 ** max(0, len(str(more)) - 2))
    return -(-more // unit) * unit


def would_tell(effect: Effect, study: StudyFindings) -> str:
    """``120 more trials would tell``; empty where that is not known."""
    more = more_trials(effect, study)
    return "" if more is None else f"{count(more, 'more trial')} would tell"


def _no_clear_effect(effect: Effect, study: StudyFindings, *, family: int) -> str:
    guess = f"best guess {graded(effect.direction)}, which is not confirmed" if effect.direction else "no clear effect"
    would = would_tell(effect, study)
    would = f"; about {would}" if would else ""
    text = f"{guess} ({p_text(effect.p_holm)} after Holm over {claims(family)}, {p_text(effect.p)} by itself){would}"
    is_likely = effect.direction is not None and effect.direction.probability >= LIKELY
    if effect.naive_trend not in ("", "flat") and not is_likely:
        text += f"; the plain means look '{effect.naive_trend}', but the trials do not support that"
    return text


def _clear_effect(effect: Effect, study: StudyFindings, *, family: int) -> str:
    trend = "matters" if effect.trend == NO_TREND else f"matters ({effect.trend})"
    shown = f"{graded(effect.direction)}; " if effect.direction is not None else ""
    without = _without_suspects(effect, study)
    text = f"{trend}: {shown}{p_text(effect.p_holm)} after Holm over {claims(family)}{without}"
    if not resolved(effect):
        return f"{text}; which of its values is best is not certain, so no trend is claimed"
    return text


def _without_suspects(effect: Effect, study: StudyFindings) -> str:
    if effect.without_outliers is None:
        return ""
    ends = _ends(effect.rows_without, maximise=study.direction == "maximize") if _moved(effect) else ""
    return f"; without the suspect trials {ends}{p_text(effect.without_outliers)} before adjustment"


def common_sentences(findings: Findings) -> Iterator[Ranked]:
    studies, family = findings.studies, findings.family
    if not family:
        return
    carried = [
        (study.label, effect)
        for study in studies
        for effect in study.effects
        if effect.p_holm is not None and effect.p_holm < ALPHA
    ]
    carried.sort(key=lambda pair: pair[1].p_holm or 0.0)
    one = len(studies) == 1
    named = ", ".join(f"{'' if one else f'{label} '}{e.parameter} ({p_text(e.p_holm)})" for label, e in carried)
    verb = "survives" if len(carried) < 2 else "survive"
    together = [i for study in studies for i in study.interactions if i.p_holm is not None and i.p_holm < ALPHA]
    text = f"{len(carried) or 'none'} of {claims(family)} about parameters {verb} the adjustment for all of them"
    yield Ranked(
        Place.SURVIVORS,
        Finding(
            key="effects.survive",
            study="",
            question="Does any parameter matter?",
            answer=Answer.YES if carried else Answer.CANNOT_TELL,
            text=f"{text}{': ' if named else ''}{named}",
            actions=() if carried or together else tuple(map(_further, studies)),
            method="F-tests beside all other parameters in a Gaussian process, one row a configuration, Holm",
            n=family,
        ),
    )


def _further(study: StudyFindings) -> Action:
    """Trials that would tell what is nearest to being told."""
    known = sorted((n, e.parameter) for e in study.effects if (n := more_trials(e, study)) is not None)
    if not known:
        return Action(kind=ActionKind.ADD_TRIALS, study=study.label)
    return Action(kind=ActionKind.ADD_TRIALS, study=study.label, count=known[0][0], parameter=known[0][1])


def _moved(effect: Effect) -> bool:
    """Whether the adjusted means without the suspect trials differ much more, or much less, than with them."""
    spans = [
        max(heights) - min(heights)
        for rows in (effect.rows, effect.rows_without)
        if (heights := [row.adjusted.value for row in rows if row.adjusted is not None and not row.underpowered])
    ]
    return len(spans) == 2 and not 0.5 * spans[1] <= spans[0] <= 2 * spans[1]


def _ends(values: Sequence[ValueRow], *, maximise: bool) -> str:
    rows = [row for row in values if row.adjusted is not None and not row.underpowered]
    if len(rows) < 2:
        return ""
    text = sorted(rows, key=lambda row: row.adjusted.value if row.adjusted else 0.0, reverse=maximise)
    best, worst = text[0], text[-1]
    return f"adjusted mean {_mean(best)} at {best.label}, {_mean(worst)} at {worst.label}; "


def _mean(row: ValueRow) -> str:
    e = row.adjusted
    assert e is not None
    return interval(e)
