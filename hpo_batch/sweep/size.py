"""Counts the trials and cells of a sweep, and selects the cells of a grid to run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from msgspec import Struct

from hpo_batch.records import Configuration
from hpo_batch.space.balanced_order import evenly, levels_of
from hpo_batch.space.cells import MOST_WALKED, projected_cells, size, valid_cells
from hpo_batch.space.parameters import Fixed, Real
from hpo_batch.space.space import Space
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Sweep


def target(sweep: Sweep) -> int:
    """Target number of finished trials: ``[study] trials``, or all trials of a grid or list."""
    if sweep.sampler.capabilities.is_list:
        return len(planned_trials(sweep))
    if sweep.study.trials is not None:
        return sweep.study.trials
    assert sweep.sampler.capabilities.is_finite
    # a planned trial may be one of the cells, and counts once
    keys = {c.key for c in valid_cells(sweep.space)} | {t.configuration.key for t in planned_trials(sweep)}
    return len(keys)


def architecture_size(sweep: Sweep) -> tuple[tuple[str, ...], int] | None:
    """The coverage parameters and the number of their valid cells; None if there are none, or too many cells."""
    names = tuple(n for n in sweep.sampler.coverage if not isinstance(sweep.space.by_name[n], Fixed | Real))
    total = size(sweep.space, names).all if names else None
    if total is None or total > MOST_WALKED:
        return None
    return names, sum(1 for _ in projected_cells(sweep.space, names))


def grid_cells(sweep: Sweep, space: Space) -> Iterator[Configuration]:
    """The valid cells, in product order if all of them run, else in balanced order.

    Args:
        sweep: with a grid sampler.
        space: of the sweep, possibly with ``n_params``.
    """
    if sweep.study.trials is None:
        return valid_cells(space)
    # a balanced order needs all cells at once
    cells = list(valid_cells(space))
    planned = [one.configuration for one in planned_trials(sweep, n_params=space.n_params)]
    if sweep.study.trials >= len({c.key for c in cells} | {c.key for c in planned}):
        return iter(cells)
    return evenly(cells, seed=sweep.sampler.seed, taken=planned)


class LeftOut(Struct, frozen=True, kw_only=True):
    """The part of a grid that does not run because of ``study.trials``."""

    cells: int
    """number of valid cells"""
    run: int
    """number of cells that run, including planned trials"""
    levels: tuple[str, ...]
    """levels without any cell that runs, as ``name = value``"""


def left_out(sweep: Sweep) -> LeftOut | None:
    """What ``study.trials`` leaves out of a grid; None if nothing, or for other samplers."""
    wanted, space = sweep.study.trials, sweep.space
    if not sweep.sampler.capabilities.is_grid or wanted is None:
        return None
    keys = {cell.key: cell for cell in valid_cells(space)}
    planned = [one.configuration for one in planned_trials(sweep)]
    if wanted >= len(keys.keys() | {c.key for c in planned}):
        return None
    # planned trials run first and count towards the target
    room = max(0, wanted - len(planned))
    run = [*planned, *itertools.islice(grid_cells(sweep, space), room)]
    seen = {level for configuration in run for level in levels_of(configuration)}
    every = dict.fromkeys(level for cell in keys.values() for level in levels_of(cell))
    missing = tuple(f"{name} = {value}" for name, value in every if (name, value) not in seen)
    return LeftOut(cells=len(keys), run=sum(c.key in keys for c in run), levels=missing)
