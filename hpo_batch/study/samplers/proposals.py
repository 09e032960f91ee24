"""A sampler's proposals; if none of them is new, untried cells in random order.

Only samplers with a model import Optuna; random draws are our own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from hpo_batch.errors import UserError
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Configuration, Value
from hpo_batch.space.cells import MOST_WALKED, pinned, projected_cells, size
from hpo_batch.space.draw import at_random, shuffled_cells
from hpo_batch.space.parameters import Choices, Integer, Parameter, Real, same
from hpo_batch.space.space import Space
from hpo_batch.study.quota import NOT_DRAWN, Arm
from hpo_batch.study.replicates import may_repeat
from hpo_batch.study.samplers.base import RANDOM_DRAWS, SPARES, Candidate, Draw, Model, Refusals, Source, Unseen
from hpo_batch.sweep.schema import Sweep

if TYPE_CHECKING:
    from hpo_batch.study.samplers.optuna_model import OptunaModel

COVERAGE = "coverage"
# random draws before untried cells are used, as many as proposals of a model
RANDOM_PROPOSALS = 8
# sample of untried cells among which the nearest to a proposal is searched
MOST_COMPARED = 2_000


class Proposals(Source):
    """Proposals of ``model``, or random draws without one."""

    def __init__(self, sweep: Sweep, space: Space, arm: Arm, *, model: Model | None = None) -> None:
        self._sweep = sweep
        self._space = space
        self._arm = arm
        self._arm_space = pinned(space, dict(arm))
        self._state: JournalState | None = None
        self._model: OptunaModel | None = None
        if model is not None:
            from hpo_batch.study.samplers.optuna_model import OptunaModel  # with Optuna, which random draws do not need

            self._model = OptunaModel(model, sweep, space, arm_space=self._arm_space, is_used=self._is_used)
        total = size(self._arm_space).all
        self._listable = total is not None and total <= MOST_WALKED
        self._unseen: Unseen | None = None
        self._untried: dict[tuple[Value, ...], None] | None = None
        # only for covered parameters: the table for an integer with 100,000 values takes 18 MB and 0.1 s
        self._ranks = {p.name: _Ranks(p) for p in space.parameters if p.name in sweep.sampler.coverage}
        self._looked = self._drawn = self._covered = 0

    def draw(self, state: JournalState, *, seed: int, again: bool, count: int = 1) -> Draw:
        self._state = state
        candidates: dict[str, Candidate] = {}
        refusals = Refusals()
        repeated = False
        for candidate in self._proposals(state, seed):
            if self._is_used(candidate.configuration.key):
                repeated = True
                continue
            why = self._space.why_invalid(candidate.configuration)
            if why is None:
                candidates[candidate.configuration.key] = candidate
                if len(candidates) == count:
                    break
                continue
            refusals.note(why)
        if self._listable and (again or len(candidates) < count):
            for configuration in self._cells(seed).first(max(count, SPARES), tried=state.number_of_key):
                candidates.setdefault(configuration.key, Candidate(configuration=configuration, origin=self._name))
        if candidates or repeated or not refusals or (self._listable and state.number_of_key):
            return Draw(candidates=list(candidates.values()), used_up=not candidates)
        return Draw(candidates=[], used_up=True, refused=refusals.summary())

    def draw_like(self, state: JournalState, like: Mapping[str, Value], *, seed: int, count: int) -> list[Candidate]:
        """Proposals in the space that these values leave, then cells or random draws of it."""
        if any(name in like and not same(like[name], value) for name, value in self._arm):
            return []
        self._state = state
        rng = random.Random(seed)
        narrowed = pinned(self._arm_space, like)
        candidates: dict[str, Candidate] = {}
        for candidate in self._alike(state, narrowed, {**dict(self._arm), **like}, rng, most=2 * count):
            key = candidate.configuration.key
            if not self._is_used(key) and self._space.why_invalid(candidate.configuration) is None:
                candidates.setdefault(key, candidate)
            if len(candidates) == count:
                break
        return list(candidates.values())

    def _alike(
        self, state: JournalState, narrowed: Space, values: Mapping[str, Value], rng: random.Random, *, most: int
    ) -> Iterator[Candidate]:
        yield from self._drawn_in(state, narrowed, rng.randrange(2**32), rng, most=most)
        total = size(narrowed).all
        if total is not None and total <= MOST_WALKED:
            names = {parameter.name for parameter in self._space.searched}
            cells = shuffled_cells(self._space, {n: value for n, value in values.items() if n in names}, rng)
        else:
            cells = (self._at_random(narrowed, rng) for _ in range(RANDOM_DRAWS))
        yield from (Candidate(configuration=configuration, origin=self._origin) for configuration in cells)

    def _is_used(self, key: str) -> bool:
        """Whether a configuration was tried and may not be trained again."""
        assert self._state is not None
        earlier = self._state.number_of_key.get(key)
        return earlier is not None and not may_repeat(self._sweep, self._state.trials[earlier])

    def after_trial(
        self, state: JournalState, trial: ScannedTrial, ended: str, values: tuple[float, ...] | None
    ) -> Mapping[str, Any]:
        return {} if self._model is None else self._model.after_trial(state, trial, ended, values)

    @property
    def _name(self) -> str:
        return self._sweep.sampler.name

    @property
    def _origin(self) -> str:
        return self._name.rpartition(":")[2]

    def _proposals(self, state: JournalState, seed: int) -> Iterator[Candidate]:
        """The sampler's proposals, then random draws, which reach regions that a model ignores."""
        rng = random.Random(seed)
        covers = self._coverage_is_due(state)
        for candidate in self._drawn_in(state, self._arm_space, seed, rng):
            moved = self._moved(candidate, rng) if covers else candidate
            if moved is not None:
                yield moved
        if covers:
            cell = rng.choice(list(self._untried or ()))
            narrowed = pinned(self._arm_space, dict(zip(self._sweep.sampler.coverage, cell, strict=True)))
            for candidate in self._drawn_in(state, narrowed, seed, rng):
                yield replace(candidate, origin=COVERAGE)
        if not self._listable:
            for _ in range(RANDOM_DRAWS):
                yield Candidate(configuration=self._at_random(self._arm_space, rng), origin=self._origin)

    def _drawn_in(
        self, state: JournalState, space: Space, seed: int, rng: random.Random, *, most: int = 0
    ) -> Iterator[Candidate]:
        if self._model is not None:
            yield from self._model.proposals(state, space, seed, most=most)
            return
        for _ in range(max(RANDOM_PROPOSALS, most)):
            yield Candidate(configuration=self._at_random(space, rng), origin=self._origin)

    def _moved(self, candidate: Candidate, rng: random.Random) -> Candidate | None:
        """The proposal moved to the nearest untried cell; None if its other values do not fit there."""
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
        """Whether untried cells exist and got less than ``coverage_share`` of the drawn trials."""
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

    def _cells(self, seed: int) -> Unseen:
        if self._unseen is None:
            self._unseen = Unseen(shuffled_cells(self._space, dict(self._arm), random.Random(seed)))
        return self._unseen


class _Ranks:
    """Distance between values of a parameter: from 0 to 1 if they are ordered, else 0 or 1."""

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
