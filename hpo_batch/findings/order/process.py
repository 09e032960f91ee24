"""What the parameters explain of the metric, as a covariance: a Gaussian process whose scales are fitted.

Not a model to predict with. Residuals beside this covariance can be tested against anything else, here against the
order of the trials: a search that improves does so by its parameters, which the covariance knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import linalg, optimize

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.parameter import ParamInfo

LENGTHS: Final = (0.05, 50.0)
"""of a parameter's range: bounds of the length within which the metric changes"""
NOISE: Final = (0.02, 1e3)
"""in parts of the variance that parameters explain"""
STARTS: Final = ((0.6, 0.3), (3.0, 2.0))
"""length and noise where the search for the best ones begins"""
WIDE: Final = 1.5
"""standard deviation of the prior of a length's logarithm, around 1: effects are as wide as the range"""
ROOT5: Final = math.sqrt(5.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Covariance:
    """The lower Cholesky factor of the fitted covariance of what was observed, up to a factor."""

    lower: Floats
    """shape (n, n)"""

    def whitened(self, columns: Floats) -> Floats:
        """Columns, shape (n,) or (n, k), in which errors are independent and of one variance."""
        return np.asarray(linalg.solve_triangular(self.lower, columns, lower=True, check_finite=False))


def covariance(params: Sequence[ParamInfo], rows: Ints, y: Floats, *, beside: Floats) -> Covariance:
    """Fit scales to a metric with the trend ``beside``, by restricted maximum likelihood.

    Args:
        params: what may explain it; those that do not vary in these rows are left out.
        rows: of the trials.
        y: the metric, shape (n,).
        beside: columns whose coefficients are free, an intercept among them, shape (n, k).
    """
    squares = [square for param in params if (square := _squares(param, rows)) is not None]
    n = len(y)
    if not squares:
        return Covariance(lower=np.eye(n))
    fits = [
        optimize.minimize(
            _loss,
            np.log([*[length] * len(squares), noise]),
            args=(squares, y, beside),
            jac=True,
            method="L-BFGS-B",
            bounds=[*[tuple(np.log(LENGTHS))] * len(squares), tuple(np.log(NOISE))],
            options={"maxiter": 60},
        )
        for length, noise in STARTS
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    return Covariance(lower=linalg.cholesky(_matrices(best.x, squares)[0], lower=True))


def _squares(param: ParamInfo, rows: Ints) -> Floats | None:
    """Squared distances between the trials along a parameter whose range is 1; None if it is the same in all."""
    codes = param.codes[rows]
    if not len(codes) or bool((codes == codes[0]).all()):
        return None
    if param.ordered:
        low, high = float(param.level_positions.min()), float(param.level_positions.max())
        at = (param.positions[rows] - low) / ((high - low) or 1.0)
        apart = np.subtract.outer(at, at) ** 2
    else:
        apart = np.not_equal.outer(codes, codes).astype(np.float64)
    here = param.active[rows]
    # without the parameter is one value more, as far from all others as they can be from each other
    return np.where(np.logical_and.outer(here, here), apart, np.not_equal.outer(here, here).astype(np.float64))


def _matrices(logs: Floats, squares: Sequence[Floats]) -> tuple[Floats, Floats, list[Floats]]:
    """The covariance with noise; what its derivatives have in common; distances in lengths, a matrix for each."""
    lengths, noise = np.exp(logs[:-1]), math.exp(float(logs[-1]))
    scaled = [square / length**2 for square, length in zip(squares, lengths.tolist(), strict=True)]
    distance = np.sqrt(np.sum(scaled, axis=0))
    decay = np.exp(-ROOT5 * distance)
    signal = (1 + ROOT5 * distance + 5 / 3 * distance**2) * decay  # Matern, nu = 2.5
    return signal + noise * np.eye(len(signal)), 5 / 3 * (1 + ROOT5 * distance) * decay, scaled


def _loss(logs: Floats, squares: Sequence[Floats], y: Floats, beside: Floats) -> tuple[float, Floats]:
    """Minus the logarithm of the restricted likelihood and of the prior, and its derivatives."""
    whole, common, scaled = _matrices(logs, squares)
    lower = linalg.cholesky(whole, lower=True, check_finite=False)
    identity = np.eye(len(y))
    half: Any = linalg.solve_triangular(lower, identity, lower=True, check_finite=False)
    white = half @ beside
    q, r = np.linalg.qr(white)
    projected = half - q @ (q.T @ half)
    inverse = half.T @ projected  # of the covariance, less what the free columns take
    weights = inverse @ y
    free = len(y) - beside.shape[1]
    variance = max(float(y @ weights) / free, 1e-300)
    loss = 0.5 * free * math.log(variance) + float(np.sum(np.log(np.diag(lower))))
    loss += float(np.sum(np.log(np.abs(np.diag(r)))))
    inner = 0.5 * (inverse - np.outer(weights, weights) / variance)
    slopes = [float(np.sum(inner * (common * one))) for one in scaled]
    slopes.append(math.exp(float(logs[-1])) * float(np.trace(inner)))
    prior = logs[:-1] / WIDE**2
    loss += 0.5 * float(logs[:-1] @ prior)
    return loss, np.array(slopes) + np.append(prior, 0.0)
