"""Whether trials may be believed: collapsed predictions, trials that stand out, trials that were cut short.

Nothing is dropped here. A suspect is looked at, and effects are computed with and without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from hpo_batch.analysis.efficiency import trial_seconds
from hpo_batch.analysis.records import Answer, Collapse, Suspect

NARROW: Final = 0.2
"""range of predicted probabilities below which all trials look alike to the model; the documents' threshold"""
FLAT: Final = 0.01
"""standard deviation of predictions, where only that is known"""
MOST_ZERO: Final = 0.3
"""share of trials with zero recall above which a study counts as collapsed; the documents' threshold"""
FAR: Final = 5.0
"""robust standard deviations from the median"""
MOST_OUTLIERS: Final = 0.1
"""a larger share of trials far off is a second group, not outliers"""
LEAST: Final = 5
"""trials without which nothing stands out"""
EPOCHS: Final = ("epochs_run", "checkpoint_epoch", "best_epoch", "epochs", "epoch", "n_epochs", "steps", "n_steps")


def collapse(complete: pd.DataFrame) -> Collapse:
    """Three states per trial and for the study. Without prediction ranges and recall: not measured, never "no"."""
    spans, deviations, recalls = _span(complete), _metric(complete, "pred_std"), _metric(complete, "recall")
    trials: list[tuple[int, Answer]] = []
    for i, number in enumerate(complete["number"]):
        span, deviation, recall = (s.iloc[i] if s is not None else np.nan for s in (spans, deviations, recalls))
        trials.append((int(number), _trial(span, deviation, recall)))
    measured = [answer for _, answer in trials if answer is not Answer.NOT_MEASURED]
    span_mean = None if spans is None else _mean(spans)
    recall_mean = None if recalls is None else _mean(recalls)
    answer, text = _verdict(spans, deviations, recalls, measured=len(measured), n=len(trials))
    return Collapse(answer=answer, trials=tuple(trials), prediction_range=span_mean, recall=recall_mean, text=text)


def _verdict(
    spans: pd.Series[float] | None,
    deviations: pd.Series[float] | None,
    recalls: pd.Series[float] | None,
    *,
    measured: int,
    n: int,
) -> tuple[Answer, str]:
    if not measured:
        return Answer.NOT_MEASURED, (
            "not measured: no trial reports pred_min and pred_max, pred_std or recall, so nothing is known of collapse"
        )
    zero = None if recalls is None or not recalls.notna().any() else float((recalls.dropna() == 0).mean())
    span = None if spans is None else _mean(spans)
    deviation = None if deviations is None else _mean(deviations)
    parts = [f"measured in {measured} of {n} trials"]
    if span is not None:
        parts.append(f"mean range of predictions {span:.3g} (collapse below {NARROW})")
    elif deviation is not None:
        parts.append(f"mean standard deviation of predictions {deviation:.3g} (collapse below {FLAT})")
    if zero is not None:
        parts.append(f"zero recall in {zero:.0%} (collapse above {MOST_ZERO:.0%})")
    collapsed = (
        (span is not None and span < NARROW)
        or (span is None and deviation is not None and deviation < FLAT)
        or (zero is not None and zero > MOST_ZERO)
    )
    if collapsed:
        answer = Answer.YES
    else:
        answer = Answer.NO if measured >= n / 2 else Answer.CANNOT_TELL
    words = {Answer.YES: "collapsed", Answer.NO: "no collapse", Answer.CANNOT_TELL: "too few trials measured to tell"}
    return answer, f"{words[answer]}: {', '.join(parts)}"


def _trial(span: float, deviation: float, recall: float) -> Answer:
    if np.isnan(span) and np.isnan(deviation) and np.isnan(recall):
        return Answer.NOT_MEASURED
    narrow = span < NARROW if not np.isnan(span) else deviation < FLAT  # comparisons with NaN are false
    return Answer.YES if narrow or recall in (0.0, 1.0) else Answer.NO


def _span(complete: pd.DataFrame) -> pd.Series[float] | None:
    low, high = _metric(complete, "pred_min"), _metric(complete, "pred_max")
    if low is not None and high is not None:
        return high - low
    return _metric(complete, "pred_range")


def _metric(complete: pd.DataFrame, name: str) -> pd.Series[float] | None:
    """A metric by its name, or by that of the validation set; never of the training set."""
    for prefix in ("", "val_", "valid_", "validation_", "test_"):
        column = f"user_attrs_{prefix}{name}"
        if column in complete:
            numbers = pd.to_numeric(complete[column], errors="coerce").astype(float)
            if numbers.notna().any():
                return numbers
    return None


def _mean(numbers: pd.Series[float]) -> float | None:
    known = numbers[np.isfinite(numbers)]
    return None if known.empty else float(known.mean())


