"""A sampler of Optuna's kind as a user would write one: it counts, from trial to trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial


class Counting(optuna.samplers.BaseSampler):
    def __init__(self, *, start: int = 0) -> None:
        self._start = start

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        counts = [t.system_attrs["count"] for t in study.get_trials(deepcopy=False) if "count" in t.system_attrs]
        count = max(counts, default=self._start - 1) + 1
        study._storage.set_trial_system_attr(trial._trial_id, "count", count)
        return count

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        study._storage.set_trial_system_attr(trial._trial_id, "heard", state.name)
