"""A sampler's proposals; where it has none that is new, cells nobody has tried, in a random order."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import optuna

from hpo_batch.errors import UserError
from hpo_batch.records import Configuration, Value
from hpo_batch.space.cells import MOST_WALKED, pinned, projected_cells, size
from hpo_batch.space.draw import at_random, shuffled_cells
from hpo_batch.space.parameters import Choices, Integer, Parameter, Real, Searched, same
from hpo_batch.space.space import Space
from hpo_batch.store.scan import JournalState
from hpo_batch.store.scanned_trial import ScannedTrial
from hpo_batch.study.history import SamplerHistory
from hpo_batch.study.quota import NOT_DRAWN, Arm
from hpo_batch.study.replicates import may_repeat
from hpo_batch.study.samplers.base import RANDOM_DRAWS, SPARES, Candidate, Draw, Refusals, Unseen
from hpo_batch.study.samplers.models import Asked, make, model_of
from hpo_batch.study.samplers.normal import scipys_normal
from hpo_batch.sweep.schema import Sweep

log = logging.getLogger(__name__)

NOT_KEPT = ("tpe:relative_params", "gp:relative_params")
"""what samplers note of a proposal that has not become a trial: the trial's own parameters say it"""
COVERAGE = "coverage"
MOST_COMPARED = 2_000
"""untried cells of which the nearest to a proposal is taken"""


