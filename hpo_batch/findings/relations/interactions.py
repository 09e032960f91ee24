"""Whether what one parameter does depends on another, for the pairs that have enough trials to ask."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Floats, Ints, recoded
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.linear import (
    TOLERANCE,
    Fit,
    coded,
    curve,
    dummies,
    f_of,
    f_test,
    others,
    squares_left,
    turned,
    within,
)
from hpo_batch.findings.model.parameter import ParamInfo, value_text
from hpo_batch.findings.model.stats import clipped
from hpo_batch.records import Value

PER_CELL = 10
"""distinct trials wanted for each cell of a pair"""
MOST = 10
"""parameters of which all pairs are looked at; of more, those with the largest effects"""


@dataclass(frozen=True, kw_only=True)
class Interaction:
    a: str
    b: str
    p: float | None
    p_holm: float | None
    n: int
    cells: tuple[tuple[str, str, int, float | None], ...] = field(
        metadata=json_keys("value_of_a", "value_of_b", "n", "mean")
    )
    """value of a, value of b, n, mean"""
    why: str = ""


def interactions(data: Data) -> tuple[Interaction, ...]:
    """A test for each pair of parameters, beside the effects of both and of all others.

    Few values each: every combination may differ. Numbers with more values, or too many combinations for the trials:
    the product of two lines, shown as low and high halves.
    """
    rows = data.distinct
    params = [param for param in data.varied if _is_varied(param, rows)]
    if len(params) > MOST:
        largest = sorted(params, key=lambda param: _p(data, param, rows))[:MOST]
        params = [param for param in params if param in largest]
    return tuple(_interaction(data, a, b) for a, b in itertools.combinations(params, 2))


@dataclass(frozen=True, kw_only=True)
class _Groups:
    """What a parameter is divided into, as a group for each trial. The labels of 100,000 values are seldom wanted."""

    codes: Ints
    count: int
    label: Callable[[int], str]


def _is_varied(param: ParamInfo, rows: Ints) -> bool:
    return bool(len(rows)) and bool(np.ptp(param.codes[rows]))


def _interaction(data: Data, a: ParamInfo, b: ParamInfo) -> Interaction:
    rows = data.distinct[a.active[data.distinct] & b.active[data.distinct]]
    of_a, of_b = _groups(a, rows), _groups(b, rows)
    by_value = a.kind == b.kind == "levels" and len(rows) >= PER_CELL * of_a.count * of_b.count
    if not by_value and a.ordered and b.ordered:
        of_a, of_b = _halves(a, rows), _halves(b, rows)
    cells = of_a.count * of_b.count
    p, why = None, ""
    if of_a.count < 2 or of_b.count < 2:
        why = "one of them does not vary where both are active"
    elif len(rows) < PER_CELL * cells:
        trials = np.unique(_cell_of(of_a, of_b), return_counts=True)[1]
        fewest = int(trials.min()) if len(trials) == cells else 0
        why = f"{len(rows)} distinct trials in {cells} combinations, {fewest} in the rarest: {PER_CELL} each are wanted"
    elif np.ptp(data.y[rows]) == 0:
        why = "the metric is the same in all of these trials"
    else:
        p = _p_by_value(data, a, b, rows, of_a, of_b) if by_value else _p_of_product(data, a, b, rows)
        why = "their combinations cannot be told apart in these trials" if p is None else ""
    return Interaction(
        a=a.name,
        b=b.name,
        p=p,
        p_holm=None,
        n=len(rows),
        cells=_cells(data, rows, of_a, of_b) if not why else (),
        why=why,
    )


def _p_of_product(data: Data, a: ParamInfo, b: ParamInfo, rows: Ints) -> float | None:
    """Whether the product of two lines adds to a line and a curve of each."""
    trials = coded(data, rows)
    main_a, main_b = curve(a, rows), curve(b, rows)
    own = np.hstack([main_a, main_b, main_a[:, :1] * main_b[:, :1]])
    rest = others(trials, [a.name, b.name], own=own.shape[1])
    turned, own = trials.beside(own)
    # drawn in to quantiles, as elsewhere, the sum of two strong effects would end in a plateau and look like more:
    # ``scaled`` is drawn in to the fences
    y = np.concatenate([trials.scaled, np.zeros(len(turned) - len(trials.scaled))])
    main, product = np.hstack([turned[:, rest.places], own[:, :-1]]), own[:, -1:]
    result = f_test(y, main, product, n=trials.n, total=1.0)  # whose share is not asked for
    return None if result is None else result[0]


def _p_by_value(data: Data, a: ParamInfo, b: ParamInfo, rows: Ints, of_a: _Groups, of_b: _Groups) -> float | None:
    """A mean for each combination against the sum of two effects.

    Columns for groups are left out of both models by taking the rest, and the metric, within the groups: the same
    squares are left, without a column for each of many combinations. That is the theorem of Frisch, Waugh and Lovell:
    Lovell 1963, "Seasonal Adjustment of Economic Time Series and Multiple Regression Analysis", Journal of the American
    Statistical Association 58(304), https://doi.org/10.1080/01621459.1963.10480682
    """
    trials = coded(data, rows)
    rest = others(trials, [a.name, b.name], own=len(a.levels) * len(b.levels) - 1)
    more, fewer = sorted((of_a, of_b), key=lambda groups: -groups.count)
    columns = np.hstack(
        [trials.of_trials(rest.places), trials.of_trials([trials.r.shape[1] - 1]), dummies(fewer.codes, fewer.count)]
    )
    k = len(rest.places)
    # the metric last, so that what is left of it stands in its own row
    order = [*range(k), *range(k + 1, columns.shape[1]), k]
    smaller = _left_within(columns[:, order], more.codes)
    cell_of = recoded(_cell_of(of_a, of_b))[1]
    larger = _left_within(columns[:, [*range(k), k]], cell_of)
    y = columns[:, k]
    total = float(np.sum((y - y.mean()) ** 2))
    result = f_of(smaller, larger, n=trials.n, squares=float(np.sum(y**2)), total=total)
    return None if result is None else result[0]


def _left_within(columns: Floats, groups: Ints) -> Fit:
    """What a model of the last column leaves, which has the others and a mean for each group: squares, and its rank."""
    sizes = np.linalg.norm(columns[:, :-1], axis=0)
    inside = turned(within(columns, groups))
    # what of a column is left within the groups is none if it is little beside what it was
    kept = np.linalg.norm(inside[:, :-1], axis=0) > TOLERANCE * np.maximum(1.0, sizes)
    left, rank = squares_left(inside[:, -1], inside[:, :-1][:, kept])
    return Fit(left, rank + int(np.count_nonzero(np.bincount(groups))))


def _groups(param: ParamInfo, rows: Ints) -> _Groups:
    seen, codes = recoded(param.codes[rows])
    return _Groups(codes=codes, count=len(seen), label=lambda i: param.label(param.levels[seen[i]]))


def _halves(param: ParamInfo, rows: Ints) -> _Groups:
    """Low and high values, about as many trials each."""
    whole = _groups(param, rows)
    if whole.count <= 2:
        return whole
    before = np.cumsum(np.bincount(whole.codes))[:-1]
    cut = 1 + int(np.argmin(np.abs(before - len(rows) / 2)))
    codes = (whole.codes >= cut).astype(np.int64)
    seen = recoded(param.codes[rows])[0]
    ends = [_short(param.levels[seen[i]]) for i in (0, cut - 1, cut, -1)]
    labels = (f"{ends[0]} to {ends[1]}", f"{ends[2]} to {ends[3]}")
    return _Groups(codes=codes, count=2, label=labels.__getitem__)


def _cell_of(of_a: _Groups, of_b: _Groups) -> Ints:
    return of_a.codes * of_b.count + of_b.codes


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else value_text(value)


def _cells(data: Data, rows: Ints, of_a: _Groups, of_b: _Groups) -> tuple[tuple[str, str, int, float | None], ...]:
    cell_of = _cell_of(of_a, of_b)
    by_cell = np.argsort(cell_of, kind="stable")
    ends = np.cumsum(np.bincount(cell_of, minlength=of_a.count * of_b.count))[:-1]
    means = [(len(y), float(y.mean()) if len(y) else None) for y in np.split(data.y[rows[by_cell]], ends)]
    labels = itertools.product(map(of_a.label, range(of_a.count)), map(of_b.label, range(of_b.count)))
    return tuple((a, b, n, mean) for (a, b), (n, mean) in zip(labels, means, strict=True))


def _p(data: Data, param: ParamInfo, rows: Ints) -> float:
    """Of the parameter alone, to choose which ones to look at."""
    rows = rows[param.active[rows]]
    columns = curve(param, rows) if param.ordered else dummies(param.codes[rows], min(len(param.levels), MOST))
    result = f_test(clipped(data.y[rows]), np.ones((len(rows), 1)), columns) if np.ptp(data.y[rows]) else None
    return result[0] if result else 1.0
