"""Our parameters as Optuna's distributions, and trials as Optuna's frozen trials."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from hpo_batch.records import Configuration, TrialState, Value
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Searched, same
from hpo_batch.space.space import Space
from hpo_batch.store.scanned_trial import ScannedTrial
from hpo_batch.study.comparable import translated_trial

SOME_TIME = datetime.datetime(2000, 1, 1)
"""no sampler and no pruner looks at a trial's times, but Optuna wants some"""


def distribution_of(parameter: Searched) -> BaseDistribution:
    if isinstance(parameter, Choices):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def distribution_around(parameter: Parameter, value: Value) -> BaseDistribution:
    """A distribution for a value outside of the parameter's own: Optuna refuses such a value otherwise."""
    if isinstance(parameter, Fixed):
        return CategoricalDistribution((value,))
    if isinstance(parameter, Choices):
        return CategoricalDistribution((*parameter.values, value))
    if isinstance(parameter, Integer) and isinstance(value, int) and not isinstance(value, bool):
        low, high = min(parameter.low, value), max(parameter.high, value)
        return IntDistribution(low, high, log=parameter.log and low > 0)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low_real, high_real = min(float(parameter.low), float(value)), max(float(parameter.high), float(value))
        return FloatDistribution(low_real, high_real, log=parameter.log and low_real > 0)
    return CategoricalDistribution((value,))


class JournalParams:
    """Turns configurations of one space into parameters and distributions, as a CREATE_TRIAL record holds them.

    Fixed parameters are stored too, as choices of one: ``best_params`` of plain Optuna is then all that a run needs.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._known: dict[str, tuple[BaseDistribution, str]] = {}
        """of the parameters whose values lay in the space so far: they are the same for each trial"""

    def __call__(self, configuration: Configuration) -> tuple[dict[str, float], dict[str, str]]:
        params: dict[str, float] = {}
        distributions: dict[str, str] = {}
        for name, value in {**configuration.searched, **configuration.fixed}.items():
            distribution, distributions[name] = self._distribution(self._space.by_name[name], value)
            params[name] = _internal(distribution, value)
        return params, distributions

    def _distribution(self, parameter: Parameter, value: Value) -> tuple[BaseDistribution, str]:
        if isinstance(parameter, Fixed) or parameter.why_outside(value) is not None:
            distribution = distribution_around(parameter, value)
            return distribution, distribution_to_json(distribution)
        known = self._known.get(parameter.name)
        if known is None:
            distribution = distribution_of(parameter)
            known = self._known[parameter.name] = distribution, distribution_to_json(distribution)
        return known


def _internal(distribution: BaseDistribution, value: Value) -> float:
    if isinstance(distribution, CategoricalDistribution):
        # not to_internal_repr: to Optuna, 1 and true are the same choice
        return next(i for i, choice in enumerate(distribution.choices) if choice is not None and same(choice, value))
    return distribution.to_internal_repr(value)


def values_in(space: Space, trial: ScannedTrial) -> dict[str, Value] | None:
    """A trial's searched values in today's space; None if it does not lie in it."""
    found = translated_trial(space, trial)
    return None if isinstance(found, str) else dict(found.searched)


class Past(optuna.trial.FrozenTrial):
    """A trial as samplers are shown it, again and again."""

    __slots__ = ("_numbers",)  # no field: Optuna compares and prints those
    _numbers: dict[str, float]

    def numbers(self) -> dict[str, float]:
        """Its parameters as the numbers that Optuna computes with."""
        try:
            return self._numbers
        except AttributeError:
            found = {name: self.distributions[name].to_internal_repr(value) for name, value in self.params.items()}
            self._numbers = found
            return found

    @property
    def constraints(self) -> dict[str, float]:
        """Optuna's, which goes through all attributes: TPE asks each trial at each proposal, and most have none."""
        return super().constraints if self.system_attrs else {}


def frozen_trial(
    trial: ScannedTrial,
    *,
    number: int,
    params: Mapping[str, Value],
    distributions: Mapping[str, BaseDistribution],
    steps: Mapping[int, float],
    attrs: Mapping[str, Any],
) -> Past | None:
    """A trial of the journal as Optuna's; None if it is complete without a value, which no Optuna trial is."""
    state = optuna.trial.TrialState(trial.state.value)
    if trial.state is TrialState.COMPLETE and (trial.values is None or any(map(math.isnan, trial.values))):
        return None
    return Past(
        number=number,
        state=state,
        value=None,
        values=list(trial.values) if trial.state is TrialState.COMPLETE and trial.values is not None else None,
        datetime_start=SOME_TIME,
        datetime_complete=SOME_TIME if state.is_finished() else None,
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        user_attrs={},
        system_attrs=dict(attrs),
        intermediate_values=dict(steps),
        trial_id=trial.trial_id,
    )
