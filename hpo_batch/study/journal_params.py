"""Configurations as the journal holds them: parameters as numbers, distributions as Optuna's JSON.

Written without Optuna: a worker whose sampler and pruner are none of Optuna's starts in half the time.
``distributions`` makes Optuna's objects of the same text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hpo_batch.records import Configuration, Value
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Searched, same
from hpo_batch.space.space import Space


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A distribution as a CREATE_TRIAL record holds it."""

    text: str
    """that of Optuna's ``distribution_to_json``"""
    choices: tuple[Value, ...] | None = None
    """of a categorical one"""

    def internal(self, value: Value) -> float:
        """What the journal has of a value: its place among the choices, or the number itself."""
        if self.choices is None:
            return float(value)
        # not Optuna's to_internal_repr: to that, 1 and true are the same choice
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
    """A distribution for a value outside of the parameter's own: Optuna refuses such a value otherwise."""
    if isinstance(parameter, Fixed):
        return _categorical((value,))
    if isinstance(parameter, Choices):
        return _categorical((*parameter.values, value))
    if isinstance(parameter, Integer) and isinstance(value, int) and not isinstance(value, bool):
        low, high = min(parameter.low, value), max(parameter.high, value)
        return _integer(low, high, log=parameter.log and low > 0)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low_real, high_real = min(float(parameter.low), float(value)), max(float(parameter.high), float(value))
        return _real(low_real, high_real, log=parameter.log and low_real > 0)
    return _categorical((value,))


class JournalParams:
    """Turns configurations of one space into parameters and distributions, as a CREATE_TRIAL record holds them.

    Fixed parameters are stored too, as choices of one: ``best_params`` of plain Optuna is then all that a run needs.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._known: dict[str, Stored] = {}
        """of the parameters whose values lay in the space so far: they are the same for each trial"""

    def __call__(self, configuration: Configuration) -> tuple[dict[str, float], dict[str, str]]:
        params: dict[str, float] = {}
        distributions: dict[str, str] = {}
        for name, value in {**configuration.searched, **configuration.fixed}.items():
            found = self._stored(self._space.by_name[name], value)
            params[name], distributions[name] = found.internal(value), found.text
        return params, distributions

    def _stored(self, parameter: Parameter, value: Value) -> Stored:
        if isinstance(parameter, Fixed) or parameter.why_outside(value) is not None:
            return stored_around(parameter, value)
        known = self._known.get(parameter.name)
        if known is None:
            known = self._known[parameter.name] = stored(parameter)
        return known
