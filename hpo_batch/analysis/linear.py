"""Linear models of the metric: the columns of the parameters, whether they can be told apart, tests and means.

One parameter is looked at beside all others, which stand in both models: that takes out what the sampler did by
trying good values together. Used by ``effects`` and ``interactions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hpo_batch.analysis.frame import Data, ParamInfo
from hpo_batch.analysis.stats import Floats

MOST_DUMMIES = 12
"""of a category with more values than this the rarer ones share a column"""
SPARE_CURVED = 10
"""trials beyond the columns from which the others are modelled with curves"""
SPARE = 5
"""and from which they are modelled at all: below it, the place in the order of trials stands for them"""
TOLERANCE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Others:
    """Columns of all parameters but those looked at, an intercept first, none a combination of those before it."""

    columns: Floats
    method: str


def others(data: Data, rows: NDArray[np.int64], names: Sequence[str], *, own: int) -> Others:
    """What is held alike while the parameters ``names`` are looked at, which take ``own`` columns.

    As rich as the number of trials allows: straight lines and curves, straight lines, or only the place in the order of
    trials (late trials of a search are better, whatever did it).
    """
    ones = np.ones((len(rows), 1))
    rest = [p for p in data.varied if p.name not in names]
    order = np.linspace(-1, 1, len(rows))[:, None] if len(rows) > 1 else np.zeros((1, 1))
    if len(rows) >= 3 * len(data.varied):
        for curved, spare, word in (
            (True, SPARE_CURVED, "the others as lines and curves"),
            (False, SPARE, "the others as lines"),
        ):
            columns = independent(np.hstack([ones, *(_coded(p, rows, curved=curved) for p in rest)]))
            if len(rows) - columns.shape[1] - own >= spare:
                return Others(columns=columns, method=word if rest else "no other parameter varies")
    return Others(
        columns=independent(np.hstack([ones, order])),
        method="too few trials for the other parameters: the place in the order of trials stands for them",
    )


def dummies(codes: NDArray[np.int64], count: int) -> Floats:
    """A column for each level but the first, 1 where a trial has it."""
    return np.asarray(codes[:, None] == np.arange(1, count)[None, :], dtype=np.float64)


def curve(param: ParamInfo, rows: NDArray[np.int64]) -> Floats:
    """Linear and squared column of a number."""
    scaled = _scaled(param.positions[rows])
    return np.column_stack([scaled, scaled**2])


def independent(columns: Floats) -> Floats:
    """The columns without those that are combinations of earlier ones."""
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
    return columns[:, kept]


def residual(columns: Floats, base: Floats) -> Floats:
    """What of ``columns`` is no combination of the columns of ``base``."""
    solution = np.linalg.lstsq(base, columns, rcond=None)[0]
    return np.asarray(columns - base @ solution, dtype=np.float64)


def f_test(y: Floats, base: Floats, own: Floats) -> tuple[float, int, float] | None:
    """Whether ``own`` adds to a model with ``base``: p, degrees of freedom, share of the variance (epsilon squared).

    None if there is nothing to test with.
    """
    base = independent(base)
    full = independent(np.hstack([base, own]))
    df, spare = full.shape[1] - base.shape[1], len(y) - full.shape[1]
    if df < 1 or spare < 1:
        return None
    rss_base = float(np.sum(_left(y, base) ** 2))
    rss = float(np.sum(_left(y, full) ** 2))
    gained = max(0.0, rss_base - rss)
    if rss_base <= 1e-20 * max(1.0, float(np.sum(y**2))):
        return None
    if rss <= 1e-12 * rss_base:
        return 0.0, df, 1.0
    p = float(stats.f.sf((gained / df) / (rss / spare), df, spare))
    total = float(np.sum((y - y.mean()) ** 2))
    return p, df, max(0.0, (gained - df * rss / spare) / total)


def _left(y: Floats, columns: Floats) -> Floats:
    """Residuals of a model with independent columns."""
    q = np.linalg.qr(columns)[0]
    return np.asarray(y - q @ (q.T @ y), dtype=np.float64)


def _coded(param: ParamInfo, rows: NDArray[np.int64], *, curved: bool) -> Floats:
    """A parameter that is held alike: a line and a curve for a number, columns for a category, one for being active."""
    codes = param.codes[rows]
    active = codes >= 0
    columns = [(~active).astype(np.float64)] if not active.all() else []
    if param.ordered:
        scaled = np.where(active, _scaled(param.positions[rows]), 0.0)
        columns.append(scaled)
        if curved and len(np.unique(codes[active])) >= 3:
            columns.append(np.where(active, scaled**2, 0.0))
    else:
        levels, counts = np.unique(codes[active], return_counts=True)
        common = levels[np.argsort(-counts, kind="stable")][1 : MOST_DUMMIES + 1]
        columns += [(codes == level).astype(np.float64) for level in common]
    return np.column_stack(columns) if columns else np.empty((len(rows), 0))


def _scaled(positions: Floats) -> Floats:
    # huge numbers overflow when squared
    positions = positions / (np.nanmax(np.abs(positions), initial=0.0) or 1.0)
    known = positions[~np.isnan(positions)]
    spread = float(np.std(known)) if len(known) else 0.0
    if not spread > 0:
        return np.zeros_like(positions)
    return np.asarray((positions - known.mean()) / spread, dtype=np.float64)
