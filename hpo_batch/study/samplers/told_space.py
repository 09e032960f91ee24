"""Samplers with a known search space, which Optuna would otherwise infer from the trials."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution


class ToldSpace:
    """Mixin for a known search space: to infer it, Optuna compares all distributions of all trials per proposal."""

    _distributions: dict[str, BaseDistribution]

    def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        return dict(self._distributions)
