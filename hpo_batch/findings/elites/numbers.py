"""The best quarter of the trials: which values it has beside how often they were tried, and what lies at an edge."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import clipped, correlation
from hpo_batch.records import Value

QUARTER = 0.25
FEWEST = 4
MOST_SHARES = 20
"""values of a parameter whose shares are listed, the most frequent among the elites"""
RESAMPLES = 200
AT_EDGE = 0.95
"""share of resamples in which the fitted optimum must lie at an edge"""
CLOSE = 0.025
"""of the range: what counts as being at its end, where there are no listed values"""
MOST_FITTED = 400


@dataclass(frozen=True, kw_only=True)
class Elites:
    """The top quarter, ties included."""

    n: int
    threshold: float
    rows: tuple[EliteRow, ...]


@dataclass(frozen=True, kw_only=True)
class EliteRow:
    parameter: str
    low: Value | None
    high: Value | None
    """range among the elites, for numbers"""
    shares: tuple[tuple[str, float, float], ...] = field(metadata=json_keys("value", "share_of_elites", "share_of_all"))
    """value, share among elites, share among all complete trials"""
    at_edge: str
    """``low``, ``high`` or empty: the best trial lies at that edge of the space, or the fitted optimum does in 95 % of
    resamples"""
    rho: float | None
    rho_p: float | None
    """Spearman against the metric over all trials in which the parameter is active"""


def elites(data: Data, *, seed: int = 0) -> Elites | None:
    """The top quarter, ties included; None for fewer than four complete trials, or if all are equal.

    Of trials that repeat another one exactly only the first is counted: a configuration that was run ten times is one.
    """
    rows = data.distinct
    if len(rows) < FEWEST or np.ptp(data.y[rows]) == 0:
        return None
    good = data.sign * data.y[rows]
    threshold = float(np.sort(good)[::-1][math.ceil(QUARTER * len(rows)) - 1])
    best = rows[good >= threshold]
    edges = _fitted_edges(data, rows, seed=seed)
    return Elites(
        n=len(best),
        threshold=data.sign * threshold,
        rows=tuple(_row(data, param, best, edges.get(param.name, "")) for param in data.varied),
    )


def _row(data: Data, param: ParamInfo, best: Ints, fitted: str) -> EliteRow:
    rows = data.distinct
    active = best[param.active[best]]
    codes = param.codes[active]
    everywhere = rows[param.active[rows]]
    rho, rho_p = None, None
    if param.ordered:
        _, _, rho, rho_p = correlation(param.positions[everywhere], data.y[everywhere])
    return EliteRow(
        parameter=param.name,
        low=param.levels[int(codes.min())] if param.ordered and len(codes) else None,
        high=param.levels[int(codes.max())] if param.ordered and len(codes) else None,
        shares=_shares(param, active, everywhere),
        at_edge=_edge_of_best(data, param) or fitted,
        rho=rho,
        rho_p=rho_p,
    )


def _shares(param: ParamInfo, active: Ints, everywhere: Ints) -> tuple[tuple[str, float, float], ...]:
    among = np.bincount(param.codes[active], minlength=len(param.levels))
    overall = np.bincount(param.codes[everywhere], minlength=len(param.levels))
    shown = range(len(param.levels))
    if len(param.levels) > MOST_SHARES:
        shown = sorted(np.lexsort((-overall, -among))[:MOST_SHARES].tolist())  # type: ignore[assignment]
    return tuple(
        (param.label(param.levels[i]), float(among[i] / max(1, len(active))), float(overall[i] / len(everywhere)))
        for i in shown
    )


def _edge_of_best(data: Data, param: ParamInfo) -> str:
    """Whether the best trial lies at an end of the space. Ends of a parameter with two values are no edges."""
    value = param.value(data.best_row)
    if not _has_edges(param) or value is None:
        return ""
    return _edge(param, np.array([param.position(value)]))[0]


def _has_edges(param: ParamInfo) -> bool:
    return param.ordered and param.bounds is not None and len(param.levels) > 2


def _edge(param: ParamInfo, positions: Floats) -> list[str]:
    low, high = param.ends
    close = CLOSE * (high - low)
    return ["low" if at <= low + close else "high" if at >= high - close else "" for at in positions.tolist()]


def _fitted_edges(data: Data, rows: Ints, *, seed: int) -> dict[str, str]:
    """Where the optimum of a parabola beside the other parameters lies at the same edge in nearly all resamples."""
    params = [p for p in data.varied if _has_edges(p) and not p.conditional]
    if not params or len(rows) < 3 * (2 * len(params) + 1):
        return {}
    random = np.random.default_rng(seed)
    if len(rows) > MOST_FITTED:
        rows = np.sort(random.choice(rows, MOST_FITTED, replace=False))
    scaled = []
    for param in params:
        low, high = param.ends
        scaled.append((param.positions[rows] - low) / (high - low))
    x = np.column_stack([np.ones(len(rows)), *scaled, *(column**2 for column in scaled)])
    y = data.sign * clipped(data.y[rows])
    counts = {param.name: {"low": 0, "high": 0, "": 0} for param in params}
    for _ in range(RESAMPLES):
        drawn = random.integers(len(rows), size=len(rows))
        fit = np.linalg.lstsq(x[drawn], y[drawn], rcond=None)[0]
        for i, param in enumerate(params):
            line, bend = float(fit[1 + i]), float(fit[1 + len(params) + i])
            counts[param.name][_optimum(line, bend)] += 1
    return {
        name: side for name, sides in counts.items() for side in ("low", "high") if sides[side] >= AT_EDGE * RESAMPLES
    }


def _optimum(line: float, bend: float) -> str:
    """Where ``line * x + bend * x**2`` is greatest between 0 and 1."""
    if bend < 0 and CLOSE < -line / (2 * bend) < 1 - CLOSE:
        return ""
    top = -line / (2 * bend) if bend < 0 else (1.0 if line + bend > 0 else 0.0)
    return "low" if top <= CLOSE else "high"
