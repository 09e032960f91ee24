"""NSGA-II: Optuna's."""

from __future__ import annotations

import optuna

from hpo_batch.study.samplers.base import Model, ModelRequest


def _nsga2(request: ModelRequest) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=request.seed, **request.options)


# trials that it has not drawn are its first generation: it learns from extremes and planned trials too
NSGA2 = Model(make=_nsga2, attrs_of_others={"NSGAIISampler:generation": 0})
