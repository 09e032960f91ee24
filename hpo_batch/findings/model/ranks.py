"""How well two rankings agree."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.records import Estimate

LEAST_COMMON: Final = 5
"""configurations that both budgets must have for a rank correlation"""


RESAMPLES: Final = 1000


MOST_RANKED: Final = 10_000
"""points of a rank correlation: its interval is then as narrow as 0.02 to either side"""


def rank_correlation(x: Floats, y: Floats, *, seed: int) -> Estimate | None:
    """Spearman with a percentile bootstrap; None below five points or without any variation.

    Of more than ``MOST_RANKED`` points on so many of them, drawn at random: more do not change the answer.
    """
    every = len(x)
    if every > MOST_RANKED:
        drawn = np.sort(np.random.default_rng(seed).choice(every, MOST_RANKED, replace=False))
        x, y = x[drawn], y[drawn]
    n = len(x)
    if n < LEAST_COMMON or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    rng = np.random.default_rng(seed)
    of_x, of_y = _Ranks(x), _Ranks(y)
    rhos = []
    for _ in range(RESAMPLES):
        # how often each point is in the resample, shape (n,): no ranks are sorted again
        times = np.bincount(rng.integers(0, n, size=n), minlength=n)
        ranks_x, ranks_y = of_x.less_mean(times), of_y.less_mean(times)
        scale = math.sqrt(float(times @ ranks_x**2) * float(times @ ranks_y**2))
        if scale > 0:
            rhos.append(float(times @ (ranks_x * ranks_y)) / scale)
    low, high = np.quantile(rhos, [0.025, 0.975])
    of = f" of {n} of {every} drawn at random (seed {seed})" if n < every else ""
    return Estimate(
        value=float(stats.spearmanr(x, y).statistic),
        low=float(low),
        high=float(high),
        method=f"Spearman{of}, percentile interval of {RESAMPLES} resamples",
        n=n,
    )


class _Ranks:
    """Ranks of values in resamples of them: sorted once, not for each resample."""

    def __init__(self, values: Floats) -> None:
        different, self.group = np.unique(values, return_inverse=True)
        self.count = len(different)

    def less_mean(self, times: Ints) -> Floats:
        """The rank of each value, ties sharing theirs, in a sample that has it so many times; less the mean rank."""
        of_group = np.bincount(self.group, weights=times, minlength=self.count)
        ranks = np.cumsum(of_group) - (of_group - 1) / 2
        return np.asarray(ranks[self.group] - (len(times) + 1) / 2, dtype=np.float64)
