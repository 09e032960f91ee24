"""Whether trials may be believed: collapsed predictions, trials that stand out, trials that were cut short.

Nothing is dropped here. A suspect is looked at, and effects are computed with and without it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from hpo_batch.findings.best.numbers import Summary, summarise
from hpo_batch.findings.hours.numbers import trial_seconds
from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.noise.numbers import contradictions
from hpo_batch.records import Answer
from hpo_batch.text.numbers import number

NARROW: Final = 0.2
"""range of predicted probabilities below which all trials look alike to the model"""
FLAT: Final = 0.01
"""standard deviation of predictions, where only that is known"""
MOST_ZERO: Final = 0.3
"""share of trials with zero recall above which a study counts as collapsed"""
FAR: Final = 5.0
"""robust standard deviations from the median"""
MOST_OUTLIERS: Final = 0.1
"""a larger share of trials far off is a second group, not outliers"""
MOST_CONFLICTS: Final = 4
"""trials that conflict with a twin, beyond which (and a tenth of all) it is the study that is not deterministic"""
TRAINING_S: Final = 1.0
"""seconds below which nothing was trained, and durations are those of the machine's moods"""
LEAST: Final = 5
"""trials without which nothing stands out"""
EPOCHS: Final = ("epochs_run", "checkpoint_epoch", "best_epoch", "epochs", "epoch", "n_epochs", "steps", "n_steps")


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """Whether models predict one thing for all: three states, never "no" without data."""

    answer: Answer
    trials: tuple[tuple[int, Answer], ...] = field(metadata=json_keys("number", "answer"))
    """In report.json at most 10,000, evenly, and the first 10,000 that collapsed"""
    prediction_range: float | None
    recall: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A trial that should be looked at before it is believed."""

    number: int
    value: float
    why: str
    """``outlier`` (far worse than the rest), ``too good`` (far better), ``under-trained`` or ``conflicts with its
    twin``"""
    text: str


@dataclass(frozen=True, kw_only=True)
class Without:
    """The same summary without the suspect trials. Effects have ``rows_without`` and ``without_outliers``."""

    numbers: tuple[int, ...]
    summary: Summary


def collapse(data: Data) -> Collapse:
    """Three states per trial and for the study. Without prediction ranges and recall: not measured, never "no"."""
    spans, deviations, recalls = _span(data), _metric(data, "pred_std"), _metric(data, "recall")
    has = ~(np.isnan(spans) & np.isnan(deviations) & np.isnan(recalls))
    narrow = np.where(np.isnan(spans), deviations < FLAT, spans < NARROW)  # comparisons with NaN are false
    hit = has & (narrow | (recalls == 0) | (recalls == 1))
    answers = np.where(hit, 2, has.astype(np.int64)).tolist()
    words = (Answer.NOT_MEASURED, Answer.NO, Answer.YES)
    trials = tuple((number, words[answer]) for number, answer in zip(data.numbers.tolist(), answers, strict=True))
    measured = int(has.sum())
    answer, text = _verdict(spans, deviations, recalls, measured=measured)
    return Collapse(answer=answer, trials=trials, prediction_range=_mean(spans), recall=_mean(recalls), text=text)


def _verdict(spans: Floats, deviations: Floats, recalls: Floats, *, measured: int) -> tuple[Answer, str]:
    n = len(spans)
    if not measured:
        return Answer.NOT_MEASURED, (
            "collapse of predictions was not measured: no trial reports pred_min and pred_max, pred_std or recall"
        )
    span, deviation = _mean(spans), _mean(deviations)
    known = recalls[np.isfinite(recalls)]
    zero = float((known == 0).mean()) if len(known) else None
    parts = [f"measured in {measured} of {n} trials"]
    if span is not None:
        parts.append(f"mean range of predictions {span:.3g} (collapse below {NARROW})")
    elif deviation is not None:
        parts.append(f"mean standard deviation of predictions {deviation:.3g} (collapse below {FLAT})")
    if zero is not None:
        parts.append(f"zero recall in {zero:.0%} (collapse above {MOST_ZERO:.0%})")
    narrow = span < NARROW if span is not None else deviation is not None and deviation < FLAT
    if narrow or (zero is not None and zero > MOST_ZERO):
        return Answer.YES, f"predictions collapsed: {', '.join(parts)}"
    if measured < n / 2:
        return (
            Answer.CANNOT_TELL,
            f"too few trials were measured to say whether predictions collapsed: {', '.join(parts)}",
        )
    return Answer.NO, f"no collapse of predictions: {', '.join(parts)}"


def _span(data: Data) -> Floats:
    span = _metric(data, "pred_max") - _metric(data, "pred_min")
    return span if np.isfinite(span).any() else _metric(data, "pred_range")


def _metric(data: Data, name: str) -> Floats:
    """A metric by its name, or by that of the validation set; never of the training set. NaN where it is not known."""
    for prefix in ("", "val_", "valid_", "validation_", "test_"):
        result = data.column(f"{prefix}{name}")
        if result is not None and np.isfinite(result).any():
            return result
    return np.full(data.n, np.nan)


def _mean(numbers: Floats) -> float | None:
    known = numbers[np.isfinite(numbers)]
    return float(known.mean()) if len(known) else None


def suspects(data: Data) -> tuple[Suspect, ...]:
    """Trials that should be looked at before they are believed, by number."""
    results = [*_outliers(data), *_under_trained(data)]
    results += _conflicts(data, short={s.number for s in results})
    return tuple(sorted(results, key=lambda suspect: (suspect.number, suspect.why)))


def _outliers(data: Data) -> list[Suspect]:
    # a configuration that was repeated with equal results counts once, or its repeats would hide all spread
    once = data.y[data.distinct]
    z = _robust_z(data.y, once)
    if z is None:
        return []
    far = np.abs(z) > FAR
    if far[data.distinct].mean() > MOST_OUTLIERS:
        return []
    results = []
    median = float(np.median(once))
    for i in np.flatnonzero(far):
        good = data.sign * z[i] > 0
        side, do = (
            ("far better than the rest", "look for a leak or an error before it is believed")
            if good
            else ("far worse than the rest", "look for a run that was cut short or went wrong")
        )
        text = (
            f"trial {data.numbers[i]} has {_shown(data, data.y[i])}, {side} ({abs(z[i]):.1f} robust standard "
            f"deviations from the median {_shown(data, median)}): {do}"
        )
        results.append(_suspect(data, int(i), "too good" if good else "outlier", text))
    return results


def _under_trained(data: Data) -> list[Suspect]:
    results: dict[int, Suspect] = {}
    for name in EPOCHS:
        epochs = data.column(name)
        for i, count, median in _far_below(epochs, share=0.5, far=2.5, log=False):
            text = f"trial {data.numbers[i]} has {name} {count:g}, the median is {median:g}: it was trained for less"
            results.setdefault(i, _suspect(data, i, "under-trained", text))
    if not results:
        for i, count, median in _far_below(trial_seconds(data), share=0.2, far=3.5, log=True, least=TRAINING_S):
            text = (
                f"trial {data.numbers[i]} took {count:.3g} s, the median is {median:.3g} s: it may have been cut short"
            )
            results[i] = _suspect(data, i, "under-trained", text)
    return list(results.values())


def _far_below(
    amount: Floats | None, *, share: float, far: float, log: bool, least: float = 0.0
) -> list[tuple[int, float, float]]:
    """Row, amount and median amount of the trials below ``share`` of the median that stand apart there; none if the
    median is below ``least``."""
    if amount is None:
        return []
    known = np.flatnonzero(np.isfinite(amount) & (amount > 0))
    if len(known) < LEAST:
        return []
    median = float(np.median(amount[known]))
    if median < least:
        return []
    scale = np.log(amount[known]) if log else amount[known]
    z = _robust_z(scale, scale)
    low = amount[known] < share * median
    if z is not None:
        low &= z < -far
    if low.mean() > MOST_OUTLIERS:
        return []
    return [(int(i), float(amount[i]), median) for i in known[low]]


def _conflicts(data: Data, *, short: set[int]) -> list[Suspect]:
    """Twins with different values and no seeds to explain them.

    Where one of them is suspect for another reason, only that one is blamed. Where many configurations do it, no trial
    is: training is not deterministic, which ``noise`` tells.
    """
    results = []
    groups = list(contradictions(data))
    if sum(map(len, groups)) > max(MOST_CONFLICTS, MOST_OUTLIERS * data.n):
        groups = [twins for twins in groups if any(int(data.numbers[t]) in short for t in twins)]
    for twins in groups:
        for i in [t for t in twins if int(data.numbers[t]) in short] or twins:
            others = ", ".join(f"trial {data.numbers[t]} has {_shown(data, data.y[t])}" for t in twins if t != i)
            text = (
                f"trial {data.numbers[i]} has {_shown(data, data.y[i])}, with the same configuration {others}: without "
                "seeds that differ this is no noise floor"
            )
            results.append(_suspect(data, i, "conflicts with its twin", text))
    return results


def _shown(data: Data, value: float) -> str:
    return number(value, float(np.std(data.y)) / 3)


def _suspect(data: Data, row: int, why: str, text: str) -> Suspect:
    return Suspect(number=int(data.numbers[row]), value=float(data.y[row]), why=why, text=text)


def _robust_z(values: Floats, reference: Floats) -> Floats | None:
    """Distance from the median in robust standard deviations; None if the middle half has no spread to measure by."""
    if len(reference) < LEAST:
        return None
    median = float(np.median(reference))
    # both factors make the spread of normal values their standard deviation: 1 / 0.6745, the quartile, and twice that
    spread = 1.4826 * float(np.median(np.abs(reference - median)))
    if spread == 0:  # more than half of the values are equal
        low, high = np.quantile(reference, [0.25, 0.75])
        spread = float(high - low) / 1.349
    return (values - median) / spread if spread > 0 and np.isfinite(spread) else None


def without_suspects(data: Data, suspected: Sequence[Suspect]) -> Without | None:
    """The summary without these trials; None if there are none."""
    flagged = {suspect.number for suspect in suspected}
    if not flagged:
        return None
    trials = data.table.trials
    kept = replace(data.table, trials=trials[~trials["number"].isin(list(flagged))])
    return Without(numbers=tuple(sorted(flagged)), summary=summarise(prepare(kept)))


def shortened_trials(trials: tuple[tuple[int, Answer], ...], *, most: int) -> tuple[tuple[int, Answer], ...]:
    """About ``most`` trials, evenly, and as many of those that collapsed."""
    every = math.ceil(len(trials) / most)
    if every < 2:
        return trials
    collapsed = [i for i, (_, answer) in enumerate(trials) if answer is Answer.YES][:most]
    return tuple(trials[i] for i in sorted({*range(0, len(trials), every), *collapsed}))
