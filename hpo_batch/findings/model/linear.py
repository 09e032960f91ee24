"""Linear models of the metric: the columns of the parameters, whether they can be told apart, tests and means.

One parameter is looked at beside all others, which stand in both models: that takes out what the sampler did by
trying good values together. Used by ``effects`` and ``interactions``.

A model knows its columns only by their inner products. ``Coded`` therefore turns the columns of all trials once
(``columns = q @ r``), and the models of each parameter are fitted to columns of ``r``: as many rows as there are
columns instead of trials, the same sums of squares.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import clipped, fenced

MOST_DUMMIES = 12
"""of a category with more values than this the rarer ones share a column"""
SPARE_CURVED = 10
"""trials beyond the columns from which the others are modelled with curves"""
SPARE = 5
"""and from which they are modelled at all: below it, the place in the order of trials stands for them"""
TOLERANCE = 1e-9
"""share of a column below which what others do not explain of it is rounding"""
REMEMBERED = 3
"""sets of trials whose columns are kept: all, those without suspects, those in which a parameter is active"""
CHUNK = 4096
"""trials whose columns are turned at once: few enough for the processor's cache"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Coded:
    """The columns of every varied parameter over some trials, between an intercept and the metric."""

    n: int
    lines: Mapping[str, tuple[int, ...]]
    """places of a parameter's columns without the curve of a number"""
    curves: Mapping[str, tuple[int, ...]]
    """and with it"""
    order: int
    """place of the column that counts the trials"""
    q: Floats
    r: Floats
    """an intercept, then the parameters, then the place in the order of trials and the metric, turned"""
    are_independent: bool
    """no column of a parameter is a combination of those before it: nor is it among fewer of them"""

    @property
    def clipped(self) -> Floats:
        """The metric as tests see it, turned."""
        return self.r[:, -2]

    @property
    def total(self) -> float:
        """Sum of squares of ``clipped`` around its mean, which the intercept takes."""
        return float(np.sum(self.clipped[1:] ** 2))

    @property
    def scaled(self) -> Floats:
        """The metric with far values drawn in to the fences, from 0 to 1, turned."""
        return self.r[:, -1]

    def of_trials(self, places: Sequence[int]) -> Floats:
        """Columns as they are: a row for each trial."""
        return self.q @ self.r[:, places]

    def beside(self, own: Floats) -> tuple[Floats, Floats]:
        """``r`` and other columns of these trials, turned alike: with rows more for what of them is new."""
        within = self.q.T @ own
        rest = own - self.q @ within
        again = self.q.T @ rest
        rest -= self.q @ again
        new = turned(rest)
        return np.vstack([self.r, np.zeros((len(new), self.r.shape[1]))]), np.vstack([within + again, new])


@dataclass(frozen=True, kw_only=True)
class Others:
    """Which columns stand for all parameters but those looked at, the intercept first; none is a combination of those
    before it."""

    places: list[int]
    method: str


_known: WeakKeyDictionary[Data, OrderedDict[bytes, Coded]] = WeakKeyDictionary()


def coded(data: Data, rows: Ints) -> Coded:
    """The columns of these trials; there must be some."""
    known, key = _known.setdefault(data, OrderedDict()), rows.tobytes()
    if key in known:
        known.move_to_end(key)
    else:
        known[key] = _coded_trials(data, rows)
        if len(known) > REMEMBERED:
            known.popitem(last=False)
    return known[key]


def _coded_trials(data: Data, rows: Ints) -> Coded:
    blocks, lines, curves = [np.ones((len(rows), 1))], {}, {}
    width = 1
    for param in data.varied:
        block, bent = _coded(param, rows)
        blocks.append(block)
        curves[param.name] = tuple(range(width, width + block.shape[1]))
        lines[param.name] = curves[param.name][: block.shape[1] - bent]
        width += block.shape[1]
    order = np.linspace(-1, 1, len(rows)) if len(rows) > 1 else np.zeros(1)
    y = fenced(data.y[rows])
    scaled = (y - y.min()) / (np.ptp(y) or 1.0)
    columns = np.column_stack([*blocks, order, clipped(data.y[rows]), scaled])
    q, r = np.linalg.qr(columns)
    return Coded(
        n=len(rows),
        lines=lines,
        curves=curves,
        order=width,
        q=q,
        r=r,
        are_independent=_all_independent(r[:, :width]),
    )