def suspects(
    complete: pd.DataFrame, keys: Sequence[str], *, maximise: bool, replicated: bool = False
) -> tuple[Suspect, ...]:
    """Trials that should be looked at before they are believed, by number.

    Args:
        complete: complete trials with a finite ``value``.
        keys: each trial's configuration; equal keys are twins.
        maximise: which side of the metric is the good one.
        replicated: whether twins have seeds of their own: then they may differ.
    """
    short = _under_trained(complete)
    found = [*_outliers(complete, keys, maximise=maximise), *short]
    found += () if replicated else _conflicts(complete, keys, short={s.number for s in found})
    return tuple(sorted(found, key=lambda suspect: (suspect.number, suspect.why)))


def _outliers(complete: pd.DataFrame, keys: Sequence[str], *, maximise: bool) -> list[Suspect]:
    values = complete["value"].astype(float)
    # a configuration that was repeated with equal results counts once, or its repeats would hide all spread
    once = ~pd.DataFrame({"key": list(keys), "value": list(values)}).duplicated().to_numpy()
    z = _robust_z(values, values[once])
    if z is None:
        return []
    far = z.abs() > FAR
    if far[once].mean() > MOST_OUTLIERS:
        return []
    median = float(values[once].median())
    found = []
    for number, value, distance in zip(complete["number"][far], values[far], z[far], strict=True):
        good = (distance > 0) == maximise
        side = (
            "better than all that the others suggest: look for a leak or an error before it is believed"
            if good
            else "far worse than the rest: look for a run that was cut short or went wrong"
        )
        text = (
            f"trial {number} has {value:.4f}, {abs(distance):.1f} robust standard deviations from the median "
            f"{median:.4f}: {side}"
        )
        found.append(Suspect(number=int(number), value=float(value), why="too good" if good else "outlier", text=text))
    return found


def _under_trained(complete: pd.DataFrame) -> list[Suspect]:
    found: dict[int, Suspect] = {}
    for name in EPOCHS:
        epochs = _metric(complete, name)
        if epochs is None:
            continue
        for number, value, count, median in _far_below(complete, epochs, share=0.5, far=2.5, log=False):
            text = f"trial {number} has {name} {count:g} where the median is {median:g}: it was trained for less"
            found.setdefault(number, Suspect(number=number, value=value, why="under-trained", text=text))
    seconds = trial_seconds(complete)
    if seconds is not None and not found:
        for number, value, count, median in _far_below(complete, seconds, share=0.2, far=3.5, log=True):
            text = f"trial {number} took {count:.3g} s where the median is {median:.3g} s: it may have been cut short"
            found.setdefault(number, Suspect(number=number, value=value, why="under-trained", text=text))
    return list(found.values())


def _far_below(
    complete: pd.DataFrame, amount: pd.Series[float], *, share: float, far: float, log: bool
) -> list[tuple[int, float, float, float]]:
    """Number, value, amount and median amount of the trials below ``share`` of the median that stand apart there."""
    known = amount[(amount > 0) & np.isfinite(amount)]
    if len(known) < LEAST:
        return []
    median = float(known.median())
    scale = np.log(known) if log else known
    z = _robust_z(scale, scale)
    low = known < share * median
    if z is not None:
        low &= z < -far
    if not low.any() or low.mean() > MOST_OUTLIERS:
        return []
    rows = complete.loc[known.index[low]]
    return [
        (int(number), float(value), float(count), median)
        for number, value, count in zip(rows["number"], rows["value"], known[low], strict=True)
    ]


def _conflicts(complete: pd.DataFrame, keys: Sequence[str], *, short: set[int]) -> list[Suspect]:
    """Twins with different values. Where one of them is suspect for another reason, only that one is blamed."""
    groups: dict[str, list[tuple[int, float]]] = {}
    for key, number, value in zip(keys, complete["number"], complete["value"], strict=True):
        groups.setdefault(key, []).append((int(number), float(value)))
    found = []
    for twins in groups.values():
        if len({value for _, value in twins}) < 2:
            continue
        blamed = [twin for twin in twins if twin[0] in short] or twins
        for number, value in blamed:
            others = ", ".join(f"trial {n} {v:.4f}" for n, v in twins if n != number)
            text = f"trial {number} has {value:.4f}, its twin with the same configuration another value: {others}"
            found.append(Suspect(number=number, value=value, why="conflicts with its twin", text=text))
    return found


def _robust_z(values: pd.Series[float], reference: pd.Series[float]) -> pd.Series[float] | None:
    """Distance from the median in robust standard deviations; None if the middle half has no spread to measure by."""
    if len(reference) < LEAST:
        return None
    median = float(reference.median())
    spread = 1.4826 * float((reference - median).abs().median())
    if spread == 0:
        spread = float(reference.quantile(0.75) - reference.quantile(0.25)) / 1.349
    return None if spread <= 0 or not np.isfinite(spread) else (values - median) / spread


def by_number(found: Sequence[Suspect]) -> Mapping[int, tuple[str, ...]]:
    """The reasons against each suspect trial."""
    reasons: dict[int, list[str]] = {}
    for suspect in found:
        reasons.setdefault(suspect.number, []).append(suspect.why)
    return {number: tuple(dict.fromkeys(whys)) for number, whys in reasons.items()}
