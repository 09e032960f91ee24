"""Draw configurations, outside the journal's lock: the claim then takes the first that nobody has tried.

Samplers work on ``history``. A list needs no drawing: its next trial is decided inside the lock.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution

from hpo_batch.errors import UserError
from hpo_batch.records import Configuration, Value
from hpo_batch.space.cells import MOST_WALKED, pinned, projected_cells, size, valid_cells
from hpo_batch.space.parameters import Choices, Integer, Searched
from hpo_batch.space.space import Space
from hpo_batch.store.scan import JournalState
from hpo_batch.study.distributions import distribution_of
from hpo_batch.study.history import SamplerHistory
from hpo_batch.study.quota import Arm
from hpo_batch.study.replicates import may_repeat
from hpo_batch.sweep.schema import Sampler, Sweep

MODEL_DRAWS = 8
"""proposals of a model that keeps proposing what was tried, before others are taken"""
RANDOM_DRAWS = 1024
"""random configurations of a space whose cells cannot be listed, before it is given up"""
SPARES = 16
"""unseen cells that are offered with each other, for the case that other workers take the first ones"""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    configuration: Configuration
    origin: str


@dataclass(frozen=True, kw_only=True)
class Draw:
    candidates: list[Candidate]
    """unseen and valid, best first"""
    used_up: bool = False
    """there is no other"""
    refused: str = ""
    """if none is valid, as far as can be told: what spoke against most of them"""


class Source(Protocol):
    """Where the configurations of one quota arm come from. It lives as long as the revision of the sweep."""

    def draw(self, state: JournalState, *, seed: int, again: bool) -> Draw:
        """Configurations that nobody has tried.

        Args:
            again: others took what the last draw gave: offer more.
        """
        ...


def make_source(sweep: Sweep, space: Space, arm: Arm) -> Source:
    """The source of one quota arm for the sampler that the sweep names.

    Raises:
        UserError: the sampler refuses its options.
    """
    if sweep.sampler.name == "list":
        return _Nothing()
    if sweep.sampler.name == "grid":
        return _Grid(sweep, space)
    return _Sampled(sweep, space, arm)


class _Nothing:
    def draw(self, state: JournalState, *, seed: int, again: bool) -> Draw:
        return Draw(candidates=[], used_up=True)


class _Grid:
    """Every valid cell: in product order if all are wanted, else shuffled, so that no level is cut off at the end."""

    def __init__(self, sweep: Sweep, space: Space) -> None:
        total, wanted = size(space).all, sweep.study.trials
        if wanted is None:
            cells: Iterator[Configuration] = valid_cells(space)
        elif total is not None and total <= MOST_WALKED:
            listed = list(valid_cells(space))
            if wanted < len(listed):
                random.Random(sweep.sampler.seed).shuffle(listed)
            cells = iter(listed)
        else:
            cells = _shuffled_cells(space, {}, random.Random(sweep.sampler.seed))
        self._unseen = _Unseen(cells)

    def draw(self, state: JournalState, *, seed: int, again: bool) -> Draw:
        cells = self._unseen.first(SPARES * 4, tried=state.number_of_key)
        return Draw(candidates=[Candidate(configuration=c, origin="grid") for c in cells], used_up=not cells)


class _Sampled:
    """A sampler's proposals; where it has none that is new, cells nobody has tried, in a random order."""

    def __init__(self, sweep: Sweep, space: Space, arm: Arm) -> None:
        self._sweep = sweep
        self._space = space
        self._arm_space = pinned(space, dict(arm))
        self._history = SamplerHistory(self._arm_space)
        self._make(self._arm_space, 0)  # options that it refuses are told before the first claim
        total = size(self._arm_space).all
        self._listable = total is not None and total <= MOST_WALKED
        self._arm = arm
        self._unseen: _Unseen | None = None
        self._untried: dict[tuple[Value, ...], None] | None = None
        self._looked = 0

    def draw(self, state: JournalState, *, seed: int, again: bool) -> Draw:
        found: dict[str, Candidate] = {}
        refused: dict[str, int] = {}
        repeated = False
        for configuration, origin in self._proposals(state, seed):
            earlier = state.number_of_key.get(configuration.key)
            if earlier is not None and not may_repeat(self._sweep, state.trials[earlier]):
                repeated = True
                continue
            why = self._space.why_invalid(configuration)
            if why is None:
                found[configuration.key] = Candidate(configuration=configuration, origin=origin)
                break
            refused[why] = refused.get(why, 0) + 1
        if self._listable and (again or not found):
            for configuration in self._cells(seed).first(SPARES, tried=state.number_of_key):
                found.setdefault(configuration.key, Candidate(configuration=configuration, origin=self._name))
        if found or repeated or not refused or (self._listable and state.number_of_key):
            return Draw(candidates=list(found.values()), used_up=not found)
        worst = max(refused, key=lambda why: refused[why])
        told = f"no valid configuration in {sum(refused.values())} draws; most often: {worst}"
        return Draw(candidates=[], used_up=True, refused=told)

    @property
    def _name(self) -> str:
        return self._sweep.sampler.name

    def _proposals(self, state: JournalState, seed: int) -> Iterator[tuple[Configuration, str]]:
        """What the sampler proposes; then random draws, which reach where a model does not look."""
        narrowed, origin = self._narrowed(state, seed)
        rng = random.Random(seed)
        if self._name == "random":
            for _ in range(MODEL_DRAWS):
                yield self._at_random(narrowed, rng), origin
        else:
            study = self._history.study(state, self._make(narrowed, seed))
            for _ in range(MODEL_DRAWS):
                yield self._ask(study, narrowed), origin
        if not self._listable:
            for _ in range(RANDOM_DRAWS):
                yield self._at_random(self._arm_space, rng), self._name

    def _at_random(self, space: Space, rng: random.Random) -> Configuration:
        configuration = space.decide(lambda parameter: _draw(parameter, rng))
        if not self._arm and space is self._arm_space:
            return configuration  # nothing is pinned
        return self._space.resolve({**configuration.fixed, **configuration.searched})

    def _narrowed(self, state: JournalState, seed: int) -> tuple[Space, str]:
        """The arm's space; for the share of trials that ``coverage_share`` says, one untried cell of it."""
        share, started = self._sweep.sampler.coverage_share, len(state.trials)
        if int((started + 1) * share) > int(started * share):
            untried = self._untried_cells(state)
            if untried:
                cell = random.Random(seed).choice(untried)
                return pinned(self._arm_space, dict(zip(self._sweep.sampler.coverage, cell, strict=True))), "coverage"
        return self._arm_space, self._name

    def _untried_cells(self, state: JournalState) -> list[tuple[Value, ...]]:
        names = self._sweep.sampler.coverage
        if self._untried is None:
            self._untried = dict.fromkeys(projected_cells(self._arm_space, names))
        for trial in state.trials[self._looked :]:
            self._untried.pop(tuple(trial.params[name] for name in names if name in trial.params), None)
        self._looked = len(state.trials)
        return list(self._untried)

    def _ask(self, study: optuna.Study, space: Space) -> Configuration:
        trial = study.ask()
        configuration = space.decide(lambda parameter: _suggest(trial, parameter))
        return self._space.resolve({**configuration.fixed, **configuration.searched})

    def _make(self, space: Space, seed: int) -> optuna.samplers.BaseSampler:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return FACTORIES[self._name](self._sweep.sampler, space, seed)
        except (TypeError, ValueError) as error:
            raise UserError(f"[sampler] options: {error}") from error

    def _cells(self, seed: int) -> _Unseen:
        if self._unseen is None:
            self._unseen = _Unseen(_shuffled_cells(self._space, dict(self._arm), random.Random(seed)))
        return self._unseen


