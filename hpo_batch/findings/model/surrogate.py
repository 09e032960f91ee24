"""A Gaussian process over the trials of a study: curves of continuous parameters, and what to expect at the best one.

Fitted once per study and set of trials, on at most ``MOST`` of them. Its bands are approximate: in our simulations 80
to 90 % of those that say 95 % hold the truth.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.stats import fenced
from hpo_batch.records import Value

MOST = 200
"""trials a process is fitted to; its cost grows with their cube"""
FEWEST = 8
LEAST_NOISE = 0.05
"""of the response's variance: few trials in many dimensions can be fitted without any, and then nothing is shrunken"""
REFERENCES = 60
"""settings of the other parameters that a curve is averaged over"""
MOST_HOT = 8
"""columns of a category; its rarer values share none"""
Z = 1.959964


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogate:
    """The fitted process, on inputs between 0 and 1 and a response of mean 0 and spread 1."""

    params: tuple[ParamInfo, ...]
    """those that varied; not the whole of the data, of which this is remembered"""
    process: Any
    rows: Ints
    inputs: Floats
    """of the trials that it was fitted to"""
    inverse: Floats
    """of the covariance of what was observed"""
    weights: Floats
    center: float
    scale: float

    def curve(self, param: ParamInfo, values: Sequence[Value | float]) -> list[tuple[float, float]]:
        """Mean and standard error at positions of one parameter, on average over the settings of the others."""
        active = self.rows[param.active[self.rows]]
        step = max(1, math.ceil(len(active) / REFERENCES))
        reference = _inputs(self.params, active[::step])
        columns = _columns(self.params)[param.name]
        signal = self._signal
        results = []
        for value in values:
            at = reference.copy()
            at[:, columns] = _encode(param, [value])
            cross = signal(at, self.inputs).mean(axis=0)
            variance = float(signal(at).mean() - cross @ self.inverse @ cross)
            mean = float(cross @ self.weights)
            results.append((self.center + self.scale * mean, self.scale * math.sqrt(max(variance, 0.0))))
        return results

    def at(self, row: int) -> tuple[float, float]:
        """Mean and standard error of what the configuration of a trial gives."""
        at = _inputs(self.params, np.array([row]))
        cross = self._signal(at, self.inputs)[0]
        variance = float(self._signal(at)[0, 0] - cross @ self.inverse @ cross)
        return self.center + self.scale * float(cross @ self.weights), self.scale * math.sqrt(max(variance, 0.0))

    @property
    def _signal(self) -> Any:
        return self.process.kernel_.k1


_fitted: WeakKeyDictionary[Data, dict[bytes, Surrogate | None]] = WeakKeyDictionary()


def surrogate(data: Data, rows: Ints) -> Surrogate | None:
    """The process for these trials; None if they are too few, or nothing varies."""
    known = _fitted.setdefault(data, {})
    key = rows.tobytes()
    if key not in known:
        known[key] = _fit(data, rows)
    return known[key]


def _fit(data: Data, rows: Ints) -> Surrogate | None:
    if len(rows) < FEWEST or not data.varied or np.ptp(data.y[rows]) == 0:
        return None
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    response = fenced(data.y[rows])
    chosen = _spread(rows, data)
    center, unit = float(response.mean()), float(np.ptp(response))
    scale = unit * float(((response - center) / unit).std())  # the square of a small number may be none
    z = (response[np.isin(rows, chosen)] - center) / scale
    inputs = _inputs(data.varied, chosen)
    signal = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.full(inputs.shape[1], 1.0), (0.1, 30.0), nu=2.5)
    process = GaussianProcessRegressor(
        signal + WhiteKernel(0.3, (LEAST_NOISE, 2.0)), random_state=0, optimizer=_optimise
    )
    with warnings.catch_warnings():
        # a length at its bound means "this parameter does little": an answer, not a failure
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(inputs, z)
    lower_inverse = np.linalg.inv(process.L_)
    inverse = lower_inverse.T @ lower_inverse
    return Surrogate(
        params=data.varied,
        process=process,
        rows=chosen,
        inputs=inputs,
        inverse=inverse,
        weights=inverse @ z,
        center=center,
        scale=scale,
    )


def _optimise(objective: Any, start: Floats, bounds: Floats) -> tuple[Floats, float]:
    from scipy.optimize import minimize

    result = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 30})
    return result.x, float(result.fun)


def _spread(rows: Ints, data: Data) -> Ints:
    """At most ``MOST`` trials, the best one among them, evenly over ranks of the metric."""
    if len(rows) <= MOST:
        return rows
    by_value = rows[np.argsort(-data.sign * data.y[rows], kind="stable")]
    return np.sort(by_value[np.linspace(0, len(rows) - 1, MOST).round().astype(int)])


def _columns(params: Sequence[ParamInfo]) -> dict[str, list[int]]:
    place, result = 0, {}
    for param in params:
        width = _width(param)
        result[param.name] = list(range(place, place + width))
        place += width
    return result


def _inputs(params: Sequence[ParamInfo], rows: Ints) -> Floats:
    return np.hstack([_encode(param, [param.value(i) for i in rows.tolist()]) for param in params])


def _width(param: ParamInfo) -> int:
    return (1 if param.ordered else len(_hot(param))) + param.conditional


def _encode(param: ParamInfo, values: Sequence[Value | float | None]) -> Floats:
    """Numbers between 0 and 1; a column for each common value of a category; one for being active."""
    if param.ordered:
        low, high = float(np.min(param.level_positions)), float(np.max(param.level_positions))
        at = [0.5 if v is None else (param.position(v) - low) / (high - low or 1.0) for v in values]
        columns = [at]
    else:
        columns = [[float(v is not None and param.position(v) == hot) for v in values] for hot in _hot(param)]
    if param.conditional:
        columns.append([float(v is not None) for v in values])
    return np.array(columns, dtype=np.float64).T


def _hot(param: ParamInfo) -> list[int]:
    counts = np.bincount(param.codes[param.active], minlength=len(param.levels))
    return sorted(np.argsort(-counts, kind="stable")[:MOST_HOT].tolist())
