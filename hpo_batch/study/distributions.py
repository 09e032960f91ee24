"""Our parameters as Optuna's distributions, and trials as Optuna's frozen trials."""

from __future__ import annotations

import datetime

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from hpo_batch.records import Configuration, TrialState, Value
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Searched
from hpo_batch.space.space import Space
from hpo_batch.store.scan import ScannedTrial


def distribution_of(parameter: Searched) -> BaseDistribution:
    if isinstance(parameter, Choices):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def distribution_around(parameter: Parameter, value: Value) -> BaseDistribution:
    """The parameter's distribution, widened so that a value given by hand lies in it: Optuna refuses it otherwise."""
    if isinstance(parameter, Fixed):
        return CategoricalDistribution((value,))
    if parameter.why_outside(value) is None:
        return distribution_of(parameter)
    if isinstance(parameter, Choices):
        return CategoricalDistribution((*parameter.values, value))
    if isinstance(parameter, Integer) and isinstance(value, int) and not isinstance(value, bool):
        low, high = min(parameter.low, value), max(parameter.high, value)
        return IntDistribution(low, high, log=parameter.log and low > 0)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low_real, high_real = min(float(parameter.low), float(value)), max(float(parameter.high), float(value))
        return FloatDistribution(low_real, high_real, log=parameter.log and low_real > 0)
    return CategoricalDistribution((value,))


def journal_params(space: Space, configuration: Configuration) -> tuple[dict[str, float], dict[str, str]]:
    """Parameters and distributions of a trial as the journal's CREATE_TRIAL record holds them.

    Fixed parameters are stored too, as choices of one: ``best_params`` of plain Optuna is then all that a run needs.
    """
    params: dict[str, float] = {}
    distributions: dict[str, str] = {}
    for name, value in {**configuration.searched, **configuration.fixed}.items():
        distribution = distribution_around(space.by_name[name], value)
        params[name] = distribution.to_internal_repr(value)
        distributions[name] = distribution_to_json(distribution)
    return params, distributions


def frozen_trial(trial: ScannedTrial, space: Space) -> optuna.trial.FrozenTrial | None:
    """A trial of the journal in today's space; None if it does not lie in it."""
    params: dict[str, Value] = {}
    distributions: dict[str, BaseDistribution] = {}
    for parameter in space.searched:
        if parameter.name not in trial.params:
            continue
        value = parameter.normalise(trial.params[parameter.name])
        if parameter.why_outside(value) is not None:
            return None
        params[parameter.name] = value
        distributions[parameter.name] = distribution_of(parameter)
    for fixed in space.fixed:
        if fixed.name in trial.params and fixed.why_outside(trial.params[fixed.name]) is not None:
            return None
    values = None if trial.values is None else list(trial.values)
    state = optuna.trial.TrialState(trial.state.value)
    if state is optuna.trial.TrialState.COMPLETE and values is None:
        return None
    now = datetime.datetime.now()
    return optuna.trial.FrozenTrial(
        number=trial.number,
        state=state,
        value=None,
        values=values if trial.state is TrialState.COMPLETE else None,
        datetime_start=now,
        datetime_complete=now if state.is_finished() else None,
        params=params,
        distributions=distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values=dict(trial.steps),
        trial_id=trial.trial_id,
    )
