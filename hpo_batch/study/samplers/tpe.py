"""Optuna's TPE, faster and without repeats: it caches each trial's numbers and takes the best untried candidate.

Multivariate TPE with a constant liar, because many workers propose at once: it models dependences between parameters
and keeps away from running trials
(https://optuna.readthedocs.io/en/latest/reference/samplers/generated/optuna.samplers.TPESampler.html).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution

from hpo_batch.space.draw import always_active
from hpo_batch.space.parameters import Searched
from hpo_batch.study.distributions import Past, distribution_of
from hpo_batch.study.samplers.base import IsNew, Model, ModelRequest
from hpo_batch.study.samplers.told_space import ToldSpace


class AnyTpe(optuna.samplers.TPESampler):
    """TPE that converts the values of each trial in the history only once."""

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
            else:  # earlier proposals of this sampler that were rejected
                parts.append(super()._get_internal_repr(list(group), search_space, *rest))
        if not parts:
            return super()._get_internal_repr(trials, search_space, *rest)
        return {name: np.concatenate([part[name] for part in parts]) for name in search_space}


def _columns(rows: list[dict[str, float]], names: Collection[str]) -> dict[str, Any]:
    """Columns of the rows that have all names, as one array of shape (rows,) per name."""
    try:
        return {name: np.array([row[name] for row in rows], dtype=float) for name in names}
    except KeyError:
        return _columns([row for row in rows if row.keys() >= set(names)], names)


class Tpe(ToldSpace, AnyTpe):
    """TPE that takes the best of its candidates that is valid and untried, instead of proposing again and again."""

    def __init__(self, parameters: Sequence[Searched], *, is_new: IsNew | None, **options: Any) -> None:
        super().__init__(**options)
        self._parameters = {parameter.name: parameter for parameter in parameters}
        self._distributions = {parameter.name: distribution_of(parameter) for parameter in parameters}
        self._is_new = is_new

    def _compute_acquisition_func(self, samples: dict[str, Any], mpe_below: Any, mpe_above: Any) -> Any:
        scores = super()._compute_acquisition_func(samples, mpe_below, mpe_above)
        if self._is_new is None or samples.keys() != self._distributions.keys():
            return scores
        names = list(samples)
        columns = [samples[name].tolist() for name in names]
        for i in np.argsort(-scores).tolist():
            values = {
                name: self._parameters[name].normalise(self._distributions[name].to_external_repr(column[i]))
                for name, column in zip(names, columns, strict=True)
            }
            if self._is_new(values):
                break
            scores[i] = -np.inf
        return scores


def _tpe(request: ModelRequest) -> optuna.samplers.BaseSampler:
    always = sorted(always_active(request.space), key=lambda parameter: parameter.name)
    searched = [parameter for parameter in request.space.searched if parameter.count != 1]
    options = {
        "seed": request.seed,
        "n_startup_trials": request.startup,
        "multivariate": True,
        # with conditional parameters: else multivariate TPE would sample them independently
        "group": len(always) < len(searched),
        # running trials count as bad ones, fixed in https://github.com/optuna/optuna/pull/4073
        "constant_liar": True,
        **request.options,
    }
    if options["group"] or not options["multivariate"]:
        return AnyTpe(**options)
    return Tpe(always, is_new=request.is_new if len(always) == len(searched) else None, **options)


# a proposal takes longer with each trial in the history, see docs/benchmarks.md
TPE = Model(make=_tpe, max_trials=2000)
