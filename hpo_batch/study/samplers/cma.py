"""CMA-ES whose state is rebuilt from the trials for each proposal.

Optuna's CmaEsSampler keeps a pickled optimizer in the trials' attributes, which a shared journal must not contain
(https://optuna.readthedocs.io/en/stable/_modules/optuna/samplers/_cmaes.html). Here a trial stores its generation and
the point that CMA-ES drew. For a proposal, a new optimizer is told the finished trials, generation by generation and in
the order of their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from hpo_batch.extras import require
from hpo_batch.records import Value
from hpo_batch.space.draw import always_active
from hpo_batch.space.parameters import Choices, Integer, Searched
from hpo_batch.study.distributions import distribution_of
from hpo_batch.study.samplers.base import Model, ModelRequest

GENERATION = "cmaes:generation"
# the point that the optimizer drew, before rounding to a cell
DRAWN_AT = "cmaes:drawn_at"
# initial standard deviation, as a share of each range; Optuna's default (min_range / 6):
# https://optuna.readthedocs.io/en/stable/reference/samplers/generated/optuna.samplers.CmaEsSampler.html
SIGMA = 1 / 6

Point: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


class Cma(optuna.samplers.BaseSampler):
    """Searches numbers and ordered choices together; unordered choices and conditional parameters are random.

    Args:
        parameters: parameters that are active in every configuration.
        startup: finished trials before CMA-ES starts; it starts at the best of them.
        popsize: trials per generation. Default: 4 + 3 ln(dimensions), as in the cmaes package.
        sigma0: initial standard deviation as a share of each range. Default: ``SIGMA``.
    """

    def __init__(
        self,
        parameters: Sequence[Searched],
        *,
        seed: int,
        startup: int,
        popsize: int | None = None,
        sigma0: float | None = None,
    ) -> None:
        if popsize is not None and popsize < 2:
            raise ValueError(f"popsize must be at least 2, not {popsize}")
        if sigma0 is not None and sigma0 <= 0:
            raise ValueError(f"sigma0 must be above 0, not {sigma0}")
        self._axes = [_Axis(p) for p in parameters if p.ordered and p.count != 1]
        self._startup = startup
        self._popsize = popsize
        self._sigma = SIGMA if sigma0 is None else sigma0
        self._seed = seed
        self._asked = 0
        self._optimizer: Any = None
        self._random = optuna.samplers.RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {axis.parameter.name: distribution_of(axis.parameter) for axis in self._axes}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not self._axes:
            return {}
        if self._optimizer is None:
            minimize = study.direction == optuna.study.StudyDirection.MINIMIZE
            states = (TrialState.COMPLETE, TrialState.PRUNED)
            finished = study.get_trials(deepcopy=False, states=states)
            losses = [(t, loss) for t in finished if (loss := _loss(t, minimize=minimize)) is not None]
            if len(losses) < self._startup:
                return {}
            self._optimizer = self._rebuilt(losses)
        self._asked += 1
        # the rebuilt optimizer has a fixed random state, so workers and repeated proposals need seeds of their own
        self._optimizer.reseed_rng((self._seed + self._asked * 7919) % 2**32)
        point, drawn_at = self._optimizer.ask()
        note = study._storage.set_trial_system_attr
        note(trial._trial_id, GENERATION, self._optimizer.generation)
        note(trial._trial_id, DRAWN_AT, [float(x) for x in drawn_at])
        return {axis.parameter.name: axis.value(float(x)) for axis, x in zip(self._axes, point, strict=True)}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _rebuilt(self, losses: Sequence[tuple[FrozenTrial, float]]) -> Any:
        import cmaes

        dimensions = len(self._axes)
        generations: dict[int, list[tuple[int, Point, float]]] = {}
        others: list[tuple[FrozenTrial, float]] = []
        for trial, loss in losses:
            drawn_at = trial.system_attrs.get(DRAWN_AT)
            if isinstance(drawn_at, list) and len(drawn_at) == dimensions:
                members = generations.setdefault(int(trial.system_attrs.get(GENERATION, 0)), [])
                members.append((trial.number, np.array(drawn_at, dtype=np.float64), loss))
            else:
                others.append((trial, loss))
        first = min((number for members in generations.values() for number, _, _ in members), default=math.inf)
        before = [(loss, trial.number, trial) for trial, loss in others if trial.number < first]
        mean = self._point(min(before)[2].params) if before else np.full(dimensions, 0.5)
        # CMA-ES with margin keeps a minimum probability for the neighbouring cells of discrete parameters, on which
        # plain CMA-ES gets stuck: https://github.com/EvoConJP/CMA-ES_with_Margin
        optimizer = cmaes.CMAwM(
            mean=mean,
            sigma=self._sigma,
            bounds=np.array([[0.0, 1.0]] * dimensions),
            steps=np.array([axis.step for axis in self._axes]),
            n_max_resampling=10 * dimensions,  # as in Optuna
            population_size=self._popsize,
        )
        while len(members := generations.get(optimizer.generation, [])) >= optimizer.population_size:
            members.sort(key=lambda member: member[0])
            optimizer.tell([(at, loss) for _, at, loss in members[: optimizer.population_size]])
        return optimizer

    def _point(self, params: Mapping[str, Any]) -> Point:
        return np.array([axis.place(params[axis.parameter.name]) for axis in self._axes])


def _loss(trial: FrozenTrial, *, minimize: bool) -> float | None:
    value = trial.value if trial.state == TrialState.COMPLETE else None
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    if value is None or not math.isfinite(value):
        return None
    return value if minimize else -value


class _Axis:
    """A parameter scaled to [0, 1]: cells at equal distances, real numbers linearly or by their logarithm."""

    def __init__(self, parameter: Searched) -> None:
        self.parameter = parameter
        self._cells: tuple[Value, ...] | None = None
        if isinstance(parameter, Choices):
            self._cells = parameter.in_order
        elif not (isinstance(parameter, Integer) and parameter.log):
            self._cells = parameter.cells
        self.step = 0.0 if self._cells is None else 1 / (len(self._cells) - 1)

    def value(self, place: float) -> Value:
        place = min(1.0, max(0.0, place))
        if self._cells is not None:
            return self._cells[round(place * (len(self._cells) - 1))]
        parameter = self.parameter
        assert not isinstance(parameter, Choices)
        if parameter.log:
            value: float = math.exp(math.log(parameter.low) * (1 - place) + math.log(parameter.high) * place)
        else:
            value = parameter.low * (1 - place) + parameter.high * place
        if isinstance(parameter, Integer):
            value = parameter.low + round((value - parameter.low) / parameter.step) * parameter.step
        return min(parameter.high, max(parameter.low, value))

    def place(self, value: Value) -> float:
        parameter = self.parameter
        if self._cells is not None:
            near = parameter.normalise(value)
            return self._cells.index(near) * self.step if near in self._cells else 0.5
        assert not isinstance(parameter, Choices)
        if parameter.log:
            low, high, at = math.log(parameter.low), math.log(parameter.high), math.log(float(value))
        else:
            low, high, at = float(parameter.low), float(parameter.high), float(value)
        return min(1.0, max(0.0, (at - low) / (high - low)))


def _cmaes(request: ModelRequest) -> optuna.samplers.BaseSampler:
    require("cmaes", what="[sampler] name: 'cmaes'")
    return Cma(always_active(request.space), seed=request.seed, startup=request.startup, **request.options)


CMAES = Model(make=_cmaes, needs_whole_space=True)