class _Unseen:
    """Configurations nobody has tried, out of a list that is walked through once: what was tried stays tried."""

    def __init__(self, cells: Iterator[Configuration]) -> None:
        self._cells = cells
        self._kept: dict[str, Configuration] = {}

    def first(self, count: int, *, tried: Container[str]) -> list[Configuration]:
        """At most ``count``, in the order of the list; none if there are none left."""
        self._kept = {key: configuration for key, configuration in self._kept.items() if key not in tried}
        while len(self._kept) < count:
            configuration = next(self._cells, None)
            if configuration is None:
                break
            if configuration.key not in tried:
                self._kept[configuration.key] = configuration
        return list(self._kept.values())[:count]


def _shuffled_cells(space: Space, arm: Mapping[str, Value], rng: random.Random) -> Iterator[Configuration]:
    """The valid cells of an arm in a random order; of more than can be listed, so many drawn at random."""
    names = [parameter.name for parameter in space.searched]
    lists = [(arm[p.name],) if p.name in arm else p.cells or () for p in space.searched]
    total = math.prod(map(len, lists))
    indices: Iterable[int] = (rng.randrange(total) for _ in range(MOST_WALKED))
    if total <= MOST_WALKED:
        indices = rng.sample(range(total), total)
    for index in indices:
        values: dict[str, Value] = {}
        for name, cells in zip(names, lists, strict=True):
            index, place = divmod(index, len(cells))
            values[name] = cells[place]
        configuration = space.resolve(values)
        if space.why_invalid(configuration) is None:
            yield configuration