def others(trials: Coded, names: Sequence[str], *, own: int) -> Others:
    """What is held alike while the parameters ``names`` are looked at, which take ``own`` columns.

    As rich as the number of trials allows: straight lines and curves, straight lines, or only the place in the order of
    trials (late trials of a search are better, whatever did it).
    """
    rest = [name for name in trials.curves if name not in names]
    if trials.n >= 3 * len(trials.curves):
        for block, spare, word in (
            (trials.curves, SPARE_CURVED, "the others as lines and curves"),
            (trials.lines, SPARE, "the others as lines"),
        ):
            places = [0, *(place for name in rest for place in block[name])]
            if not trials.are_independent:
                places = [places[i] for i in independent_places(trials.r[:, places])]
            if trials.n - len(places) - own >= spare:
                return Others(places=places, method=word if rest else "no other parameter varies")
    places = [0, trials.order]
    return Others(
        places=[places[i] for i in independent_places(trials.r[:, places])],
        method="too few trials for the other parameters: the place in the order of trials stands for them",
    )


def dummies(codes: Ints, count: int) -> Floats:
    """A column for each level but the first, 1 where a trial has it."""
    return np.asarray(codes[:, None] == np.arange(1, count)[None, :], dtype=np.float64)


def curve(param: ParamInfo, rows: Ints) -> Floats:
    """Linear and squared column of a number."""
    scaled = _scaled(param.positions[rows])
    return np.column_stack([scaled, scaled**2])


def turned(columns: Floats) -> Floats:
    """As many rows as columns, or fewer, with the same inner products."""
    n, width = columns.shape
    size = max(2 * width, CHUNK)
    while len(columns) > size:
        columns = np.vstack([np.linalg.qr(columns[i : i + size], mode="r") for i in range(0, len(columns), size)])
    return np.asarray(np.linalg.qr(columns, mode="r")) if n > width else columns


def independent(columns: Floats) -> Floats:
    """The columns without those that are combinations of earlier ones."""
    return columns[:, independent_places(columns)]


def independent_places(columns: Floats) -> list[int]:
    """Places of the columns that are no combinations of earlier ones."""
    if columns.shape[0] >= columns.shape[1] and _all_independent(turned(columns)):
        return list(range(columns.shape[1]))
    kept: list[int] = []
    basis = np.empty_like(columns, order="F")
    for i in range(columns.shape[1]):
        column = columns[:, i]
        known = basis[:, : len(kept)]
        rest = column - known @ (known.T @ column)
        rest -= known @ (known.T @ rest)
        size = float(np.linalg.norm(rest))
        if size > TOLERANCE * max(1.0, float(np.linalg.norm(column))):
            basis[:, len(kept)] = rest / size
            kept.append(i)
    return kept


def _all_independent(r: Floats) -> bool:
    """Whether what each column adds to those before it, on the diagonal of a triangle, is clearly something."""
    if r.shape[0] < r.shape[1]:
        return False
    added = np.abs(np.diagonal(r))
    return bool((added > 10 * TOLERANCE * np.maximum(1.0, np.linalg.norm(r, axis=0))).all())


def residual(columns: Floats, base: Floats) -> Floats:
    """What of ``columns`` is no combination of the columns of ``base``."""
    solution = np.linalg.lstsq(base, columns, rcond=None)[0]
    return np.asarray(columns - base @ solution, dtype=np.float64)


class Fit(NamedTuple):
    """What a linear model leaves."""

    squares: float
    """sum of squares of the residuals"""
    rank: int
    """independent columns"""


def squares_left(y: Floats, columns: Floats) -> Fit:
    """Sum of squares that a model leaves, and how many independent columns it has."""
    columns = independent(columns)
    return Fit(float(np.sum(_left(y, columns) ** 2)), columns.shape[1])


