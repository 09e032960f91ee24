"""Whether the metric differs between the values of a parameter: an F-test, and what such a test could have found."""

from __future__ import annotations

import math

import numpy as np

from hpo_batch.findings.effects.means import MOST_COMPARED, POWERED
from hpo_batch.findings.model.arrays import Floats, Ints, recoded
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.linear import coded, curve, dummies, f_test, independent, others, residual, squares_left
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import fenced, mde

FEWEST = 6
"""distinct trials below which nothing is tested"""
NOT_VARIED = "not varied: no statement possible"


def significance(data: Data, param: ParamInfo, rows: Ints) -> tuple[float | None, float | None, str, str]:
    """p, epsilon squared, why there is none, method."""
    counts = np.bincount(param.codes[rows], minlength=len(param.levels)) if len(rows) else np.zeros(0, dtype=np.int64)
    seen = int(np.count_nonzero(counts))
    if not param.varied or seen < 2:
        return None, None, NOT_VARIED, ""
    if len(rows) < FEWEST:
        return None, None, f"only {len(rows)} distinct trials have it: no test", ""
    if np.ptp(data.y[rows]) == 0:
        return None, None, "the metric is the same in all of these trials", ""
    apart, enough = len(rows) - int(counts.max()), min(POWERED, len(rows) // 3)
    rows = _comparable(param, rows)
    if len(rows) < FEWEST or len(np.unique(param.codes[rows])) < 2:
        return None, None, f"{seen} values in {int(counts.sum())} trials: too few of each for a test", ""
    trials, own = coded(data, rows), _own(param, rows)
    base = others(trials, [param.name], own=own.shape[1])
    turned, own = trials.beside(own)
    free = independent(np.hstack([turned[:, base.places], own])).shape[1] - len(base.places)
    if free < own.shape[1] and (twins := _twins(data, param, rows)):
        return None, None, f"cannot be told apart from {' and '.join(twins)}: they always changed together", ""
    if apart < enough:
        return None, None, f"all but {apart} distinct trial{'s' if apart > 1 else ''} have one value of it", ""
    y = np.concatenate([trials.clipped, np.zeros(len(turned) - len(trials.clipped))])
    tested = f_test(y, turned[:, base.places], own, n=len(rows), total=trials.total)
    if tested is None:
        return None, None, "too few trials for the number of parameters and values", ""
    what = "a column for each value" if param.kind == "levels" else "line and curve"
    method = f"F-test of {what}, {base.method}; metric drawn in to its 10 and 90 % quantiles; n = {len(rows)}"
    return tested[0], tested[2], "", method


def _comparable(param: ParamInfo, rows: Ints) -> Ints:
    """The trials of a category's most tried values, where it has very many."""
    if param.kind == "continuous" or len(param.levels) <= MOST_COMPARED:
        return rows
    counts = np.bincount(param.codes[rows], minlength=len(param.levels))
    common = np.argsort(-counts, kind="stable")[:MOST_COMPARED]
    return rows[np.isin(param.codes[rows], common[counts[common] > 1])]


def _own(param: ParamInfo, rows: Ints) -> Floats:
    if param.kind == "continuous":
        return curve(param, rows)
    seen, codes = recoded(param.codes[rows])
    return dummies(codes, len(seen))


def _twins(data: Data, param: ParamInfo, rows: Ints) -> list[str]:
    """Parameters that say the same as this one: each of its values goes with one of theirs, and the other way round."""
    own = param.codes[rows]
    results = []
    for other in data.varied:
        theirs = other.codes[rows]
        pairs = len(np.unique((own + 1) * (len(other.levels) + 1) + theirs + 1))
        if other.name != param.name and pairs == len(np.unique(own)) == len(np.unique(theirs)):
            results.append(f"'{other.name}'")
    return results or [
        f"'{other.name}'" for other in data.varied if other.name != param.name and _spans(other, param, rows)
    ]


def _spans(other: ParamInfo, param: ParamInfo, rows: Ints) -> bool:
    """Whether what stands for another parameter in the model contains this one."""
    if not other.ordered or len(np.unique(other.codes[rows])) < 2:
        return False
    base = np.column_stack([np.ones(len(rows)), np.nan_to_num(curve(other, rows))])
    left = residual(_own(param, rows), base)
    return bool(np.linalg.matrix_rank(left, tol=1e-8) < _own(param, rows).shape[1])


def detectable(data: Data, param: ParamInfo, rows: Ints) -> float | None:
    """Of two values (halves of the range of a curve) tried as often as this parameter's on average are."""
    rows = _comparable(param, rows)
    trials, own = coded(data, rows), _own(param, rows)
    base = others(trials, [param.name], own=own.shape[1])
    turned, own = trials.beside(own)
    y = np.concatenate([trials.scaled, np.zeros(len(turned) - len(trials.scaled))])
    left, rank = squares_left(y, np.hstack([turned[:, base.places], own]))
    spare = len(rows) - rank
    if spare < 2:
        return None
    unit = float(np.ptp(fenced(data.y[rows]))) or 1.0
    sd = unit * math.sqrt(left / spare)
    if param.kind == "continuous":
        return mde(sd, len(rows) / 2, len(rows) / 2)
    counts = np.bincount(param.codes[rows])
    counts = counts[counts > 1]
    typical = float(len(counts) / np.sum(1 / counts)) if len(counts) > 1 else 0.0
    return mde(sd, typical, typical)