class _Tpe(optuna.samplers.TPESampler):
    """TPE that is told the search space: Optuna compares all distributions of all trials for each proposal."""

    def __init__(self, search_space: dict[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self._told = search_space

    def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        return dict(self._told)


def _tpe(sampler: Sampler, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    conditional = any(p.when is not None for p in space.searched)
    options = {
        "seed": seed,
        "n_startup_trials": sampler.startup_trials,
        "multivariate": True,
        "group": conditional,
        "constant_liar": True,
        **sampler.options,
    }
    if options["group"] or not options["multivariate"]:
        return optuna.samplers.TPESampler(**options)
    everywhere = sorted((p for p in space.searched if p.when is None and p.count != 1), key=lambda p: p.name)
    return _Tpe({parameter.name: distribution_of(parameter) for parameter in everywhere}, **options)


def _random(sampler: Sampler, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    """Only asked whether it takes the options: random draws are our own and need no study in memory."""
    return optuna.samplers.RandomSampler(seed=seed, **sampler.options)


FACTORIES: dict[str, Callable[[Sampler, Space, int], optuna.samplers.BaseSampler]] = {"tpe": _tpe, "random": _random}


def _suggest(trial: optuna.Trial, parameter: Searched) -> Value:
    if isinstance(parameter, Choices):
        value: Any = trial.suggest_categorical(parameter.name, parameter.values)
    elif isinstance(parameter, Integer):
        value = trial.suggest_int(parameter.name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    else:
        low, high = parameter.low, parameter.high
        value = trial.suggest_float(parameter.name, low, high, step=parameter.step, log=parameter.log)
    return parameter.normalise(value)


def _draw(parameter: Searched, rng: random.Random) -> Value:
    """Uniform over choices, whole numbers or reals; over their logarithm with ``log``."""
    if isinstance(parameter, Choices):
        return rng.choice(parameter.values)
    if isinstance(parameter, Integer):
        if not parameter.log:
            return rng.randrange(parameter.low, parameter.high + 1, parameter.step)
        # each number gets the share of the axis that rounds to it, as in Optuna
        drawn = math.exp(rng.uniform(math.log(parameter.low - 0.5), math.log(parameter.high + 0.5)))
        return min(parameter.high, max(parameter.low, round(drawn)))
    if parameter.step is not None:
        steps = rng.randrange(round((parameter.high - parameter.low) / parameter.step) + 1)
        return parameter.normalise(parameter.low + steps * parameter.step)
    if parameter.log:
        drawn = math.exp(rng.uniform(math.log(parameter.low), math.log(parameter.high)))
        return min(parameter.high, max(parameter.low, drawn))
    return rng.uniform(parameter.low, parameter.high)
