"""Optuna's NSGA-II, for several metrics."""

from __future__ import annotations

import optuna

from hpo_batch.study.samplers.base import Model, ModelRequest


def _nsga2(request: ModelRequest) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=request.seed, **request.options)


# Trials that it did not draw count as generation 0, so that it learns from extremes and planned trials too. The name is
# the one NSGAIISampler writes: https://optuna.readthedocs.io/en/stable/_modules/optuna/samplers/nsgaii/_sampler.html
NSGA2 = Model(make=_nsga2, attrs_of_others={"NSGAIISampler:generation": 0})
