"""Counts the trials and cells of a sweep."""

from __future__ import annotations

from hpo_batch.space.cells import MOST_WALKED, projected_cells, size, valid_cells
from hpo_batch.space.parameters import Fixed, Real
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
