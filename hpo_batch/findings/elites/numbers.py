"""The best quarter of the configurations: which values it has beside how often they were tried, and what is at an edge.

A share among the best says nothing by itself: it is judged against the share among all trials that could have been
among them, complete and pruned ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from hpo_batch.findings.effects.edges import CLOSE, QUARTER
from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import ALPHA, correlation, holm
from hpo_batch.records import Value

LEAST_APART = 4
"""configurations of a value that must stand apart"""
FEWEST = 4
MOST_SHARES = 20
"""values of a parameter whose shares are listed, the most frequent among the elites"""


@dataclass(frozen=True, kw_only=True)
class Elites:
    """The top quarter of the configurations, ties included; one with several seeds stands with their mean."""

    n: int
    threshold: float
    rows: tuple[EliteRow, ...]
    separated: tuple[Separated, ...] = ()
    """values all of whose configurations are the worst ones, or the best ones"""


@dataclass(frozen=True, kw_only=True)
class Separated:
    """A value that stands apart: each of its configurations is worse, or each is better, than all others."""

    parameter: str
    value: str
    n: int
    """configurations with it"""
    n_all: int
    """configurations in which the parameter is active"""
    worst: bool
    p: float
    """of so many at one end if the values had been dealt out at random; Bonferroni over all values of the study"""


@dataclass(frozen=True, kw_only=True)
class EliteRow:
    parameter: str
    low: Value | None
    high: Value | None
    """range among the elites, for numbers"""
    shares: tuple[tuple[str, float, float], ...] = field(metadata=json_keys("value", "share_of_elites", "share_of_all"))
    """value, share among elites, share among all complete trials"""
    at_edge: str
    """``low``, ``high`` or empty: the best trial lies at that edge of the space"""
    rho: float | None
    rho_p: float | None
    """Spearman against the metric over all trials in which the parameter is active"""
    evidence: tuple[tuple[str, int, int, float | None, float | None], ...] = field(
        default=(), metadata=json_keys("value", "n_of_elites", "n_of_tried", "p", "p_holm")
    )
    """of the values in ``shares``: how many of the elites have it, how many of the configurations that were tried
    (complete or pruned), the chance of a number as unusual (hypergeometric, two-sided), and that after Holm over all
    values of the study"""
    n_tried: int = 0
    """configurations in which the parameter is active, complete or pruned"""
    n_active: int = 0
    """of the elites"""


def elites(data: Data, *, tried: Data | None = None) -> Elites | None:
    """The top quarter, ties included; None for fewer than four configurations, or if all are equal.

    A configuration that was run ten times alike is one, and so is one with ten seeds: its value is their mean.

    Args:
        data: the complete trials.
        tried: the configurations that could have been among the best, pruned ones too; without them the complete ones.
    """
    rows, y = _means(data)
    if len(rows) < FEWEST or np.ptp(y) == 0:
        return None
    good = data.sign * y
    threshold = float(np.sort(good)[::-1][math.ceil(QUARTER * len(rows)) - 1])
    best = rows[good >= threshold]
    every = tried if tried is not None else data
    elite_rows = [_row(data, param, best, rows, every) for param in data.varied]
    return Elites(
        n=len(best),
        threshold=data.sign * threshold,
        rows=_adjusted(elite_rows),
        separated=_separated(data, rows, good),
    )


def _separated(data: Data, rows: Ints, good: Floats) -> tuple[Separated, ...]:
    """Of values that enough configurations have, those at one end without exception."""
    found: list[Separated] = []
    tested = 0
    for param in data.varied:
        if len(param.levels) > MOST_SHARES:
            continue
        active = param.active[rows]
        codes, values = param.codes[rows][active], good[active]
        for code, n in enumerate(np.bincount(codes, minlength=len(param.levels)).tolist()):
            if not LEAST_APART <= n <= len(codes) / 2:
                continue
            tested += 1
            inside, others = values[codes == code], values[codes != code]
            if inside.max() < others.min() or inside.min() > others.max():
                p = 2.0 / math.comb(len(codes), n)
                worst = bool(inside.max() < others.min())
                label = param.label(param.levels[code])
                found.append(Separated(parameter=param.name, value=label, n=n, n_all=len(codes), worst=worst, p=p))
    adjusted = (replace(one, p=min(1.0, one.p * tested)) for one in found)
    return tuple(one for one in adjusted if one.p < ALPHA)


def _means(data: Data) -> tuple[Ints, Floats]:
    """The first trial of each configuration, and the mean over its seeds. Trials without a seed stand by themselves."""
    rows = data.distinct
    seeded = np.array([data.seeds[i] is not None for i in rows.tolist()], dtype=bool)
    unit = np.where(seeded, data.keys[rows], data.n + np.arange(len(rows)))
    _, first, place = np.unique(unit, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return rows, data.y[rows]
    scale = float(np.max(np.abs(data.y))) or 1.0  # sums of huge values overflow
    means = np.bincount(place, weights=data.y[rows] / scale) / np.bincount(place) * scale
    return rows[first], np.asarray(means, dtype=np.float64)


def _adjusted(rows: Sequence[EliteRow]) -> tuple[EliteRow, ...]:
    """With p after Holm over all values; of two values one says what the other does."""
    tests = [
        (i, place) for i, row in enumerate(rows) for place in range(1 if len(row.evidence) == 2 else len(row.evidence))
    ]
    found = dict(zip(tests, holm([rows[i].evidence[place][3] for i, place in tests]), strict=True))
    return tuple(
        replace(
            row,
            evidence=tuple(
                (*entry[:4], found[i, 0 if len(row.evidence) == 2 else place])
                for place, entry in enumerate(row.evidence)
            ),
        )
        for i, row in enumerate(rows)
    )


def _row(data: Data, param: ParamInfo, best: Ints, rows: Ints, tried: Data) -> EliteRow:
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
        at_edge=_edge_of_best(data, param),
        rho=rho,
        rho_p=rho_p,
        **_evidence(param, codes, tried),
    )


def _evidence(param: ParamInfo, of_elites: Ints, tried: Data) -> dict[str, Any]:
    """How often each value was tried, and the chance of as unusual a number of it among the elites."""
    every = tried.by_name[param.name]
    once = np.unique(tried.keys, return_index=True)[1]
    codes = every.codes[once]
    codes = codes[codes >= 0]
    among = np.bincount(of_elites, minlength=len(param.levels))
    entries = []
    for i in _shown(param, among, np.bincount(param.codes[param.active], minlength=len(param.levels))):
        level = param.levels[i]
        n_tried = int(np.count_nonzero(codes == every.place(level)))
        chance = (
            _chance(int(among[i]), len(of_elites), n_tried, len(codes)) if len(param.levels) <= MOST_SHARES else None
        )
        entries.append((param.label(level), int(among[i]), n_tried, chance, None))
    return {"evidence": tuple(entries), "n_tried": len(codes), "n_active": len(of_elites)}


def _chance(hits: int, drawn: int, marked: int, every: int) -> float | None:
    """Two-sided hypergeometric: all numbers of hits are added that are no likelier than this one."""
    if not 0 < marked < every or not 0 < drawn < every:
        return None
    numbers = np.arange(max(0, drawn + marked - every), min(drawn, marked) + 1)
    likely = stats.hypergeom.pmf(numbers, every, marked, drawn)
    observed = likely[min(max(hits - int(numbers[0]), 0), len(likely) - 1)]
    return min(1.0, float(likely[likely <= observed * (1 + 1e-7)].sum()))


def _shares(param: ParamInfo, active: Ints, everywhere: Ints) -> tuple[tuple[str, float, float], ...]:
    among = np.bincount(param.codes[active], minlength=len(param.levels))
    overall = np.bincount(param.codes[everywhere], minlength=len(param.levels))
    return tuple(
        (param.label(param.levels[i]), float(among[i] / max(1, len(active))), float(overall[i] / len(everywhere)))
        for i in _shown(param, among, overall)
    )


def _shown(param: ParamInfo, among: Ints, overall: Ints) -> Sequence[int]:
    """Places of the values that are listed."""
    if len(param.levels) <= MOST_SHARES:
        return range(len(param.levels))
    return sorted(np.lexsort((-overall, -among))[:MOST_SHARES].tolist())


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
