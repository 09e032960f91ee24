"""Two studies pair by pair, on the configurations that both ran: what asks nothing of their searches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats, Ints, joint
from hpo_batch.findings.model.frame import Data, merged
from hpo_batch.findings.model.stats import ALPHA, holm
from hpo_batch.records import Answer, Estimate
from hpo_batch.text.numbers import interval

LEAST_SHARED: Final = 3
"""configurations of two studies that are compared pair by pair"""
ROUNDING: Final = 1e-12
"""of differences, within which they are alike"""
CHOSEN: Final = 0.01
"""p below which shared configurations count as chosen for their values"""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Two studies on the configurations that both have."""

    a: str
    b: str
    n: int
    """configurations in both; one with several trials stands with its mean"""
    difference: Estimate
    """a less b, mean over the configurations"""
    better: Answer
    """whether one of them is better there"""
    p: float | None
    """t-test of the differences (of a sign test if these are all alike); None if there are none"""
    p_holm: float | None
    """adjusted for all pairs of studies"""
    text: str
    chosen_in: str = ""
    """the study in which the shared configurations are better than its others, while in the other one they are not: its
    values there are partly the luck by which they were chosen"""


def paired_differences(names: Sequence[str], studies: Sequence[Data], *, sign: float) -> tuple[PairedDifference, ...]:
    """Every two studies that share enough configurations."""
    found = []
    for a, b in itertools.combinations(range(len(studies)), 2):
        shared = shared_by(studies[a], studies[b])
        if len(shared.x) >= LEAST_SHARED:
            found.append((names[a], names[b], shared))
    chances = [_paired_chance(shared.x - shared.y) for *_, shared in found]
    return tuple(
        _pair(a, b, shared, p=p, p_holm=p_holm, sign=sign)
        for (a, b, shared), p, p_holm in zip(found, chances, holm(chances), strict=True)
    )


def _paired_chance(differences: Floats) -> float | None:
    unit = float(np.max(np.abs(differences)))
    if unit == 0:
        return None
    if np.ptp(differences) <= ROUNDING * unit:
        return min(1.0, 2.0 * 0.5 ** len(differences))  # alike to the last digit, by rounding: a sign test is left
    return float(stats.ttest_1samp(differences / unit, 0.0).pvalue)


def _pair(a: str, b: str, shared: Shared, *, p: float | None, p_holm: float | None, sign: float) -> PairedDifference:
    differences = shared.x - shared.y
    n, mean = len(differences), float(differences.mean())
    half = float(stats.t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / math.sqrt(n))
    winner, loser = (a, b) if sign * mean > 0 else (b, a)
    chosen = (
        a if shared.chosen_in_a and not shared.chosen_in_b else b if shared.chosen_in_b > shared.chosen_in_a else ""
    )
    difference = Estimate(
        value=mean, low=mean - half, high=mean + half, method="t interval of the paired differences", n=n
    )
    seen = f"on the {n} configurations that both have, {a} minus {b} is {interval(difference)}"
    if p is None and mean == 0:
        answer = Answer.NO
        text = f"{a} and {b} have equal values in all {n} configurations that both have: they are the same trials, or "
        text += "repeat each other exactly"
    elif p_holm is None or p_holm >= ALPHA:
        answer, text = Answer.CANNOT_TELL, f"{seen}: no clear difference"
    elif winner == chosen:
        answer = Answer.CANNOT_TELL
        text = (
            f"{seen}, but they are among the best of {winner}, where their values are partly luck: no clear difference"
        )
    else:
        answer, text = Answer.YES, f"{seen}: {winner} is better than {loser} there"
    return PairedDifference(
        a=a,
        b=b,
        n=n,
        difference=difference,
        better=answer,
        p=p,
        p_holm=p_holm,
        text=text,
        chosen_in=chosen,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Shared:
    """Means of the configurations that two studies have."""

    x: Floats
    """in the first study, shape (n,)"""
    y: Floats
    chosen_in_a: bool
    """whether they are better there than the first study's other configurations"""
    chosen_in_b: bool


def shared_by(a: Data, b: Data) -> Shared:
    result = np.zeros(a.n + b.n, dtype=np.int64)
    for name in dict.fromkeys((*a.by_name, *b.by_name)):
        result = joint(result, merged([a, b], name)[1] + 1)
    of_a, of_b = means_of(result[: a.n], a.y), means_of(result[a.n :], b.y)
    common = [key for key in of_a if key in of_b]
    return Shared(
        x=np.array([of_a[key] for key in common]),
        y=np.array([of_b[key] for key in common]),
        chosen_in_a=_is_chosen(of_a, common, sign=a.sign),
        chosen_in_b=_is_chosen(of_b, common, sign=b.sign),
    )


def _is_chosen(means: Mapping[int, float], common: Sequence[int], *, sign: float) -> bool:
    """Whether the common configurations are better than the others of a study, by a one-sided rank test."""
    inside = [sign * means[key] for key in common]
    shared = set(common)
    outside = [sign * mean for key, mean in means.items() if key not in shared]
    if len(inside) < LEAST_SHARED or len(outside) < LEAST_SHARED:
        return False
    return bool(stats.mannwhitneyu(inside, outside, alternative="greater").pvalue < CHOSEN)


def means_of(keys: Ints, y: Floats) -> dict[int, float]:
    """Of the values of each key, in the order of their first ones."""
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    groups = sorted(np.split(order, ends), key=lambda rows: int(rows[0])) if len(keys) else []
    return {int(keys[rows[0]]): float(y[rows].mean()) for rows in groups}
