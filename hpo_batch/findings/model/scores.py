"""Normal scores of the metric, and the way back to its own scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats

FAR: Final = 3.0
"""times the middle 90 % of the values that a value may lie beyond them before it is drawn in: one diverged trial with a
loss of 1e9 would own every mean"""
# nodes and weights for the mean of a function of a normal variable
NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
WEIGHTS: Final = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What a sample of a normal distribution would have at the ranks of some values."""

    z: Floats
    """of each value, with mean 0 and variance 1, shape (n,)"""
    known: Floats
    """scores of the different values, rising"""
    values: Floats
    """the different values, rising, the far ones drawn in"""

    def expected(self, means: Floats, variances: Floats) -> tuple[Floats, Floats]:
        """Mean of the metric where its score has these means and variances, and its slope by the mean of the score.

        Between the values observed the way back is linear, and beyond them there is nothing.
        """
        spread = np.sqrt(variances)
        values = np.interp(means[:, None] + spread[:, None] * NODES, self.known, self.values)
        # Stein's lemma: the slope of a mean over a normal variable needs no derivative of what is averaged
        return values @ WEIGHTS, (values @ (WEIGHTS * NODES)) / spread

    @property
    def unit(self) -> float:
        """How much the metric changes by one unit of the score: the slope of the line through all values."""
        values = np.interp(self.z, self.known, self.values)
        return float(self.z @ (values - values.mean())) / float(self.z @ self.z)


def scores(y: Floats) -> Scores:
    """Of values that are not all equal."""
    z = stats.norm.ppf((stats.rankdata(y) - 0.5) / len(y))
    z = (z - z.mean()) / z.std()
    first = np.unique(y, return_index=True)[1]
    return Scores(z=z, known=z[first], values=_near(y)[first])


def drawn_in(y: Floats) -> Floats:
    """Values that are not all equal, with mean 0 and variance 1, the far ones drawn in."""
    unit = float(np.ptp(y))
    near = (_near(y) - y.min()) / unit  # the square of a small number may be none
    return np.asarray((near - near.mean()) / near.std(), dtype=np.float64)


def _near(y: Floats) -> Floats:
    low, high = np.quantile(y, [0.05, 0.95])
    margin = FAR * (high - low)
    return np.clip(y, low - margin, high + margin) if margin > 0 else y
