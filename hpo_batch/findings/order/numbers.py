"""Whether the metric moved with the order of the trials: slowly over all of them, or at once from one trial on.

A search improves because its sampler chooses better parameters, which is no drift. So the metric's normal scores are
compared with the order beside a covariance that holds what the parameters explain (generalized least squares). One line
over all trials and a step before each of them are tried; the largest of these statistics has the p that independent
normal errors give it. Under a search the scores alone find moves that are none in 5 to 10 % of studies, so the values
themselves must agree. Where a parameter changed with the order, neither can be told from the other. How often this is
right: benchmarks/order.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Bools, Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import MOST_LEVELS, ParamInfo
from hpo_batch.findings.model.stats import fenced
from hpo_batch.findings.order.process import Covariance, covariance
from hpo_batch.records import Answer, Estimate
from hpo_batch.text.numbers import count

FEWEST: Final = 16
"""trials below which order is not tested"""
MOST: Final = 160
"""trials that are compared, evenly over the order; the cost grows with their cube"""
LEVEL: Final = 0.003
"""p below which the metric is said to have moved"""
AGREE: Final = 0.05
"""p that the values themselves must have then, with ends far outside drawn in"""
END: Final = 0.1
"""of the trials: a step has at least so many before and after it"""
DRAWS: Final = 4000
"""of independent errors, to which the largest statistic is compared"""
TOGETHER: Final = 0.8
"""share of the order's variance that a parameter explains by itself where the two cannot be told apart"""


@dataclass(frozen=True, kw_only=True)
class Order:
    """Whether the metric moved with the order of the trials."""

    answer: Answer
    """yes: p below 0.003, and the values themselves agree; no: not so; cannot tell: too few trials, or a parameter
    changed with the order"""
    kind: str
    """``step``, ``drift`` (slowly, over all trials) or empty"""
    since: int | None
    """number of the first trial after the step"""
    size: Estimate | None
    """of a step: later less earlier trials; of a drift: last less first trial; at equal parameters, on the
    metric's scale"""
    p: float | None
    """with normal scores"""
    confounded: tuple[str, ...] = ()
    """parameters that changed with the order just where the metric moved: it may be either"""
    n: int = 0
    why: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    p: float
    moved: bool
    column: int
    """place of the most telling one among the columns"""
    covariance: Covariance
    """of the values"""


def order(data: Data) -> Order | None:
    """The comparison; None where no trial completed, or all have one value."""
    rows = data.distinct
    if not len(rows) or np.ptp(data.y[rows]) == 0:
        return None
    if len(rows) < FEWEST:
        few = count(len(rows), "distinct trial is", "distinct trials are")
        why = f"{few} too few to see a drift; {FEWEST} are the least"
        return _none(Answer.CANNOT_TELL, len(rows), why=why)
    if len(rows) > MOST:
        rows = rows[np.linspace(0, len(rows) - 1, MOST).round().astype(np.int64)]
    columns = _columns(len(rows))
    scores = _scores(data.y[rows])
    if scores is None:
        return _none(Answer.CANNOT_TELL, len(rows), why="more than half of the trials have one value")
    values = fenced(data.y[rows])
    values = (values - values.mean()) / (float(np.ptp(values)) or 1.0)
    found = _tested(data.varied, rows, scores, values, columns)
    together = _together(data.varied, rows, columns)
    alike = [param for param, there in together if there[found.column]]
    if found.moved and not alike:
        return _moved(data, rows, columns, found)
    # without what changed with the order: would there be a drift then?
    for param, there in together:
        others = [one for one in data.varied if one is not param]
        again = _tested(others, rows, scores, values, columns)
        if again.moved and there[again.column]:
            moved = _moved(data, rows, columns, again)
            names = tuple(one.name for one, at in together if at[again.column])
            return Order(
                answer=Answer.CANNOT_TELL, kind=moved.kind, since=moved.since, size=moved.size, p=moved.p,
                confounded=names, n=len(rows),
            )  # fmt: skip
    return _none(Answer.NO, len(rows), p=found.p)


def without_move(data: Data, found: Order | None) -> Data:
    """The trials with a move of the metric taken out, as if all had run at its beginning; ``data`` if there is none."""
    if found is None or found.answer is not Answer.YES or found.size is None:
        return data
    if found.since is not None:
        column = (data.numbers >= found.since).astype(np.float64)
    else:
        column = np.linspace(0.0, 1.0, data.n)
    return replace(data, y=data.y - found.size.value * column)


def _none(answer: Answer, n: int, *, p: float | None = None, why: str = "") -> Order:
    return Order(answer=answer, kind="", since=None, size=None, p=p, n=n, why=why)


def _columns(n: int) -> Floats:
    """A line from 0 to 1, then a step before each trial that has enough on both sides: shape (n, 1 + steps)."""
    end = max(4, round(END * n))
    places = np.arange(n)
    return np.column_stack([places / (n - 1), *((places >= at).astype(np.float64) for at in range(end, n - end + 1))])


def _first(column: Floats) -> int:
    """Place of the first trial after a step."""
    return int(np.argmax(column > 0))


