"""Whether the metric differs between the values of a parameter, and what such a test could have found."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import optimize, stats

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.process import Test
from hpo_batch.findings.model.stats import ALPHA, POWER
from hpo_batch.findings.model.surrogate import (
    FEWEST,
    Surrogate,
    configurations,
    hangs_on_one,
    is_tested_by_value,
    surrogate,
)
from hpo_batch.text.numbers import count

FEWEST_APART: Final = 2
"""configurations that must have another value than the most tried one"""
NOT_VARIED: Final = "not varied: no statement possible"
MOST_TRIALS: Final = 10_000
"""further trials beyond which nobody is told how many more it would take"""
FIXED_POINT: Final = 6
"""steps from an upper bound of the trials to their number: the fourth is within one trial. Where fewer than five are
missing they swing, and an even number of steps ends at the larger"""
LARGEST: Final = 1e6
"""noncentrality beyond which no difference is looked for"""
PLACES: Final = np.array([-1.5, 0.0, 1.5])
"""low, middle and high of a number, in standard deviations: about the 5 %, 50 % and 95 % quantiles of an even spread"""


@dataclass(frozen=True, kw_only=True)
class Significance:
    """The test of one parameter."""

    p: float | None
    effect_size: float | None = None
    """epsilon squared, beside all others"""
    why: str = ""
    """why there is no test"""
    method: str = ""
    together: tuple[str, ...] = ()
    """names of the parameters that were tested jointly, this one among them; empty: this one alone"""
    test: Test | None = None


def significance(data: Data, param: ParamInfo, rows: Ints) -> Significance:
    """Tests a parameter beside all others in the trials ``rows``.

    Parameters that always change together are tested jointly: each has the p of all.
    """
    active = param.active_among(rows)
    first, y, _ = configurations(data, active)
    values = np.bincount(param.codes[first], minlength=len(param.levels)) if len(first) else np.zeros(0, dtype=np.int64)
    seen = int(np.count_nonzero(values))
    if not param.varied or seen < 2:
        return Significance(p=None, why=NOT_VARIED)
    if data.space is not None and param.name in data.space.derived:
        return Significance(p=None, why=f"computed from {_sources(data, param)}: no parameter of its own")
    if len(first) < FEWEST:
        return Significance(p=None, why=f"only {count(len(first), 'configuration')} with it: no test")
    if np.ptp(y) == 0:
        return Significance(p=None, why="the metric is the same in all of these trials")
    if hangs_on_one(y):
        return Significance(p=None, why="the metric is the same in all configurations but one")
    apart = len(first) - int(values.max())
    if apart < FEWEST_APART:
        return Significance(p=None, why="all but 1 configuration have one value of it")
    if not param.ordered and 2 * seen > len(first):
        return Significance(p=None, why=f"{seen} values in {len(first)} configurations: too few of each for a test")
    model = surrogate(data, rows)
    place = model.place(param) if model is not None else None
    if model is None or place is None:
        return Significance(p=None, why="too few configurations for a test")
    test = model.test(param)
    if test is None:
        return Significance(p=None, why=f"{seen} values in {len(first)} configurations: too few of each for a test")
    names = model.together[place]
    return Significance(
        p=test.p,
        effect_size=test.effect_size,
        method=_method(model, param, names),
        together=names if len(names) > 1 else (),
        test=test,
    )


def _method(model: Surrogate, param: ParamInfo, names: tuple[str, ...]) -> str:
    what = "a column for each value" if _is_by_value(model, param) else "line and curve"
    jointly = f" of {' and '.join(names)} jointly, which always changed together" if len(names) > 1 else ""
    return (
        f"F-test{jointly} ({what}) by generalized least squares on ranks, covariance: a Gaussian process of all other "
        f"parameters; {model.tested.n} configurations"
    )


def _sources(data: Data, param: ParamInfo) -> str:
    assert data.space is not None
    return ", ".join(sorted(data.space.derived[param.name].names))


def detectable(model: Surrogate, param: ParamInfo, test: Test, *, family: int) -> float | None:
    """The smallest difference between two values that the test finds with 80 % power after the adjustment, on the
    metric's scale; None if it would find none.

    For two values that are tried as often as this parameter's are on the median, or for two of the low, middle and high
    places of a number; at the level of the first step of Holm's method, ``ALPHA / family``.
    """
    by_value = _is_by_value(model, param)
    variance = _of_values(test.covariance) if by_value else _of_places(test.covariance)
    noncentrality = noncentrality_found(test.df, test.spare, alpha=ALPHA / max(1, family))
    if noncentrality is None:
        return None
    return model.scores.unit * math.sqrt(noncentrality * variance)


def trials_to_tell(size: float, *, limit: float, test: Test, n: int, family: int) -> int | None:
    """Further trials after which the test finds a difference with 80 % power, if they are spread like those so far.

    Its variance falls with their number, and what the test asks for falls with the degrees of freedom: with 4 to spare
    it is three times what it is with 100.

    Args:
        size: of the difference, above 0.
        limit: the difference that is found now, see ``detectable``.
        test: of now.
        n: configurations of now.
        family: claims that are adjusted for each other.

    Returns:
        None if it is found already, or if it would take more than ``MOST_TRIALS``.
    """
    if size >= limit:
        return None
    alpha = ALPHA / max(1, family)
    now = noncentrality_found(test.df, test.spare, alpha=alpha)
    assert now is not None
    more = n * ((limit / size) ** 2 - 1)
    for _ in range(FIXED_POINT):
        if more > 100 * MOST_TRIALS:
            return None
        then = noncentrality_found(test.df, test.spare + round(more), alpha=alpha)
        assert then is not None
        more = max(1.0, n * ((limit / size) ** 2 * then / now - 1))
    return math.ceil(more) if more <= MOST_TRIALS else None


@functools.lru_cache(maxsize=4096)
def noncentrality_found(df: int, spare: int, *, alpha: float) -> float | None:
    """The square of a difference over its variance from which an F-test finds it with 80 % power; None if it would be
    more than ``LARGEST``."""
    critical = float(stats.f.isf(alpha, df, spare))

    def missing(logarithm: float) -> float:
        return float(stats.ncf.sf(critical, df, spare, math.exp(logarithm))) - POWER

    low, high = -7.0, math.log(LARGEST)
    return math.exp(float(optimize.brentq(missing, low, high))) if missing(high) > 0 else None


def _is_by_value(model: Surrogate, param: ParamInfo) -> bool:
    place = model.place(param)
    assert place is not None
    first = model.encoders[place].param
    return is_tested_by_value(first, first.active_among(model.tested_rows))


def _of_values(covariance: Floats) -> float:
    """Variance of the difference between two values, in units of the score: on the median of all pairs."""
    # the most tried value has no column: its coefficient is 0
    return float(np.median(_between(np.pad(covariance, ((1, 0), (1, 0))))))


def _of_places(covariance: Floats) -> float:
    """Variance of the difference between two of the low, middle and high places of a number: the greatest."""
    columns = np.column_stack([PLACES, PLACES**2])[:, : len(covariance)]
    return float(np.max(_between(columns @ covariance @ columns.T)))


def _between(covariance: Floats) -> Floats:
    """Variances of the differences between all pairs."""
    variances = np.diag(covariance)
    pairs = variances[:, None] + variances[None, :] - 2 * covariance
    return np.asarray(pairs[np.triu_indices(len(pairs), 1)])
