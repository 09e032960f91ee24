"""What further trials of a search would gain: the best of k more, from the values so far alone.

The best values of the newer part of the search are taken as the tail of what further trials will give, and the best of
k draws from it as what k more will find. No model of the parameters is fitted, and no library is needed, so that
``status`` has it at once. benchmarks/stop.py chose the constants on two tables, and measures on two others how often
the interval and the chance are right.

Source of the tail: Pickands 1975, "Statistical inference using extreme order statistics", Annals of Statistics 3(1),
pages 119-131.
"""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Final

from msgspec import Struct

from hpo_batch.records import Counts
from hpo_batch.text.numbers import number

LEVEL: Final = 0.8
"""of the interval, as of ``eta``: it should hold in 8 of 10 cases"""
FEWEST: Final = 15
"""complete trials below which nothing is said"""
LEAST_MORE: Final = 10
"""further trials to speak of, if no fewer ones are on their way"""
NODES: Final = 15
"""widths of the tail that are averaged over"""
HALVINGS: Final = 60
STEPS: Final = 80
FEWEST_OF_TAIL: Final = 5


class Setting(Struct, frozen=True, kw_only=True):
    """How the tail is estimated."""

    newest: float
    """share of the trials that count: a search gets better, and its first trials tell little of the next ones"""
    share: float
    """of these, that are its tail"""
    shape: float
    """of the tail: 0 falls off exponentially, below 0 it ends somewhere"""


SETTINGS: Final = tuple(
    Setting(newest=newest, share=share, shape=shape)
    for newest, share, shape in itertools.product((1.0, 0.67, 0.5), (0.1, 0.2, 0.3), (0.0, -0.2, -0.4, -0.6))
)
"""what benchmarks/stop.py compared"""
SETTING: Final = Setting(newest=1.0, share=0.1, shape=-0.2)
"""the smallest loss of its interval among those whose upper end was passed in at most a tenth of the cases"""


BEYOND: Final = 0.5
"""mean gain where it is better beyond the space that was searched, in distances of the best value from the median.
Of 25 refined sweeps of two tables and 40 drawn problems (benchmarks/predictions.py) the interval of the best held in
20 with it; with 0.4 in 18, with 0.65 in 21"""


@dataclass(frozen=True, kw_only=True)  # as all that reports print: findings/report_json.py reads its fields
class Gain:
    """What so many more trials would gain on the best so far, in the metric's unit; above 0 is better."""

    trials: int
    """how many more"""
    expected: float
    """mean gain; 0 where none is better counts as well"""
    low: float
    """below it in a tenth of all cases: mostly 0, as often no trial is better"""
    high: float
    """above it in a tenth"""
    chance: float
    """that any of them is better than the best so far"""
    n: int
    """trials that this rests on"""
    best: float
    """of the best among the new trials alone, on the metric's scale: its median; it may be worse than the best so
    far"""
    best_low: float
    best_high: float


def gain_text(gain: Gain, metric: str, *, planned: bool) -> str:
    """The gain as the beginning of a sentence."""
    one = "trial" if gain.trials == 1 else "trials"
    which = f"the {gain.trials} {one} left" if planned else f"{gain.trials} more {one}"
    chance = f"{gain.chance:.0%}"
    if not gain.high:
        return f"{which} would hardly improve {metric} (chance {chance})"
    # not the mean, which came out half as large on tables that nobody tuned to (docs/benchmarks.md)
    high = number(gain.high, gain.high)
    return f"{which} would improve {metric} with a chance of {chance}, by at most {high} in 9 of 10 cases"


class Outlook(Struct, frozen=True, kw_only=True):
    """What ``status`` says of further trials."""

    gain: Gain
    planned: bool
    """whether these are the trials that the study still has to finish"""
    hours: float | None
    """that they take, if they take as long as those so far"""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self.gain), "level": LEVEL, "planned": self.planned, "hours": self.hours}


def outlook(values: Sequence[float], counts: Counts, *, maximize: bool, used: float) -> Outlook | None:
    """What further trials would gain, and cost.

    Args:
        values: of the complete trials in their order.
        counts: trials by state.
        maximize: whether greater values are better.
        used: hours of all trials so far.
    """
    more, planned = how_many(counts)
    gain = expected_gain(values, more, maximize=maximize)
    if gain is None:
        return None
    return Outlook(
        gain=gain, planned=planned, hours=used / counts.finished * more if used and counts.finished else None
    )


def how_many(counts: Counts) -> tuple[int, bool]:
    """How many more trials to speak of: those that are left, if they are some, else half as many again; which of both.

    What is left of a study where nothing runs is often a trial that failed.
    """
    if counts.remaining and (counts.running or counts.remaining >= LEAST_MORE):
        return counts.remaining, True
    return max(LEAST_MORE, round(counts.finished / 2)), False


