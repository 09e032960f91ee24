"""Which of two values of a parameter is better, how likely that is, and by how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.surrogate import Surrogate, Z
from hpo_batch.records import Estimate, Value

MOST_VALUES: Final = 50
"""of a category with more values the most tried ones are compared"""
PLACES: Final = 9
"""of a number with many values, evenly over the trials from the 5 % to the 95 % quantile: no trial alone is an end"""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """A graded statement on two values of one parameter, averaged over the settings of the others that were tried."""

    better: Value
    worse: Value
    better_label: str
    worse_label: str
    probability: float
    """that ``better`` is better, from 0.5 to 1"""
    difference: Estimate
    """by how much, on the metric's scale; above 0 where ``better`` is better, whatever the metric's direction"""
    gain: float
    """expected improvement of always using ``better`` over the average of the trials, on the metric's scale; above 0 or
    0: what is at stake"""
    trials_to_tell: int | None = None
    """further trials after which a difference as large as this would be told from none, with 80 % power; None if it is
    told already, or would take more than 10,000"""


def direction(
    data: Data, param: ParamInfo, model: Surrogate, *, tell: Callable[[float], int | None] | None
) -> Direction | None:
    """The best against the worst value; None for a parameter that does not vary or is computed from others.

    Args:
        tell: after how many further trials the test finds a difference; None without a test.
    """
    column = model.place(param)
    if column is None:
        return None
    values, weights = _values(param, model)
    if len(values) < 2:
        return None
    means = model.means(param, values)
    assert means is not None
    good = data.sign * means.mean
    best, worst = int(np.argmax(good)), int(np.argmin(good))
    size, error = means.difference(best, worst)
    size *= data.sign
    probability = float(stats.norm.cdf(size / error)) if error > 0 else 1.0
    return Direction(
        better=values[best],
        worse=values[worst],
        better_label=_label(param, values[best]),
        worse_label=_label(param, values[worst]),
        probability=probability,
        difference=Estimate(
            value=size, low=size - Z * error, high=size + Z * error, method="same model", n=len(model.rows)
        ),
        gain=max(0.0, float(good[best] - weights @ good)),
        trials_to_tell=tell(size) if tell is not None and size > 0 else None,
    )


def _label(param: ParamInfo, value: Value) -> str:
    """Of a number with many values three digits: nobody chose the others."""
    return f"{value:.3g}" if isinstance(value, float) and param.kind == "continuous" else param.label(value)


def _values(param: ParamInfo, model: Surrogate) -> tuple[list[Value], Floats]:
    """Tried values to compare, and how large a part of the trials each stands for."""
    codes = param.codes[model.rows]
    codes = codes[codes >= 0]
    counts = np.bincount(codes, minlength=len(param.levels))
    if param.kind == "levels":
        shown = np.sort(np.argsort(-counts, kind="stable")[: min(MOST_VALUES, int(np.count_nonzero(counts)))])
        return [param.levels[i] for i in shown.tolist()], counts[shown] / counts[shown].sum()
    # places of codes are places on the scale: levels of a number stand by size
    at = np.quantile(codes, np.linspace(0.05, 0.95, PLACES), method="nearest").astype(np.int64)
    different = np.unique(at, return_counts=True)
    return [param.levels[i] for i in different[0].tolist()], different[1] / PLACES
