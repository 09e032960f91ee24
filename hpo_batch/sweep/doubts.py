"""Warnings about valid sweeps: settings that may not be intended, or have no effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from hpo_batch.space.cells import at_least, drawable, expected_distinct, size, some_are_all, some_values
from hpo_batch.space.draw import rarely_valid
from hpo_batch.space.parameters import Choices, Integer
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.size import architecture_size, left_out
from hpo_batch.sweep.walltime import WARNED_EARLY_S, format_walltime, lead_s
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count


def warnings(sweep: Sweep) -> list[str]:
    """All warnings, one line each."""
    return [line for doubt in _DOUBTS for line in doubt(sweep)]


def _zero_or_one(sweep: Sweep) -> Iterator[str]:
    for parameter in sweep.space.searched:
        if isinstance(parameter, Integer) and (parameter.low, parameter.high) == (0, 1):
            yield f"space.{parameter.name} has the integers 0 and 1 only; for real numbers write 0.0 and 1.0"


def _short_walltime(sweep: Sweep) -> Iterator[str]:
    """SLURM's warning may come before a trial has started: up to 60 s early (sbatch --signal)."""
    job = sweep.job
    rounded_s = math.ceil(job.walltime / 60) * 60  # SLURM counts limits in minutes
    left_s = rounded_s - lead_s(job.walltime, job.signal_lead_s) - WARNED_EARLY_S
    if not job.is_local and left_s <= 0:
        walltime = format_walltime(job.walltime)
        yield f"job.walltime is {walltime}, and SLURM may warn of the limit a minute early: trials may stop at once"


def _mixed_types(sweep: Sweep) -> Iterator[str]:
    for parameter in sweep.space.searched:
        if isinstance(parameter, Choices) and len({type(value) for value in parameter.values}) > 1:
            yield f"space.{parameter.name} mixes types of values; samplers will treat it as categories"


def _never_drawn(sweep: Sweep) -> Iterator[str]:
    """Conditions that are false for all values of their parents, such as a misspelt or removed choice.

    Fixed parents are skipped: they may have another value in another budget.
    """
    space = sweep.space
    for parameter in space.parameters:
        when = parameter.when
        if when is None or not some_are_all(space, when.names):
            continue
        if not any(when.truth(values) for values in some_values(space, when.names)):
            parents = ", ".join(sorted(when.names))
            yield f"space.{parameter.name} is never drawn: '{when.text}' is false for every value of {parents}"


def _too_few(sweep: Sweep) -> Iterator[str]:
    """The study ends before its target, because there are too few configurations."""
    target = sweep.study.trials
    if target is None or sweep.sampler.duplicates == "replicate" or sweep.sampler.capabilities.is_list:
        return
    if size(sweep.space).all is None:
        return
    planned = {one.configuration.key: one.configuration for one in planned_trials(sweep)}
    space = drawable(sweep.space)
    outside = sum(space.why_invalid(configuration) is not None for configuration in planned.values())
    cells = at_least(space, max(0, target - outside))
    if cells is not None and cells + outside < target:
        there = count(cells + outside, "configuration")
        are = "is" if cells + outside == 1 else "are"
        yield f"study.trials is {target}, but there {are} only {there}: the study will end there"


def _cells_left_out(sweep: Sweep) -> Iterator[str]:
    rest = left_out(sweep)
    if rest is None:
        return
    levels = f"without {listed(rest.levels)}" if rest.levels else "every value of every parameter appears"
    yield (
        f"study.trials is {sweep.study.trials}, but the grid has {rest.cells} cells: {rest.run} run, spread as evenly "
        f"as possible ({levels}), and {rest.cells - rest.run} are left out"
    )


def _coverage(sweep: Sweep) -> Iterator[str]:
    """``coverage_share`` guarantees fewer cells than expected from random draws."""
    share, target = sweep.sampler.coverage_share, sweep.study.trials
    architecture = architecture_size(sweep) if share and target else None
    if architecture is None or target is None:
        return
    names, cells = architecture
    planned = planned_trials(sweep)
    met = len({tuple(repr(p.configuration.values.get(name)) for name in names) for p in planned})
    drawn = target - len(planned)
    guaranteed, by_chance = min(cells, met + int(drawn * share)), expected_distinct(target, cells)
    needed = math.ceil((math.ceil(by_chance) - met) / drawn * 100) / 100 if drawn > 0 else 1.0
    if guaranteed < by_chance and share < needed <= 1:
        yield (
            f"sampler.coverage_share = {share:g} guarantees {guaranteed} of {cells} cells, and random draws are "
            f"expected to meet {by_chance:.1f}; {needed:g} would guarantee as many"
        )


def _rarity(sweep: Sweep) -> Iterator[str]:
    rarity = None if sweep.sampler.capabilities.is_finite else rarely_valid(sweep.space)
    if rarity is not None:
        yield f"space.constraints: {rarity}; the search works, but drawing takes long"


_DOUBTS: Final[tuple[Callable[[Sweep], Iterator[str]], ...]] = (
    _zero_or_one,
    _short_walltime,
    _mixed_types,
    _never_drawn,
    _too_few,
    _cells_left_out,
    _coverage,
    _rarity,
)
