"""How optimistic the best value is: the best of many noisy trials was lucky, too (the winner's curse)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.stats import ALPHA, sem
from hpo_batch.findings.model.surrogate import Z, surrogate
from hpo_batch.findings.noise.numbers import Noise
from hpo_batch.records import Estimate
from hpo_batch.text.numbers import count, number


@dataclass(frozen=True, kw_only=True)
class Optimism:
    """How optimistic the best value is."""

    best: float
    shrunken: Estimate | None
    """what a model expects at the best configuration"""
    held_out: Estimate | None
    """mean of confirmations that took no part in the selection"""
    optimism: float | None
    text: str


def optimism(data: Data, noise: Noise) -> Optimism | None:
    """The best value, what a model expects at its configuration, what other seeds of it gave; None if none is best."""
    if not data.n or (data.n > 1 and np.ptp(data.y) == 0):
        return None
    row = data.best_row
    best = float(data.y[row])
    shrunken = _shrunken(data, row)
    held_out = _held_out(data, row)
    expected = held_out or shrunken
    gap = data.sign * (best - expected.value) if expected is not None else None
    return Optimism(
        best=best,
        shrunken=shrunken,
        held_out=held_out,
        optimism=gap,
        text=_text(data, best, shrunken, held_out, noise),
    )


def _shrunken(data: Data, row: int) -> Estimate | None:
    model = surrogate(data, data.distinct)
    if model is None:
        return None
    mean, error = model.at(row)
    return Estimate(
        value=mean,
        low=mean - Z * error,
        high=mean + Z * error,
        method="Gaussian process at the best configuration, approximate band",
        n=len(model.rows),
    )


def _held_out(data: Data, row: int) -> Estimate | None:
    """Mean of the other seeds of the best configuration. Its best seed chose it, and is left out.

    A trial with several seeds was chosen by their mean: no seed of it is held out.
    """
    others = [
        float(data.y[i])
        for i in np.flatnonzero(data.keys == data.keys[row]).tolist()
        if data.seeds[i] is not None and data.seeds[i] != data.seeds[row]
    ]
    if not others:
        return None
    values = np.array(others)
    error = sem(values)
    wide = None
    if error is not None:
        from scipy import stats

        wide = float(stats.t.ppf(1 - ALPHA / 2, len(values) - 1)) * error
    mean = float(values.mean())
    return Estimate(
        value=mean,
        low=None if wide is None else mean - wide,
        high=None if wide is None else mean + wide,
        method="mean over other seeds of the best configuration",
        n=len(values),
    )


def _text(data: Data, best: float, shrunken: Estimate | None, held_out: Estimate | None, noise: Noise) -> str:
    if data.n == 1:
        alone = "it was not selected among others, and how much of it is luck is unknown"
        return f"the only trial has {number(best)}: {alone}"
    digits = float(np.std(data.y)) / 3
    parts = [f"the best of {count(data.n, 'trial')} has {number(best, digits)}, probably inflated by selection"]
    if held_out is not None:
        parts.append(
            f"other seeds of its configuration gave {number(held_out.value, digits)} on average (n = {held_out.n})"
        )
    if shrunken is not None:
        parts.append(f"a model of all trials expects {number(shrunken.value, digits)} there")
    spread = _spread_of_top(data)
    if noise.sd is None or noise.sd.value <= 0:
        parts.append("by how much is unknown, as the noise floor is: repeat it with new seeds to see")
    elif spread is not None and spread < 2 * noise.sd.value:
        parts.append(
            f"the five best lie within {spread:.3g}, less than twice the noise ({noise.sd.value:.3g}): confirm them "
            "with two more seeds each, the same for all, before choosing"
        )
    return "; ".join(parts)


def _spread_of_top(data: Data) -> float | None:
    best = (data.sign * data.y[data.best_of_each[:5]]).tolist()
    return float(best[0] - best[-1]) if len(best) == 5 and math.isfinite(best[0]) else None