def expected_gain(
    values: Sequence[float], more: int, *, maximize: bool, beyond: float = 0.0, setting: Setting = SETTING
) -> Gain | None:
    """What ``more`` trials would gain.

    No value is expected beyond 1 where all lie between 0 and 1 and greater is better, nor below 0 where none does and
    smaller is better: most such metrics are shares and losses.

    Args:
        values: of the complete trials in their order.
        more: number of further trials.
        maximize: whether greater values are better.
        beyond: chance that these trials find better ones where no trial was, as their space is wider. Such a gain is
            as if drawn from an exponential distribution with the mean ``BEYOND``.

    Returns:
        None for fewer than ``FEWEST`` values, or if the best of them are equal.
    """
    if len(values) < FEWEST or more < 1:
        return None
    signed = [value if maximize else -value for value in values]
    tail = _tail(signed, setting, ceiling=_ceiling(values, maximize=maximize))
    if tail is None:
        return None
    best = max(signed)
    mean = BEYOND * (best - statistics.median(signed)) if beyond else 0.0

    def at_most(value: float) -> float:
        inside = math.fsum((1 - chance) ** more for chance in tail.chances(value)) / NODES
        if not beyond or value >= tail.ceiling:
            return inside
        return inside * (1 - beyond * math.exp(min(0.0, (best - value) / mean)))

    low, middle, high = (_inverse(at_most, level, tail) for level in (0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2))
    ends = (low, high) if maximize else (-high, -low)
    return Gain(
        trials=more,
        expected=_mean_above(at_most, best, tail.highest),
        low=max(0.0, low - best),
        high=max(0.0, high - best),
        chance=1 - at_most(best),
        n=len(values),
        best=middle if maximize else -middle,
        best_low=ends[0],
        best_high=ends[1],
    )


def _ceiling(values: Sequence[float], *, maximize: bool) -> float:
    """What no value is expected to pass, greater is better."""
    if maximize:
        return 1.0 if min(values) >= 0 and max(values) <= 1 else math.inf
    return 0.0 if min(values) >= 0 else math.inf


class _Tail(Struct, frozen=True, kw_only=True):
    """What one further trial gives, greater is better."""

    values: Sequence[float]
    """of the newest trials, sorted: what it gives below ``threshold``"""
    threshold: float
    share: float
    """of the trials that lie above it"""
    widths: Sequence[float]
    """of the tail above it, each as likely"""
    shape: float
    ceiling: float
    highest: float
    """what lies above it does not count"""

    def chances(self, value: float) -> list[float]:
        """That one trial is better than a value, for each of the widths."""
        if value >= self.ceiling:
            return [0.0] * NODES
        if value < self.threshold:
            n = len(self.values)
            return [(n - bisect.bisect_right(self.values, value)) / n] * NODES
        return [self.share * _beyond((value - self.threshold) / width, self.shape) for width in self.widths]


def _tail(signed: Sequence[float], setting: Setting, *, ceiling: float) -> _Tail | None:
    """None if the best values are equal."""
    count = min(len(signed), max(FEWEST_OF_TAIL * 2, round(setting.newest * len(signed))))
    newest = sorted(signed[-count:])
    top = min(count - 1, max(FEWEST_OF_TAIL, round(setting.share * count)))
    threshold = newest[-top - 1]
    excess = math.fsum(value - threshold for value in newest[-top:]) / top
    if excess <= 0 or not math.isfinite(excess):
        return None
    return _Tail(
        values=newest,
        threshold=threshold,
        share=top / count,
        widths=_widths(excess * (1 - setting.shape), top),
        shape=setting.shape,
        ceiling=ceiling,
        highest=min(ceiling, max(signed) + 100 * excess),
    )


def _widths(width: float, top: int) -> list[float]:
    """Widths that are as likely, after ``top`` draws with a mean excess.

    Such a mean tells the width with a relative error of 1 / sqrt(top): of a gamma distribution, whose quantiles are
    Wilson and Hilferty's (1931, PNAS 17(12), pages 684-688).
    """
    found = []
    for i in range(NODES):
        z = NormalDist().inv_cdf((i + 0.5) / NODES)
        found.append(width / max(0.05, 1 - 1 / (9 * top) + z * math.sqrt(1 / (9 * top))) ** 3)
    return found


def _beyond(x: float, shape: float) -> float:
    """The share of a generalized Pareto distribution beyond ``x`` widths."""
    if shape == 0:
        return math.exp(-x)
    inside = 1 + shape * x
    return float(inside ** (-1 / shape)) if inside > 0 else 0.0


def _inverse(at_most: Callable[[float], float], level: float, tail: _Tail) -> float:
    """The value below which the best lies with the chance ``level``."""
    low, high = tail.values[0], tail.highest
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if at_most(middle) < level:
            low = middle
        else:
            high = middle
    return high


def _mean_above(at_most: Callable[[float], float], best: float, highest: float) -> float:
    """Mean of what lies above ``best``: the area over the distribution, in steps that grow with the distance."""
    total, before = 0.0, best
    for i in range(1, STEPS + 1):
        after = best + (highest - best) * (i / STEPS) ** 4
        total += (after - before) * (1 - at_most((before + after) / 2))
        before = after
    return total