def _scores(y: Floats) -> Floats | None:
    """Normal scores of the ranks; None where there is hardly an order."""
    counts = np.unique(y, return_counts=True)[1]
    if counts.max() > len(y) / 2:
        return None
    return np.asarray(stats.norm.ppf((stats.rankdata(y) - 0.5) / len(y)), dtype=np.float64)


def _tested(params: Sequence[ParamInfo], rows: Ints, scores: Floats, values: Floats, columns: Floats) -> _Found:
    p, column, fitted = _chance(params, rows, scores, columns)
    if p >= LEVEL:
        return _Found(p=p, moved=False, column=column, covariance=fitted)
    again, _, fitted = _chance(params, rows, values, columns)
    return _Found(p=p, moved=again < AGREE, column=column, covariance=fitted)


def _chance(params: Sequence[ParamInfo], rows: Ints, y: Floats, columns: Floats) -> tuple[float, int, Covariance]:
    """The chance of so large a statistic, the column that has it, and the covariance beside which it has."""
    n = len(rows)
    one = np.ones((n, 1))
    # a line that the covariance need not explain: else it takes a drift for noise
    fitted = covariance(params, rows, y, beside=np.hstack([one, columns[:, :1]]))
    statistics, white = _statistics(fitted, y, columns)
    best = int(np.argmax(statistics))
    largest = float(statistics[best])
    # the same of errors without any order, which depends on the columns alone
    drawn = np.random.default_rng(0).standard_normal((DRAWS, n))
    base = fitted.whitened(one)[:, 0]
    drawn -= np.outer(drawn @ base, base) / float(base @ base)
    most = np.max((drawn @ white) ** 2 / np.sum(white**2, axis=0), axis=1)
    total = np.sum(drawn**2, axis=1)
    chance = (1 + int(np.count_nonzero(most * (n - 2) / (total - most) >= largest))) / (DRAWS + 1)
    bound = columns.shape[1] * float(stats.f.sf(largest, 1, n - 2))
    return min(1.0, chance, bound), best, fitted


def _statistics(fitted: Covariance, y: Floats, columns: Floats) -> tuple[Floats, Floats]:
    """F of each column beside an intercept; and the columns as it sees them."""
    n = len(y)
    base = fitted.whitened(np.ones(n))
    white = fitted.whitened(np.column_stack([y, columns]))
    white -= np.outer(base, base @ white) / float(base @ base)
    response, white = white[:, 0], white[:, 1:]
    explained = (white.T @ response) ** 2 / np.sum(white**2, axis=0)
    rest = np.maximum(float(response @ response) - explained, 1e-300)
    return explained * (n - 2) / rest, white


def _moved(data: Data, rows: Ints, columns: Floats, found: _Found) -> Order:
    column = found.column
    size = _size(fenced(data.y[rows]), columns[:, column], found.covariance)
    return Order(
        answer=Answer.YES,
        kind="step" if column else "drift",
        since=int(data.numbers[rows[_first(columns[:, column])]]) if column else None,
        size=size,
        p=found.p,
        n=len(rows),
    )


def _size(y: Floats, column: Floats, fitted: Covariance) -> Estimate:
    """The column's coefficient on the metric's scale."""
    n = len(y)
    white = fitted.whitened(np.column_stack([np.ones(n), column]))
    unit = float(np.ptp(y)) or 1.0
    response = fitted.whitened((y - y.mean()) / unit)
    inverse = np.linalg.inv(white.T @ white)
    fit = inverse @ (white.T @ response)
    rest = response - white @ fit
    error = float(np.sqrt(inverse[1, 1] * float(rest @ rest) / (n - 2)))
    wide = float(stats.t.ppf(0.975, n - 2)) * error
    value = float(fit[1])
    return Estimate(
        value=unit * value,
        low=unit * (value - wide),
        high=unit * (value + wide),
        method="generalized least squares beside the parameters",
        n=n,
    )


def _together(params: Sequence[ParamInfo], rows: Ints, columns: Floats) -> list[tuple[ParamInfo, Bools]]:
    """Parameters that changed with the order, and with which columns."""
    found = []
    centred = columns - columns.mean(axis=0)
    for param in params:
        own = _own(param, rows)
        if own is None:
            continue
        q = np.linalg.qr(own)[0]
        shares = np.sum((q.T @ centred) ** 2, axis=0) / np.sum(centred**2, axis=0)
        if bool((shares >= TOGETHER).any()):
            found.append((param, shares >= TOGETHER))
    return found


def _own(param: ParamInfo, rows: Ints) -> Floats | None:
    """A parameter's columns: its line, or one for each of a few values; centred."""
    codes = param.codes[rows]
    if param.ordered and bool(param.active[rows].all()) and len(np.unique(codes)) > MOST_LEVELS:
        own = param.positions[rows][:, None]
    else:
        different = np.unique(codes)
        if not 1 < len(different) <= MOST_LEVELS + 1:
            return None
        own = (codes[:, None] == different[1:]).astype(np.float64)
    own = own - own.mean(axis=0)
    return own if float(np.abs(own).max()) > 0 else None
