"""Bayesian optimization with a Gaussian process: Optuna's GPSampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna

from hpo_batch.extras import require
from hpo_batch.space.draw import always_active
from hpo_batch.space.parameters import Searched
from hpo_batch.study.distributions import distribution_of
from hpo_batch.study.samplers.base import Model, ModelRequest
from hpo_batch.study.samplers.told_space import ToldSpace


class Gp(ToldSpace, optuna.samplers.GPSampler):
    """GPSampler over the parameters that are active in every configuration."""

    def __init__(self, parameters: Sequence[Searched], **options: Any) -> None:
        super().__init__(**options)
        self._distributions = {parameter.name: distribution_of(parameter) for parameter in parameters}


def _gp(request: ModelRequest) -> optuna.samplers.BaseSampler:
    require("torch", what="[sampler] name: 'gp'")
    options = {"warn_independent_sampling": False, **request.options}
    return Gp(always_active(request.space), seed=request.seed, n_startup_trials=request.startup, **options)


# fitting a Gaussian process to n trials takes O(n^3) time; each of its proposals is expensive too
GP = Model(make=_gp, max_trials=200, max_proposals=4)
