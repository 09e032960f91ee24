"""Configurations in the journal's format: parameters as numbers, distributions as Optuna's JSON.

Written without Optuna, so that a worker whose sampler and pruner do not need it starts in half the time.
``distributions`` makes Optuna's objects from the same text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from msgspec import Struct

from hpo_batch.records import Configuration, Value
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Searched, same
from hpo_batch.space.space import Space


class Stored(Struct, frozen=True, kw_only=True):
    """A distribution as a CREATE_TRIAL record holds it."""

    text: str
    """as from Optuna's ``distribution_to_json``"""
    choices: tuple[Value, ...] | None = None
    """of a categorical distribution"""

    def internal(self, value: Value) -> float:
        """The value as the journal stores it: the index of the choice, or the number itself."""
        if self.choices is None:
            return float(value)
        # not CategoricalDistribution.to_internal_repr, which compares with ==: there 1 and true are the same choice
        return next(i for i, choice in enumerate(self.choices) if same(choice, value))


def _categorical(choices: tuple[Value, ...]) -> Stored:
    return Stored(text=_json("CategoricalDistribution", {"choices": choices}), choices=choices)


def _integer(low: int, high: int, *, log: bool, step: int = 1) -> Stored:
    return Stored(text=_json("IntDistribution", {"log": log, "step": step, "low": low, "high": high}))


def _real(low: float, high: float, *, log: bool, step: float | None = None) -> Stored:
    return Stored(text=_json("FloatDistribution", {"step": step, "low": float(low), "high": float(high), "log": log}))


def _json(name: str, attributes: Mapping[str, object]) -> str:
    return json.dumps({"name": name, "attributes": attributes})


def stored(parameter: Searched) -> Stored:
    if isinstance(parameter, Choices):
        return _categorical(parameter.values)
    if isinstance(parameter, Integer):
        return _integer(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return _real(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def stored_around(parameter: Parameter, value: Value) -> Stored:
    """A distribution widened to hold a value outside the parameter's range; Optuna rejects the value otherwise."""
    if isinstance(parameter, Fixed):
        return _categorical((value,))
    if isinstance(parameter, Choices):
        # appended, so that the indexes of the other choices stay valid
        return _categorical((*parameter.values, value))
    if isinstance(parameter, Integer) and isinstance(value, int) and not isinstance(value, bool):
        low, high = min(parameter.low, value), max(parameter.high, value)
        return _integer(low, high, log=parameter.log and low > 0)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low_real, high_real = min(float(parameter.low), float(value)), max(float(parameter.high), float(value))
        return _real(low_real, high_real, log=parameter.log and low_real > 0)
    return _categorical((value,))


class JournalParams:
    """Turns configurations of one space into the parameters and distributions of a CREATE_TRIAL record.

    Fixed parameters are stored too, as a single choice, so that plain Optuna's ``best_params`` is complete.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._cache: dict[str, Stored] = {}
        """by parameter; a value inside the space always has the same distribution"""

    def __call__(self, configuration: Configuration) -> tuple[dict[str, float], dict[str, str]]:
        params: dict[str, float] = {}
        distributions: dict[str, str] = {}
        for name, value in {**configuration.searched, **configuration.fixed}.items():
            distribution = self._stored(self._space.by_name[name], value)
            params[name], distributions[name] = distribution.internal(value), distribution.text
        return params, distributions

    def _stored(self, parameter: Parameter, value: Value) -> Stored:
        if isinstance(parameter, Fixed) or parameter.why_outside(value) is not None:
            return stored_around(parameter, value)
        if parameter.name not in self._cache:
            self._cache[parameter.name] = stored(parameter)
        return self._cache[parameter.name]
