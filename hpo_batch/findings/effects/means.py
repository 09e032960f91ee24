"""Means of the metric by value of a parameter: as they are, and over the settings of the others that were tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hpo_batch.findings.model.arrays import Bools, Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.surrogate import surrogate
from hpo_batch.records import Estimate, Value

POWERED = 5
"""distinct trials of a value below which its interval rests mostly on its neighbours"""
MOST_ROWS = 20
"""a number with more values than this is shown in intervals"""
MOST_COMPARED = 50
"""of a category with more values than this the most tried ones are shown"""
INTERVALS = 4
BAND: Final = 2.1
"""standard errors to either side of a mean in a 95 % interval: what makes bands hold the truth in 95 % on the tables
that ``model.process`` names, where 1.96 gave 94 %"""
FLAT = 0.01
"""difference of the last and the first mean below which plain means are called flat"""
POINTS = 25
"""of a curve"""
METHOD = "Gaussian process of all parameters, averaged over the settings of the others that were tried"


@dataclass(frozen=True, kw_only=True)
class ValueRow:
    """One value (or one interval of a continuous parameter) of one parameter."""

    label: str
    value: Value | None
    """None for an interval"""
    n: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    adjusted: Estimate | None
    """mean over the settings of the other parameters that were tried; None where it cannot be computed"""
    share: float
    """of the complete trials"""
    top_share: float | None = None
    """share of this value among the top trials, beside ``share``, its base rate"""
    distinct: int = 0
    """trials of it less those that repeat another one exactly"""
    underpowered: bool = False
    """fewer than five distinct trials: what is said of it rests mostly on other values"""


def value_rows(data: Data, param: ParamInfo, rows: Ints) -> tuple[list[ValueRow], list[tuple[float, Estimate]]]:
    """The values with their means as they are and adjusted, and the points of a curve."""
    table = plain_rows(data, param, rows)
    model = surrogate(data, rows)
    if model is None or model.place(param) is None:
        return table, []
    at = _places(param) if param.kind == "continuous" else []
    shown = [i for i, row in enumerate(table) if row.distinct]
    values = [_shown_value(param, row, i) for i, row in enumerate(table)]
    means = model.means(param, [*at, *(values[i] for i in shown)])
    assert means is not None
    estimates = [
        Estimate(value=mean, low=mean - BAND * error, high=mean + BAND * error, method=METHOD, n=len(model.rows))
        for mean, error in zip(means.mean.tolist(), means.errors.tolist(), strict=True)
    ]
    for i, estimate in zip(shown, estimates[len(at) :], strict=True):
        table[i] = replace(table[i], adjusted=estimate)
    return table, list(zip(at, estimates, strict=False))


def _shown_value(param: ParamInfo, row: ValueRow, i: int) -> Value | float:
    return row.value if row.value is not None else _middle(param, i)


def _places(param: ParamInfo) -> list[float]:
    """Where a curve is computed, evenly on the parameter's own scale."""
    if not param.numeric:
        return []
    positions = param.level_positions
    even = np.linspace(float(positions.min()), float(positions.max()), POINTS)
    at = 10**even if param.log else even
    # the ends as they were tried, not a last digit beyond them; a zero lies below all powers of ten
    return [float(param.levels[0]), *at[1:-1].tolist(), float(param.levels[-1])]


def plain_rows(data: Data, param: ParamInfo, rows: Ints) -> list[ValueRow]:
    """Counts and means of the trials as they are, repeats included; of distinct trials that are left out, neither."""
    distinct = np.zeros(data.n, dtype=bool)
    distinct[rows] = True
    counted = np.ones(data.n, dtype=bool)
    counted[data.distinct] = False
    counted[rows] = True
    groups: list[tuple[str, Value | None, Bools]]
    if _is_shown_in_intervals(param):
        edges = _edges(param)
        inner = np.searchsorted(edges[1:-1], param.positions, side="right")
        groups = [(_interval(param, edges, i), None, param.active & (inner == i)) for i in range(len(edges) - 1)]
    else:
        shown = range(len(param.levels))
        if len(param.levels) > MOST_COMPARED:
            counts = np.bincount(param.codes[param.active], minlength=len(param.levels))
            shown = np.argsort(-counts, kind="stable")[:MOST_COMPARED].tolist()
        groups = [(param.label(param.levels[i]), param.levels[i], param.codes == i) for i in shown]
    table = []
    for label, value, group in groups:
        mask = group & counted
        y = data.y[mask]
        n_distinct = int(np.sum(mask & distinct))
        table.append(
            ValueRow(
                label=label,
                value=value,
                n=len(y),
                mean=float(y.mean()) if len(y) else None,
                std=float(y.std(ddof=1)) if len(y) > 1 else None,
                min=float(y.min()) if len(y) else None,
                max=float(y.max()) if len(y) else None,
                adjusted=None,
                share=len(y) / int(counted.sum()) if counted.any() else 0.0,
                distinct=n_distinct,
                underpowered=n_distinct < POWERED,
            )
        )
    return table


def _is_shown_in_intervals(param: ParamInfo) -> bool:
    return param.numeric and len(param.levels) > MOST_ROWS


def _edges(param: ParamInfo) -> Floats:
    """Of intervals with about as many trials each."""
    return np.unique(np.quantile(param.positions[param.active], np.linspace(0, 1, INTERVALS + 1)))


def _interval(param: ParamInfo, edges: Floats, i: int) -> str:
    low, high = (10 ** edges[i : i + 2] if param.log else edges[i : i + 2]).tolist()
    return f"{low:.3g} to {high:.3g}"


def _middle(param: ParamInfo, i: int) -> float:
    edges = _edges(param)
    middle = float(edges[i : i + 2].mean())
    return 10**middle if param.log else middle


def naive_trend(means: Sequence[float]) -> str:
    """The last mean against the first, whatever lies between: what a reader of plain means would say."""
    if len(means) < 2 or abs(means[-1] - means[0]) < FLAT:
        return "flat"
    return "increasing" if means[-1] > means[0] else "decreasing"
