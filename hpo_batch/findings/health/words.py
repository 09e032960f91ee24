"""Which trials are not to be believed before they are looked at, what hangs on them, and whether models collapsed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.effects.means import ValueRow
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.health.numbers import Suspect
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.phrases import fixed, some, spread_of
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer
from hpo_batch.text.metric_names import is_of_classes

MOST_APART: Final = 2
"""trials that are suspect for the same reasons and have a finding each; of more, one finding tells"""
SUSPECTED: Final = "robust distance from the median, epochs and durations, equal configurations"


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    yield from _suspects(study)
    yield _collapse(study)


def _suspects(study: StudyFindings) -> Iterator[Ranked]:
    by_number: dict[int, list[Suspect]] = {}
    for suspect in study.suspects:
        by_number.setdefault(suspect.number, []).append(suspect)
    alike: dict[tuple[str, ...], list[int]] = {}
    for number, reasons in by_number.items():
        alike.setdefault(tuple(dict.fromkeys(s.why for s in reasons)), []).append(number)
    influence = _influence(study)
    decides = influence is not None and influence.answer is Answer.YES
    for whys, numbers in alike.items():
        # far worse than the rest is what a search does at times; anything else makes numbers wrong
        harmless = Place.DECISIVE_OUTLIER if decides else Place.OUTLIER
        place = harmless if whys == ("outlier",) else Place.SUSPECT
        if len(numbers) > MOST_APART:
            yield Ranked(place, _suspects_alike(study, whys, numbers, by_number[numbers[0]]))
        else:
            yield from (Ranked(place, _suspect(study, whys, number, by_number[number])) for number in numbers)
    if influence is not None:
        yield Ranked(Place.INFLUENCE if decides else Place.NO_INFLUENCE, influence)


def _suspect(study: StudyFindings, whys: Sequence[str], number: int, reasons: Sequence[Suspect]) -> Finding:
    return Finding(
        key=f"health.trial-{number}",
        study=study.label,
        question=f"Can trial {number} be believed?",
        answer=Answer.CANNOT_TELL,
        text=f"{study.label}: trial {number} is suspect ({' and '.join(whys)}). {_reasons(number, reasons)}",
        actions=(Action(kind=ActionKind.INSPECT, trials=(number,)),),
        n=study.summary.n,
        method=SUSPECTED,
    )


def _suspects_alike(
    study: StudyFindings, whys: Sequence[str], numbers: Sequence[int], reasons: Sequence[Suspect]
) -> Finding:
    return Finding(
        key=f"health.{'-'.join(why.replace(' ', '-') for why in whys)}",
        study=study.label,
        question=f"Can the {len(numbers)} trials that stand out be believed?",
        answer=Answer.CANNOT_TELL,
        text=f"{study.label}: {len(numbers)} trials are suspect ({' and '.join(whys)}): {some(numbers)}. "
        f"Of trial {numbers[0]}: {_reasons(numbers[0], reasons).removeprefix('It ')}",
        actions=(Action(kind=ActionKind.INSPECT, trials=tuple(numbers)),),
        n=study.summary.n,
        method=SUSPECTED,
    )


def _reasons(number: int, reasons: Sequence[Suspect]) -> str:
    return "It " + ". It ".join(s.text.removeprefix(f"trial {number} ") for s in reasons)


def _influence(study: StudyFindings) -> Finding | None:
    """What the differences between values become without the suspect trials."""
    if study.without is None:
        return None
    parts, changed, sd = [], False, spread_of(study)
    for effect in study.effects:
        before, after = _spread(effect.rows), _spread(effect.rows_without)
        if before is None or after is None:
            continue
        parts.append(f"{effect.parameter} {fixed(before, sd)} -> {fixed(after, sd)}")
        changed |= after < 0.5 * before or after > 2 * before
        changed |= _crosses(effect)
    if not parts:
        return None
    who = some(study.without.numbers)
    without = study.without.summary
    text = (
        f"{study.label}: largest difference between the means of a parameter's values with and without the suspect "
        f"trial{'s' if len(study.without.numbers) > 1 else ''} {who}: {', '.join(parts)}; "
        f"mean {fixed(study.summary.mean, sd)} -> {fixed(without.mean, sd)}, standard deviation "
        f"{fixed(study.summary.std, sd)} -> {fixed(without.std, sd)}"
    )
    return Finding(
        key="health.influence",
        study=study.label,
        question="Do the results depend on suspect trials?",
        answer=Answer.YES if changed else Answer.NO,
        text=text,
        actions=(Action(kind=ActionKind.DISTRUST, trials=study.without.numbers),) if changed else (),
        n=study.summary.n,
        method="means with and without them",
    )


def _crosses(effect: Effect) -> bool:
    return (
        effect.p is not None
        and effect.without_outliers is not None
        and ((effect.p < ALPHA) is not (effect.without_outliers < ALPHA))
    )


def _spread(rows: Sequence[ValueRow]) -> float | None:
    """Largest less smallest mean, of values with enough trials; of all where too few have."""
    means = [row.mean for row in rows if row.mean is not None and not row.underpowered]
    if len(means) < 2:
        means = [row.mean for row in rows if row.mean is not None]
    return max(means) - min(means) if len(means) > 1 else None


def _collapse(study: StudyFindings) -> Ranked:
    answer = study.collapse.answer
    actions: tuple[Action, ...] = ()
    if answer is Answer.YES:
        actions = (Action(kind=ActionKind.FIX_OBJECTIVE),)
    elif answer is Answer.NOT_MEASURED and is_of_classes(study.metric):  # a regression has no recall
        actions = (Action(kind=ActionKind.REPORT_METRICS, metrics=("pred_min", "pred_max", "recall")),)
    places = {Answer.YES: Place.COLLAPSE, Answer.NOT_MEASURED: Place.COLLAPSE_NOT_MEASURED}
    return Ranked(
        places.get(answer, Place.NO_COLLAPSE),
        Finding(
            key="health.collapse",
            study=study.label,
            question="Did models collapse to one prediction?",
            answer=answer,
            text=f"{study.label}: {study.collapse.text}",
            actions=actions,
            n=study.summary.n,
            method="range of predictions below 0.2 on average, or zero recall in over 30 % of trials",
        ),
    )
