"""Budgets (or any studies) beside each other: their bests with intervals, whether these have an order, what transfers.

On the configurations that two studies share they are compared pair by pair, which asks nothing of the searches. Their
bests are maxima of searches, which differ by the luck of a search and by noise also where the problem is one: they are
ordered only where they differ by more than both, and "cannot tell" is the usual answer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.budgets.pairs import PairedDifference, paired_differences, shared_by
from hpo_batch.findings.budgets.sizes import parameter_counts, size_of
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.ranks import rank_correlation
from hpo_batch.findings.model.stats import ALPHA, Z95, holm
from hpo_batch.findings.noise.numbers import Noise, single_sd
from hpo_batch.records import Answer, Estimate, Value
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import number, signed

LEAST_SEARCHED: Final = 8
"""configurations from which the luck of a search can be told"""
GUMBEL: Final = math.pi / math.sqrt(6.0)
"""standard deviation of the largest of many exponential excesses, in parts of their mean"""


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Several budgets (or studies) beside each other."""

    rows: tuple[BudgetRow, ...]
    order: Answer
    """whether the best values can be ordered at all"""
    order_text: str
    """``20M > 2M > 200M``, with what speaks for and against it"""
    slope: Estimate | None
    """of the best value over the logarithm of the parameter count"""
    consistency: tuple[tuple[str, Mapping[str, Value | None], Answer], ...] = field(
        metadata=json_keys("parameter", "best_values", "agree")
    )
    """parameter, best value by budget (None: it has none), whether they agree"""
    transfer: tuple[tuple[str, str, Estimate | None, int], ...] = field(
        metadata=json_keys("a", "b", "rank_correlation", "n")
    )
    """two budgets, rank correlation of the configurations that both have, how many"""
    text: str
    pairs: tuple[PairedDifference, ...] = ()
    """of two studies that share configurations: their difference on these"""


@dataclass(frozen=True, kw_only=True)
class BudgetRow:
    label: str
    n: int
    best: Estimate
    mean: float
    params: Mapping[str, Value]
    n_params: tuple[int, int] | None
    """smallest and largest parameter count of a model in it"""
    n_params_source: str = ""
    """``recorded``, ``estimated: ...`` or ``not recorded``"""
    luck: float | None = None
    """standard deviation of the best value from search to search of the same problem, noise included; None if there are
    too few trials to say"""


def budgets(
    studies: Sequence[Data],
    labels: Sequence[str],
    noises: Sequence[Noise],
    effects: Sequence[Sequence[Effect]],
    *,
    seed: int = 0,
) -> Budgets | None:
    """None for fewer than two studies with trials, and where their metrics or directions differ."""
    kept = [i for i, data in enumerate(studies) if data.n]
    if len(kept) < 2 or len({(studies[i].metric, studies[i].direction) for i in kept}) > 1:
        return None
    names = _names([studies[i] for i in kept], [labels[i] for i in kept])
    rows = tuple(_row(name, studies[i], noises[i]) for name, i in zip(names, kept, strict=True))
    sign = studies[kept[0]].sign
    kept_studies = [studies[i] for i in kept]
    pairs = paired_differences(names, kept_studies, sign=sign)
    order, order_text = _order(rows, pairs, sign=sign)
    slope, no_slope = _slope(rows)
    consistency = _consistency(names, [studies[i] for i in kept], [effects[i] for i in kept])
    transfer = tuple(
        (names[a], names[b], *_transfer(studies[kept[a]], studies[kept[b]], seed=seed))
        for a, b in itertools.combinations(range(len(kept)), 2)
    )
    return Budgets(
        rows=rows,
        order=order,
        order_text=order_text,
        slope=slope,
        consistency=consistency,
        transfer=transfer,
        text=_text(rows, slope, no_slope),
        pairs=pairs,
    )


def _names(studies: Sequence[Data], labels: Sequence[str]) -> list[str]:
    """Labels of the budgets where each study has another, else those of the studies."""
    given = [data.table.budget for data in studies]
    return [str(b) for b in given] if all(given) and len(set(given)) == len(given) else list(labels)


def _row(name: str, data: Data, noise: Noise) -> BudgetRow:
    i, sd = data.best_row, single_sd(noise)
    value = float(data.y[i])
    half = None if sd is None else Z95 * sd
    source = (
        "noise floor unknown" if sd is None else f"best observed value, interval from the noise floor ({noise.source})"
    )
    counts, how = parameter_counts(data)
    return BudgetRow(
        label=name,
        n=data.n,
        best=Estimate(
            value=value,
            low=None if half is None else value - half,
            high=None if half is None else value + half,
            method=source,
            n=data.n,
        ),
        mean=float(data.y.mean()),
        params=data.configuration(i),
        n_params=counts,
        n_params_source=how,
        luck=_luck(data, sd),
    )


