"""Draw configurations, outside the journal's lock: the claim then takes the first that nobody has tried.

Samplers work on ``history``. Grid and list need no drawing: their next trial is decided inside the lock.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from hpo_batch.errors import UserError
from hpo_batch.records import Configuration, Value
from hpo_batch.space.cells import MOST_WALKED, pinned, projected_cells, size, valid_cells
from hpo_batch.space.parameters import Choices, Integer, Searched
from hpo_batch.space.space import Space
from hpo_batch.store.scan import JournalState
from hpo_batch.study.history import sampler_history
from hpo_batch.sweep.schema import Sampler, Sweep

WANTED = 2
"""unseen valid candidates drawn for one claim: one to take, one in case that another worker takes the first"""
MOST_DRAWS = 64
"""draws of a sampler that keeps proposing what was tried, before cells are taken from the list of all"""
SPARES = 16
"""cells from the list of all, for the case that other workers take all candidates first"""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    configuration: Configuration
    origin: str


def _tpe(sampler: Sampler, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    conditional = any(p.when is not None for p in space.searched)
    options = {
        "n_startup_trials": sampler.startup_trials,
        "multivariate": True,
        "group": conditional,
        "constant_liar": True,
    }
    return optuna.samplers.TPESampler(seed=seed, **{**options, **sampler.options})


def _random(sampler: Sampler, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed, **sampler.options)


FACTORIES: dict[str, Callable[[Sampler, Space, int], optuna.samplers.BaseSampler]] = {"tpe": _tpe, "random": _random}


def draw(
    sweep: Sweep, space: Space, state: JournalState, *, arm: Mapping[str, Value], seed: int
) -> tuple[list[Candidate], bool]:
    """Unseen valid configurations of one quota arm, best first; and whether the arm's space is used up.

    Raises:
        UserError: almost nothing satisfies the constraints, or the sampler refuses its options.
    """
    narrowed = pinned(space, arm)
    if sweep.sampler.coverage and _coverage_is_due(sweep, len(state.trials)):
        cell = _untried_cell(sweep, narrowed, state, random.Random(seed))
        narrowed = pinned(narrowed, cell)
    origin = "coverage" if narrowed.fixed != pinned(space, arm).fixed else sweep.sampler.name
    found: dict[str, Candidate] = {}
    invalid: dict[str, int] = {}
    for configuration in _proposals(sweep, space, narrowed, state, arm, seed):
        if configuration.key in state.number_of_key or configuration.key in found:
            continue
        why = space.why_invalid(configuration)
        if why:
            invalid[why] = invalid.get(why, 0) + 1
            continue
        found[configuration.key] = Candidate(configuration=configuration, origin=origin)
        if len(found) == WANTED:
            break
    spares = _unseen_cells(pinned(space, arm), space, state, random.Random(seed))
    if spares is not None:
        for configuration in spares:
            found.setdefault(configuration.key, Candidate(configuration=configuration, origin=sweep.sampler.name))
    elif not found and invalid:
        worst = max(invalid, key=lambda why: invalid[why])
        raise UserError(f"no valid configuration in {sum(invalid.values())} draws; most often: {worst}")
    return list(found.values()), not found and spares is not None


def _proposals(
    sweep: Sweep, space: Space, narrowed: Space, state: JournalState, arm: Mapping[str, Value], seed: int
) -> Iterator[Configuration]:
    """What the sampler proposes, each in the full space; then random draws, which reach where a model does not look."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            model = FACTORIES[sweep.sampler.name](sweep.sampler, narrowed, seed)
    except TypeError as error:
        raise UserError(f"[sampler] options: {error}") from error
    samplers = [model, optuna.samplers.RandomSampler(seed=seed)]
    for sampler, draws in zip(samplers, (MOST_DRAWS // 4, MOST_DRAWS * 16), strict=True):
        study = sampler_history(
            state, narrowed, sampler, keep=lambda t: all(t.params.get(name) == value for name, value in arm.items())
        )
        for _ in range(draws):
            trial = study.ask()
            configuration = narrowed.decide(lambda parameter, t=trial: _suggest(t, parameter))  # type: ignore[misc]
            yield space.resolve({**configuration.fixed, **configuration.searched})


def _suggest(trial: optuna.Trial, parameter: Searched) -> Value:
    if isinstance(parameter, Choices):
        value: Any = trial.suggest_categorical(parameter.name, parameter.values)
    elif isinstance(parameter, Integer):
        value = trial.suggest_int(parameter.name, parameter.low, parameter.high, step=parameter.step, log=parameter.log)
    else:
        low, high = parameter.low, parameter.high
        value = trial.suggest_float(parameter.name, low, high, step=parameter.step, log=parameter.log)
    return parameter.normalise(value)


def _unseen_cells(narrowed: Space, space: Space, state: JournalState, rng: random.Random) -> list[Configuration] | None:
    """A random sample of the cells nobody has tried; None if the space is too large to list them."""
    total = size(narrowed).all
    if total is None or total > MOST_WALKED or total > 50 * (len(state.trials) + 100):
        return None
    unseen = []
    for cell in valid_cells(narrowed):
        configuration = space.resolve({**cell.fixed, **cell.searched})
        if configuration.key not in state.number_of_key:
            unseen.append(configuration)
    return rng.sample(unseen, min(SPARES, len(unseen)))


def _coverage_is_due(sweep: Sweep, started: int) -> bool:
    share = sweep.sampler.coverage_share
    return int((started + 1) * share) > int(started * share)


def _untried_cell(sweep: Sweep, space: Space, state: JournalState, rng: random.Random) -> dict[str, Value]:
    names = sweep.sampler.coverage
    tried = {tuple(trial.params.get(name) for name in names) for trial in state.trials}
    untried = [cell for cell in projected_cells(space, names) if cell not in tried]
    return dict(zip(names, rng.choice(untried), strict=True)) if untried else {}


def grid_order(sweep: Sweep, space: Space) -> tuple[Configuration, ...]:
    """Every valid cell: in product order if all are wanted, else shuffled, so that no level is cut off at the end."""
    cells = list(valid_cells(space))
    if sweep.study.trials is not None and sweep.study.trials < len(cells):
        random.Random(sweep.sampler.seed).shuffle(cells)
    return tuple(cells)