class Sampled:
    def __init__(self, sweep: Sweep, space: Space, arm: Arm) -> None:
        self._sweep = sweep
        self._space = space
        self._arm = arm
        self._arm_space = pinned(space, dict(arm))
        self._model = model_of(sweep)
        self._history = SamplerHistory(
            self._arm_space,
            cap=self._model.cap,
            missing=self._model.missing,
            by_step=sweep.pruner.name != "wilcoxon",
        )
        self._state: JournalState | None = None
        self._kept: optuna.samplers.BaseSampler | None = None
        made = self._make(self._arm_space, 0)  # options that it refuses are told before the first claim
        if self._model.kept:
            self._kept = made
        total = size(self._arm_space).all
        self._listable = total is not None and total <= MOST_WALKED
        self._unseen: Unseen | None = None
        self._untried: dict[tuple[Value, ...], None] | None = None
        self._ranks = {p.name: _Ranks(p) for p in space.parameters}
        self._looked = self._drawn = self._covered = 0

    def draw(self, state: JournalState, *, seed: int, again: bool) -> Draw:
        self._state = state
        found: dict[str, Candidate] = {}
        refusals = Refusals()
        repeated = False
        for candidate in self._proposals(state, seed):
            if self._is_used(candidate.configuration.key):
                repeated = True
                continue
            why = self._space.why_invalid(candidate.configuration)
            if why is None:
                found[candidate.configuration.key] = candidate
                break
            refusals.note(why)
        if self._listable and (again or not found):
            for configuration in self._cells(seed).first(SPARES, tried=state.number_of_key):
                found.setdefault(configuration.key, Candidate(configuration=configuration, origin=self._name))
        if found or repeated or not refusals or (self._listable and state.number_of_key):
            return Draw(candidates=list(found.values()), used_up=not found)
        return Draw(candidates=[], used_up=True, refused=refusals.told())

    def _is_used(self, key: str) -> bool:
        """Whether a configuration was tried and is not to be trained again."""
        assert self._state is not None
        earlier = self._state.number_of_key.get(key)
        return earlier is not None and not may_repeat(self._sweep, self._state.trials[earlier])

    def after_trial(
        self, state: JournalState, trial: ScannedTrial, ended: str, values: tuple[float, ...] | None
    ) -> Mapping[str, Any]:
        if self._kept is None:
            return {}  # those by name have nothing to say: what they would do it for cannot be written into a sweep
        study = self._history.study(state, self._kept)
        noted = self._history.noting(study, trial.number)
        if noted is None:
            return {}
        try:
            self._kept.after_trial(study, noted.trial, optuna.trial.TrialState[ended], values)
        except Exception as error:  # the user's class must not cost a result
            log.warning("[sampler] %s: after_trial of trial %s: %r", self._name, trial.number, error)
            return {}
        return _kept_attrs(noted.attrs)

    @property
    def _name(self) -> str:
        return self._sweep.sampler.name

    @property
    def _origin(self) -> str:
        return self._name.rpartition(":")[2]

    def _proposals(self, state: JournalState, seed: int) -> Iterator[Candidate]:
        """What the sampler proposes; then random draws, which reach where a model does not look."""
        rng = random.Random(seed)
        covers = self._coverage_is_due(state)
        for candidate in self._asked(state, self._arm_space, seed, rng):
            moved = self._moved(candidate, rng) if covers else candidate
            if moved is not None:
                yield moved
        if covers:
            cell = rng.choice(list(self._untried or ()))
            narrowed = pinned(self._arm_space, dict(zip(self._sweep.sampler.coverage, cell, strict=True)))
            for candidate in self._asked(state, narrowed, seed, rng):
                yield replace(candidate, origin=COVERAGE)
        if not self._listable:
            for _ in range(RANDOM_DRAWS):
                yield Candidate(configuration=self._at_random(self._arm_space, rng), origin=self._origin)

    def _asked(self, state: JournalState, space: Space, seed: int, rng: random.Random) -> Iterator[Candidate]:
        if self._name == "random":
            for _ in range(self._model.draws):
                yield Candidate(configuration=self._at_random(space, rng), origin=self._origin)
            return
        whole = self._arm_space if self._model.whole else space
        study = self._history.study(state, self._kept or self._make(whole, seed))
        for _ in range(self._model.draws):
            yield self._ask(study, space, is_whole=whole is space)

    def _moved(self, candidate: Candidate, rng: random.Random) -> Candidate | None:
        """The proposal in the nearest cell that nobody has tried; None if its other values do not fit there."""
        names, untried = self._sweep.sampler.coverage, list(self._untried or ())
        near = rng.sample(untried, min(len(untried), MOST_COMPARED))
        values = candidate.configuration.values
        ranks = [self._ranks[name] for name in names]

        def distance(cell: tuple[Value, ...]) -> float:
            return sum(
                rank.between(values.get(name), value) for rank, name, value in zip(ranks, names, cell, strict=True)
            )

        cell = min(near, key=distance)
        moved = {**values, **dict(zip(names, cell, strict=True))}
        try:
            configuration = self._space.resolve(moved)
        except UserError:
            return None
        return Candidate(configuration=configuration, origin=COVERAGE)

    def _at_random(self, space: Space, rng: random.Random) -> Configuration:
        configuration = at_random(space, rng)
        if not self._arm and space is self._arm_space:
            return configuration  # nothing is pinned
        return self._space.resolve({**configuration.fixed, **configuration.searched})

    def _coverage_is_due(self, state: JournalState) -> bool:
        """Whether a cell is untried, and fewer of the drawn trials than ``coverage_share`` went to one."""
        share, names = self._sweep.sampler.coverage_share, self._sweep.sampler.coverage
        if not share:
            return False
        if self._untried is None:
            self._untried = dict.fromkeys(projected_cells(self._arm_space, names))
        for trial in state.trials[self._looked :]:
            self._untried.pop(tuple(trial.params[name] for name in names if name in trial.params), None)
            self._drawn += trial.identity.origin not in NOT_DRAWN
            self._covered += trial.identity.origin == COVERAGE
        self._looked = len(state.trials)
        return bool(self._untried) and self._covered < int((self._drawn + 1) * share)

    def _ask(self, study: optuna.Study, space: Space, *, is_whole: bool) -> Candidate:
        with scipys_normal():
            trial = study.ask()
            configuration = space.decide(lambda parameter: _suggest(trial, parameter))
        attrs = _kept_attrs(study._storage.get_trial_system_attrs(trial._trial_id)) if is_whole else {}
        return Candidate(
            configuration=self._space.resolve({**configuration.fixed, **configuration.searched}),
            origin=self._origin,
            facts={"sampler": attrs} if attrs else {},
        )

    def _make(self, space: Space, seed: int) -> optuna.samplers.BaseSampler:
        single = {p.name: p.low for p in space.searched if p.count == 1}

        def is_new(values: Mapping[str, Value]) -> bool:
            narrow = space.resolve({**single, **values})
            configuration = self._space.resolve({**narrow.fixed, **narrow.searched})
            return not self._is_used(configuration.key) and self._space.why_constrained(configuration.values) is None

        return make(Asked(sweep=self._sweep, space=space, seed=seed, is_new=is_new))

    def _cells(self, seed: int) -> Unseen:
        if self._unseen is None:
            self._unseen = Unseen(shuffled_cells(self._space, dict(self._arm), random.Random(seed)))
        return self._unseen


class _Ranks:
    """How far apart values of a parameter are: between 0 and 1 if they have an order, else 1."""

    def __init__(self, parameter: Parameter) -> None:
        cells = parameter.in_order if isinstance(parameter, Choices) else parameter.cells or ()
        self._rank = {(type(value), value): i / max(1, len(cells) - 1) for i, value in enumerate(cells)}
        self._is_ordered = isinstance(parameter, Integer | Real) or (
            isinstance(parameter, Choices) and parameter.ordered
        )

    def between(self, a: Value | None, b: Value) -> float:
        one, other = self._rank.get((type(a), a)), self._rank.get((type(b), b))  # type: ignore[arg-type]
        if not self._is_ordered or one is None or other is None:
            return float(a is None or not same(a, b))
        return abs(one - other)


def _kept_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attrs.items() if not name.startswith(NOT_KEPT)}


def _suggest(trial: optuna.Trial, parameter: Searched) -> Value:
    if isinstance(parameter, Choices):
        value: Any = trial.suggest_categorical(parameter.name, parameter.values)
    elif isinstance(parameter, Integer):
        value = trial.suggest_int(parameter.name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    else:
        low, high = parameter.low, parameter.high
        value = trial.suggest_float(parameter.name, low, high, step=parameter.step, log=parameter.log)
    return parameter.normalise(value)
