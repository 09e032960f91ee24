"""Whether what one parameter does depends on another, for the pairs that have enough trials to ask."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpo_batch.analysis.frame import Data, ParamInfo, value_text
from hpo_batch.analysis.linear import curve, dummies, f_test, others
from hpo_batch.analysis.records import Interaction
from hpo_batch.analysis.stats import clipped, fenced
from hpo_batch.records import Value

PER_CELL = 10
"""distinct trials wanted for each cell of a pair"""
MOST = 10
"""parameters of which all pairs are looked at; of more, those with the largest effects"""


def interactions(data: Data) -> tuple[Interaction, ...]:
    """A test for each pair of parameters, beside the effects of both and of all others.

    Few values each: every combination may differ. Numbers with more values, or too many combinations for the trials:
    the product of two lines, shown as low and high halves.
    """
    rows = data.distinct
    params = [param for param in data.varied if len(np.unique(param.codes[rows])) > 1]
    if len(params) > MOST:
        largest = sorted(params, key=lambda param: _p(data, param, rows))[:MOST]
        params = [param for param in params if param in largest]
    return tuple(_interaction(data, a, b) for a, b in itertools.combinations(params, 2))


def _interaction(data: Data, a: ParamInfo, b: ParamInfo) -> Interaction:
    rows = data.distinct[a.active[data.distinct] & b.active[data.distinct]]
    codes_a, labels_a, codes_b, labels_b = *_groups(a, rows), *_groups(b, rows)
    cells = len(labels_a) * len(labels_b)
    by_value = a.kind == b.kind == "levels" and len(rows) >= PER_CELL * cells
    if not by_value and a.ordered and b.ordered:
        codes_a, labels_a, codes_b, labels_b = *_halves(a, rows), *_halves(b, rows)
        cells = len(labels_a) * len(labels_b)
    p, why = None, ""
    if len(labels_a) < 2 or len(labels_b) < 2:
        why = "one of them does not vary where both are active"
    elif len(rows) < PER_CELL * cells:
        fewest = min(n for _, _, n, _ in _cells(data, rows, codes_a, labels_a, codes_b, labels_b))
        why = f"{len(rows)} distinct trials in {cells} combinations, {fewest} in the rarest: {PER_CELL} each are wanted"
    elif np.ptp(data.y[rows]) == 0:
        why = "the metric is the same in all of these trials"
    else:
        p, why = _tested(data, a, b, rows, by_value=by_value)
    return Interaction(
        a=a.name,
        b=b.name,
        p=p,
        p_holm=None,
        n=len(rows),
        cells=_cells(data, rows, codes_a, labels_a, codes_b, labels_b) if not why else (),
        why=why,
    )


def _tested(
    data: Data, a: ParamInfo, b: ParamInfo, rows: NDArray[np.int64], *, by_value: bool
) -> tuple[float | None, str]:
    if by_value:
        main_a, main_b = (dummies(p.codes[rows], len(p.levels)) for p in (a, b))
        both = (main_a[:, :, None] * main_b[:, None, :]).reshape(len(rows), -1)
    else:
        main_a, main_b = curve(a, rows), curve(b, rows)
        both = main_a[:, :1] * main_b[:, :1]
    rest = others(data, rows, [a.name, b.name], own=main_a.shape[1] + main_b.shape[1] + both.shape[1])
    # drawn in to quantiles, as elsewhere, the sum of two strong effects would end in a plateau and look like more
    y = fenced(data.y[rows])
    y = (y - y.min()) / (np.ptp(y) or 1.0)
    found = f_test(y, np.hstack([rest.columns, main_a, main_b]), both)
    return (found[0], "") if found else (None, "their combinations cannot be told apart in these trials")


def _groups(param: ParamInfo, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    seen, codes = np.unique(param.codes[rows], return_inverse=True)
    return codes.astype(np.int64), [param.label(param.levels[i]) for i in seen.tolist()]


def _halves(param: ParamInfo, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """Low and high values, about as many trials each."""
    groups, labels = _groups(param, rows)
    if len(labels) <= 2:
        return groups, labels
    before = np.cumsum(np.bincount(groups))[:-1]
    cut = 1 + int(np.argmin(np.abs(before - len(rows) / 2)))
    codes = (groups >= cut).astype(np.int64)
    ends = [_short(param.levels[i]) for i in np.unique(param.codes[rows]).tolist()]
    return codes, [f"{ends[0]} to {ends[cut - 1]}", f"{ends[cut]} to {ends[-1]}"]


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else value_text(value)


def _cells(
    data: Data,
    rows: NDArray[np.int64],
    codes_a: NDArray[np.int64],
    labels_a: Sequence[str],
    codes_b: NDArray[np.int64],
    labels_b: Sequence[str],
) -> tuple[tuple[str, str, int, float | None], ...]:
    found = []
    for (i, a), (j, b) in itertools.product(enumerate(labels_a), enumerate(labels_b)):
        y = data.y[rows[(codes_a == i) & (codes_b == j)]]
        found.append((a, b, len(y), float(y.mean()) if len(y) else None))
    return tuple(found)


def _p(data: Data, param: ParamInfo, rows: NDArray[np.int64]) -> float:
    """Of the parameter alone, to choose which ones to look at."""
    rows = rows[param.active[rows]]
    columns = curve(param, rows) if param.ordered else dummies(param.codes[rows], min(len(param.levels), MOST))
    found = f_test(clipped(data.y[rows]), np.ones((len(rows), 1)), columns) if np.ptp(data.y[rows]) else None
    return found[0] if found else 1.0
