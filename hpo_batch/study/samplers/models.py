"""Optuna's samplers by name: how each is made for one proposal, and how much history it is given."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution

from hpo_batch.errors import UserError
from hpo_batch.records import Value
from hpo_batch.space.draw import always_active
from hpo_batch.space.parameters import Searched
from hpo_batch.space.space import Space
from hpo_batch.study.distributions import Past, distribution_of
from hpo_batch.study.samplers import cma
from hpo_batch.study.samplers.custom import make_custom
from hpo_batch.sweep.schema import Sweep

IsNew = Callable[[Mapping[str, Value]], bool]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a model is made for."""

    sweep: Sweep
    space: Space
    """in which it proposes: that of the arm, or one cell of it"""
    seed: int
    is_new: IsNew
    """whether values of all searched parameters are valid and were not tried"""

    @property
    def options(self) -> dict[str, Any]:
        return self.sweep.sampler.options

    @property
    def startup(self) -> int:
        return self.sweep.sampler.startup_trials


@dataclass(frozen=True, kw_only=True)
class Model:
    make: Callable[[Asked], optuna.samplers.BaseSampler]
    cap: int | None = None
    """trials it is given at most, since a proposal takes longer with each"""
    draws: int = 8
    """proposals of a model that keeps proposing what was tried, before others are taken"""
    whole: bool = False
    """it knows one space only: where a cell is wanted, the rest of its proposal is taken"""
    kept: bool = False
    """the instance lives as long as the sweep's revision, and hears of the end of trials"""
    missing: Mapping[str, Any] | None = None
    """attributes of trials that another than it has drawn"""


class _Told:
    """A sampler that is told the search space: Optuna compares all distributions of all trials for each proposal."""

    _told: dict[str, BaseDistribution]

    def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        return dict(self._told)


class AnyTpe(optuna.samplers.TPESampler):
    """TPE that asks each trial of the history once what its values are as numbers."""

    def _get_internal_repr(
        self,
        trials: list[optuna.trial.FrozenTrial],
        search_space: dict[str, BaseDistribution],
        *rest: Any,  # since Optuna 5.0 the study
    ) -> dict[str, Any]:
        parts = []
        for kind, group in itertools.groupby(trials, key=type):
            if kind is Past:
                parts.append(_columns([trial.numbers() for trial in cast("Iterator[Past]", group)], search_space))
            else:  # what this sampler has proposed in vain
                parts.append(super()._get_internal_repr(list(group), search_space, *rest))
        if not parts:
            return super()._get_internal_repr(trials, search_space, *rest)
        return {name: np.concatenate([part[name] for part in parts]) for name in search_space}


def _columns(rows: list[dict[str, float]], names: Collection[str]) -> dict[str, Any]:
    """The numbers of the rows that have all names, as an array for each name."""
    try:
        return {name: np.array([row[name] for row in rows], dtype=float) for name in names}
    except KeyError:
        return _columns([row for row in rows if row.keys() >= set(names)], names)


class Tpe(_Told, AnyTpe):
    """TPE that takes the best of its candidates that is valid and new, rather than the best and then ask again."""

    def __init__(self, told: Sequence[Searched], *, is_new: IsNew | None, **options: Any) -> None:
        super().__init__(**options)
        self._parameters = {parameter.name: parameter for parameter in told}
        self._told = {parameter.name: distribution_of(parameter) for parameter in told}
        self._is_new = is_new

    def _compute_acquisition_func(self, samples: dict[str, Any], mpe_below: Any, mpe_above: Any) -> Any:
        scores = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        if self._is_new is None or samples.keys() != self._told.keys():
            return scores
        names = list(samples)
        columns = [samples[name].tolist() for name in names]
        for i in np.argsort(-scores).tolist():
            values = {
                name: self._parameters[name].normalise(self._told[name].to_external_repr(column[i]))
                for name, column in zip(names, columns, strict=True)
            }
            if self._is_new(values):
                break
            scores[i] = -np.inf
        return scores


class Gp(_Told, optuna.samplers.GPSampler):
    def __init__(self, told: Sequence[Searched], **options: Any) -> None:
        super().__init__(**options)
        self._told = {parameter.name: distribution_of(parameter) for parameter in told}


def _tpe(asked: Asked) -> optuna.samplers.BaseSampler:
    told = sorted(always_active(asked.space), key=lambda parameter: parameter.name)
    searched = [parameter for parameter in asked.space.searched if parameter.count != 1]
    options = {
        "seed": asked.seed,
        "n_startup_trials": asked.startup,
        "multivariate": True,
        "group": len(told) < len(searched),
        "constant_liar": True,
        **asked.options,
    }
    if options["group"] or not options["multivariate"]:
        return AnyTpe(**options)
    return Tpe(told, is_new=asked.is_new if len(told) == len(searched) else None, **options)


def _random(asked: Asked) -> optuna.samplers.BaseSampler:
    """Only asked whether it takes the options: random draws are our own and need no study in memory."""
    return optuna.samplers.RandomSampler(seed=asked.seed, **asked.options)


def _gp(asked: Asked) -> optuna.samplers.BaseSampler:
    options = {"warn_independent_sampling": False, **asked.options}
    return Gp(always_active(asked.space), seed=asked.seed, n_startup_trials=asked.startup, **options)


def _cmaes(asked: Asked) -> optuna.samplers.BaseSampler:
    if not cma.is_installed():
        raise UserError("[sampler] name: 'cmaes' needs the package cmaes; pip install 'hpo-batch[cmaes]'")
    return cma.Cma(always_active(asked.space), seed=asked.seed, startup=asked.startup, **asked.options)


def _nsga2(asked: Asked) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=asked.seed, **asked.options)


def _custom(asked: Asked) -> optuna.samplers.BaseSampler:
    sweep = asked.sweep
    return make_custom(sweep.sampler.name, asked.options, seed=asked.seed, cwd=sweep.objective.cwd)


MODELS: dict[str, Model] = {
    "tpe": Model(make=_tpe, cap=2000),
    "random": Model(make=_random),
    "gp": Model(make=_gp, cap=200, draws=4),
    "cmaes": Model(make=_cmaes, whole=True),
    # trials that it has not drawn are its first generation: it learns from extremes and planned trials too
    "nsga2": Model(make=_nsga2, missing={"NSGAIISampler:generation": 0}),
}
CUSTOM = Model(make=_custom, kept=True)


def model_of(sweep: Sweep) -> Model:
    return MODELS.get(sweep.sampler.name, CUSTOM)


def make(asked: Asked) -> optuna.samplers.BaseSampler:
    """Raises UserError: the sampler refuses its options."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return model_of(asked.sweep).make(asked)
    except (TypeError, ValueError) as error:
        raise UserError(f"[sampler] options: {error}") from error