def _luck(data: Data, noise_sd: float | None) -> float | None:
    """How far the bests of two such searches lie apart, as the standard deviation of one of them.

    The tail of the better half of the configurations is taken to be exponential, whose maximum follows Gumbel's law. A
    sampler that concentrates on good settings makes the very best trials alike, though another run of it would have
    concentrated elsewhere: the spread of the best few understates the luck, that of the better half does not (measured
    in benchmarks/order.py).
    """
    best = np.sort(data.sign * data.y[data.best_of_each])[::-1]
    if len(best) == 1:
        return noise_sd  # nothing was searched
    if len(best) < LEAST_SEARCHED:
        return None
    half = len(best) // 2
    excess = float((best[:half] - best[half]).mean())
    return max(GUMBEL * excess, noise_sd or 0.0)


def _order(rows: Sequence[BudgetRow], pairs: Sequence[PairedDifference], *, sign: float) -> tuple[Answer, str]:
    """The full order of the bests and whether it is more than luck and noise: every pair, after Holm over the pairs."""
    ranked = sorted(range(len(rows)), key=lambda i: -sign * rows[i].best.value)
    relation = " > " if sign > 0 else " < "
    values = [value for row in rows for value in (row.best.value, row.mean)]
    spread = (max(values) - min(values)) / 4
    best = [rows[i].best.value for i in ranked]
    signs = ["", *(" = " if a == b else relation for a, b in itertools.pairwise(best))]
    named = [f"{rows[i].label} {number(rows[i].best.value, spread)}" for i in ranked]
    seen = "".join(sign + text for sign, text in zip(signs, named, strict=True))
    paired = "".join(f"; {pair.text}" for pair in pairs if pair.better is Answer.YES)
    few = [row.label for row in rows if row.luck is None and row.n > 1]
    if few:
        have = "has" if len(few) == 1 else "have"
        why = f"{listed(few)} {have} too few configurations to know how much a search owes to luck"
        return Answer.CANNOT_TELL, f"{seen} as observed; {why}{paired}"
    luck = [row.luck for row in rows if row.luck is not None and row.luck > 0]
    if len(luck) < len(rows):
        return (
            Answer.CANNOT_TELL,
            f"{seen} as observed; the noise floor is unknown, so their order may be chance{paired}",
        )
    both = list(itertools.combinations(ranked, 2))
    z = [abs(rows[a].best.value - rows[b].best.value) / math.hypot(luck[a], luck[b]) for a, b in both]
    adjusted = holm([2 * float(stats.norm.sf(distance)) for distance in z])
    differ = [(a, b) for (a, b), p in zip(both, adjusted, strict=True) if p is not None and p < ALPHA]
    widest = max(abs(rows[a].best.value - rows[b].best.value) for a, b in both)
    apart = Z95 * math.sqrt(2) * max(luck)
    chance = (
        f"the largest difference is {number(widest, apart / 3)}; two searches of one problem differ by up to "
        f"{number(apart, apart / 3)} (95 %), by "
        "the luck of the search and by noise"
    )
    if len(differ) == len(both):
        return Answer.YES, f"{seen}: every two of them differ by more than luck and noise ({chance}){paired}"
    if not differ:
        return Answer.CANNOT_TELL, f"{seen} as observed, but no two of them can be told apart: {chance}{paired}"
    clear = ", ".join(f"{rows[a].label}{relation}{rows[b].label}" for a, b in differ)
    return Answer.CANNOT_TELL, f"{seen} as observed; only {clear} is more than luck and noise ({chance}){paired}"


def _slope(rows: Sequence[BudgetRow]) -> tuple[Estimate | None, str]:
    """Change of the best value for ten times as many parameters: by counts, else by the labels' numbers; or why not."""
    ranges = [row.n_params for row in rows if row.n_params is not None]
    sizes = [math.sqrt(low * high) for low, high in ranges if low > 0]
    basis = "parameter counts (geometric middle of smallest and largest)"
    if len(sizes) == len(rows):
        if not any(a[1] < b[0] or b[1] < a[0] for a, b in itertools.combinations(ranges, 2)):
            return None, "the sizes tried do not differ between the studies: their ranges overlap"
    else:
        sizes = [size for row in rows if (size := size_of(row.label)) is not None]
        basis = "the labels' numbers, which are not parameter counts"
    x = np.log10(np.array(sizes, dtype=np.float64))
    if len(x) < len(rows) or np.ptp(x) == 0:
        return None, "sizes are not known"
    y = np.array([row.best.value for row in rows])
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    luck = np.array([row.luck for row in rows if row.luck is not None and row.luck > 0])
    half = None
    if len(luck) == len(rows):
        half = Z95 * math.sqrt(float((centred**2) @ luck**2)) / float(centred @ centred)
        how = "interval from the luck of a search and the noise floor"
    elif len(rows) > 2:
        rest = y - y.mean() - slope * centred
        se = math.sqrt(float(rest @ rest) / (len(rows) - 2) / float(centred @ centred))
        half, how = float(stats.t.ppf(0.975, len(rows) - 2)) * se, "t interval from the scatter around the line"
    else:
        how = "two points, noise floor unknown"
    return (
        Estimate(
            value=slope,
            low=None if half is None else slope - half,
            high=None if half is None else slope + half,
            method=f"best value per factor ten of size, by {basis}; {how}",
            n=len(rows),
        ),
        "",
    )


