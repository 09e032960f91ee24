"""The search space of the samplers that Optuna would infer from the trials, given to them instead."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution


class ToldSpace:
    """A sampler that is given its search space: Optuna compares all distributions of all trials for each proposal."""

    _distributions: dict[str, BaseDistribution]

    def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        return dict(self._distributions)