def f_test(
    y: Floats, base: Floats, own: Floats, *, n: int | None = None, total: float | None = None
) -> tuple[float, int, float] | None:
    """Whether ``own`` adds to a model with ``base``: p, degrees of freedom, share of the variance (epsilon squared).

    None if there is nothing to test with.

    Args:
        n: how many trials the columns stand for, where they are turned.
        total: and the metric's sum of squares around its mean.
    """
    both = np.hstack([base, own])
    q, r = np.linalg.qr(both)
    if _all_independent(r):
        along = q.T @ y
        smaller, larger = (
            Fit(float(np.sum((y - q[:, :k] @ along[:k]) ** 2)), k) for k in (base.shape[1], both.shape[1])
        )
    else:
        smaller = squares_left(y, base)
        larger = squares_left(y, np.hstack([independent(base), own]))
    n = len(y) if n is None else n
    total = float(np.sum((y - y.mean()) ** 2)) if total is None else total
    return f_of(smaller, larger, n=n, squares=float(np.sum(y**2)), total=total)


def f_of(smaller: Fit, larger: Fit, *, n: int, squares: float, total: float) -> tuple[float, int, float] | None:
    """The test of two models, one inside the other, by what they leave: as ``f_test``.

    Args:
        n: trials.
        squares: sum of the metric's squares.
        total: of those around its mean.
    """
    df, spare = larger.rank - smaller.rank, n - larger.rank
    if df < 1 or spare < 1:
        return None
    gained = max(0.0, smaller.squares - larger.squares)
    if smaller.squares <= 1e-20 * max(1.0, squares):
        return None  # rounding alone: the metric is known without either
    if larger.squares <= 1e-12 * smaller.squares:
        return 0.0, df, 1.0
    p = float(stats.f.sf((gained / df) / (larger.squares / spare), df, spare))
    return p, df, max(0.0, (gained - df * larger.squares / spare) / total)


def within(columns: Floats, groups: Ints) -> Floats:
    """The columns less their mean in each group: what a model with a column for each group leaves of them."""
    counts = np.bincount(groups)
    result = np.empty_like(columns)
    for i in range(columns.shape[1]):
        means = np.bincount(groups, weights=columns[:, i]) / np.maximum(counts, 1)
        result[:, i] = columns[:, i] - means[groups]
    return result


def _left(y: Floats, columns: Floats) -> Floats:
    """Residuals of a model with independent columns."""
    q = np.linalg.qr(columns)[0]
    return np.asarray(y - q @ (q.T @ y), dtype=np.float64)


def _coded(param: ParamInfo, rows: Ints) -> tuple[Floats, int]:
    """A parameter that is held alike, and how many of its columns are curves, the last ones: a line and a curve for a
    number, columns for a category, one for being active."""
    codes = param.codes[rows]
    active = codes >= 0
    columns = [(~active).astype(np.float64)] if not active.all() else []
    bent = 0
    if param.ordered:
        scaled = np.where(active, _scaled(param.positions[rows]), 0.0)
        columns.append(scaled)
        if np.count_nonzero(np.bincount(codes[active])) >= 3:
            columns.append(np.where(active, scaled**2, 0.0))
            bent = 1
    else:
        counts = np.bincount(codes[active])
        levels = np.flatnonzero(counts)
        common = levels[np.argsort(-counts[levels], kind="stable")][1 : MOST_DUMMIES + 1]
        columns += [(codes == level).astype(np.float64) for level in common]
    return np.column_stack(columns) if columns else np.empty((len(rows), 0)), bent


def _scaled(positions: Floats) -> Floats:
    # huge numbers overflow when squared
    positions = positions / (np.nanmax(np.abs(positions), initial=0.0) or 1.0)
    known = positions[~np.isnan(positions)]
    spread = float(np.std(known)) if len(known) else 0.0
    if not spread > 0:
        return np.zeros_like(positions)
    return np.asarray((positions - known.mean()) / spread, dtype=np.float64)