def _consistency(
    names: Sequence[str], studies: Sequence[Data], effects: Sequence[Sequence[Effect]]
) -> tuple[tuple[str, Mapping[str, Value | None], Answer], ...]:
    """Every parameter of any study: its value in the best trial of each, and whether that says anything.

    Bests that agree are told; bests that differ contradict each other only if the parameter has an effect that survives
    in two studies, which could have chosen each other's value and each have its own clearly ahead of it. Else it is the
    luck of one trial.
    """
    parameters = dict.fromkeys(name for data in studies for name in data.by_name)
    carried = [{e.parameter: e for e in some if e.p_holm is not None and e.p_holm < ALPHA} for some in effects]
    results = []
    for parameter in parameters:
        if not any(parameter in data.by_name and data.by_name[parameter].varied for data in studies):
            continue
        best = [data.configuration(data.best_row).get(parameter) for data in studies]
        alike = {(type(value), value) for value in best}
        sure = [i for i, some in enumerate(carried) if parameter in some and best[i] is not None]
        if None in best:
            answer = Answer.NOT_MEASURED
        elif len(alike) == 1:
            answer = Answer.YES
        elif any(
            (type(best[a]), best[a]) != (type(best[b]), best[b])
            and _offered(studies[a], parameter, best[b])
            and _offered(studies[b], parameter, best[a])
            and _contradict(carried[a][parameter], carried[b][parameter], best[a], best[b], sign=studies[a].sign)
            for a, b in itertools.combinations(sure, 2)
        ):
            answer = Answer.NO
        else:
            answer = Answer.CANNOT_TELL
        results.append((parameter, dict(zip(names, best, strict=True)), answer))
    return tuple(results)


def _contradict(a: Effect, b: Effect, best_a: Value | None, best_b: Value | None, *, sign: float) -> bool:
    """Whether two effects go different ways, and not only the two best trials."""
    if a.direction is None and b.direction is None:
        return True
    if {a.trend, b.trend} == {"increasing", "decreasing"}:
        return True
    return _is_ahead(a, best_a, best_b, sign=sign) and _is_ahead(b, best_b, best_a, sign=sign)


def _is_ahead(effect: Effect, one: Value | None, other: Value | None, *, sign: float) -> bool:
    """Whether the adjusted mean at one value lies beyond that at another, intervals included."""

    def mean(value: Value | None) -> Estimate | None:
        same = (row for row in effect.rows if type(row.value) is type(value) and row.value == value)
        return next((row.adjusted for row in same), None)

    good, bad = mean(one), mean(other)
    if good is None or bad is None:
        return False
    near, far = (good.low, bad.high) if sign > 0 else (bad.low, good.high)
    return near is not None and far is not None and near > far


def _offered(data: Data, parameter: str, value: Value | None) -> bool:
    return any(type(level) is type(value) and level == value for level in data.by_name[parameter].levels)


def _transfer(a: Data, b: Data, *, seed: int) -> tuple[Estimate | None, int]:
    """Rank correlation over the configurations that both studies have."""
    shared = shared_by(a, b)
    return rank_correlation(shared.x, shared.y, seed=seed), len(shared.x)


def _text(rows: Sequence[BudgetRow], slope: Estimate | None, no_slope: str) -> str:
    counted = [
        f"{row.label}: {_range(*row.n_params)} parameters ({row.n_params_source})" for row in rows if row.n_params
    ]
    text = "; ".join(counted) if counted else "parameter counts of the models are not recorded"
    if slope is None:
        return f"{text}; no slope over size: {no_slope}"
    if slope.low is None or slope.high is None:
        return f"{text}; {signed(slope.value)} per factor ten of size, with unknown uncertainty"
    verdict = "grows or falls with size" if slope.low > 0 or slope.high < 0 else "the slope is within the noise"
    return (
        f"{text}; {signed(slope.value)} [{signed(slope.low)}, {signed(slope.high)}] per factor ten of size: {verdict}"
    )


def _range(low: int, high: int) -> str:
    return _millions(low) if low == high else f"{_millions(low)} to {_millions(high)}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2g} M" if count < 1e8 else f"{count / 1e6:.0f} M"
