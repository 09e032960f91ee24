"""How the variance of the metric over the space divides among the main effects of the parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.surrogate import Surrogate
from hpo_batch.records import Estimate, Value

PLACES: Final = 9
DRAWS: Final = 400
MOST_VALUES: Final = 50


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one parameter has of the variance of all main effects."""

    estimate: Estimate
    largest: float
    """probability that no other parameter has more"""


def main_effect_shares(model: Surrogate) -> Mapping[str, Share]:
    """Share of each parameter, by name; those that always change together have one.

    The values of a parameter count alike, however often the search tried them: the question is what moving it over its
    range changes.
    """
    variances, middles = [], []
    for seed, encoder in enumerate(model.encoders):
        means = model.means(encoder.param, _spaced(encoder.param, model))
        assert means is not None
        variances.append(means.samples(DRAWS, seed=seed).var(axis=1))
        middles.append(float(means.mean.var()))
    total = np.sum(variances, axis=0)
    all_of_them = sum(middles) or 1.0
    first = np.bincount(np.argmax(variances, axis=0), minlength=len(variances)) / DRAWS
    results = {}
    for names, drawn, middle, largest in zip(model.together, variances, middles, first.tolist(), strict=True):
        low, high = np.quantile(drawn / np.maximum(total, 1e-300), [0.025, 0.975])
        value = middle / all_of_them
        estimate = Estimate(
            value=value,
            low=min(float(low), value),
            high=max(float(high), value),
            method="variance of the model's main effect over the range that was tried",
            n=len(model.rows),
        )
        results.update(dict.fromkeys(names, Share(estimate=estimate, largest=largest)))
    return results


def _spaced(param: ParamInfo, model: Surrogate) -> Sequence[Value | float]:
    """The tried values, or places evenly over the range of a number with many."""
    codes: Floats = np.unique(param.codes[model.rows][param.active[model.rows]])
    levels = [param.levels[i] for i in codes.tolist()]
    if param.kind == "levels" or len(levels) <= PLACES:
        return levels[:MOST_VALUES]
    ends = param.position(levels[0]), param.position(levels[-1])
    even = np.linspace(*ends, PLACES)
    return [float(v) for v in (10**even if param.log else even)]
