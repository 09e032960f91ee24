"""Whether the best place of a parameter lies at an end of the space, where widening the range may pay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.surrogate import Surrogate
from hpo_batch.records import Value
from hpo_batch.space.parameters import Fixed

QUARTER: Final = 0.25
"""of the configurations, the best: settings of the others at which the best place is looked for"""
FEWEST_SETTINGS: Final = 5
DRAWS: Final = 400
PLACES: Final = 9
LIKELY: Final = 0.8
"""probability from which an end is named. On searches of tables that it was not chosen on, the true optimum is there in
the share that docs/benchmarks.md gives"""
CLOSE: Final = 0.025
"""of the range: what counts as being at its end, for what a report names; refine looks a little further
(``next.evidence.NEAR_END``)"""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An end of the space at which a parameter is probably best, with good settings of the others."""

    side: str
    """``low`` or ``high``"""
    value: Value
    """the tried value there"""
    probability: float
    is_limit: bool = False
    """the sweep's `limits` of the parameter end there, too"""


def edge(data: Data, param: ParamInfo, model: Surrogate) -> Edge | None:
    """The end at which the parameter is best with a probability of ``LIKELY`` or more; None if there is none.

    An end that was not tried is none: nothing is known of it. Nor are those of a parameter with two values.
    """
    column = model.place(param)
    if column is None or not param.ordered or len(param.levels) < 3:
        return None
    tried = np.unique(param.codes[model.rows][param.active[model.rows]])
    if len(tried) > PLACES:
        tried = np.unique(np.quantile(tried, np.linspace(0, 1, PLACES), method="nearest"))
    values = [param.levels[i] for i in tried.astype(np.int64).tolist()]
    low, high = param.ends
    positions = [param.position(value) for value in values]
    at_low = positions[0] <= low + CLOSE * (high - low)
    at_high = positions[-1] >= high - CLOSE * (high - low)
    if not (at_low or at_high) or len(values) < 3:
        return None
    active = np.flatnonzero(model.best.problem.columns[column].active)
    best = active[np.argsort(-data.sign * model.best.problem.z[active], kind="stable")]
    means = model.means(param, values, best[: max(FEWEST_SETTINGS, math.ceil(QUARTER * len(best)))])
    assert means is not None
    samples = means.samples(DRAWS)
    share = np.bincount(np.argmax(data.sign * samples, axis=1), minlength=len(values)) / DRAWS
    for is_there, i, side in ((at_low, 0, "low"), (at_high, -1, "high")):
        if is_there and share[i] >= LIKELY:
            is_limit = _is_limit(data, param.name, side)
            return Edge(side=side, value=values[i], probability=float(share[i]), is_limit=is_limit)
    return None


def _is_limit(data: Data, name: str, side: str) -> bool:
    parameter = data.space.by_name.get(name) if data.space is not None else None
    if parameter is None or isinstance(parameter, Fixed) or parameter.limits is None:
        return False
    return bool(parameter.limits[0] == parameter.low if side == "low" else parameter.limits[-1] == parameter.high)
