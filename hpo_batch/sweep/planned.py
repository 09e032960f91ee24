"""The planned trials of a sweep, which run before those of the sampler: ``[[trial]]``s, baseline and extremes.

They are ordinary trials with complete parameters, so samplers learn from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from msgspec import Struct

from hpo_batch.errors import UserError
from hpo_batch.records import Configuration, Value
from hpo_batch.space.parameters import Choices, Fixed, Searched
from hpo_batch.sweep.schema import PlannedTrial, Sweep

CountParams: TypeAlias = Callable[[Mapping[str, Value]], int]
MOST_MOVED = 1_000
"""number of values to try for an extreme that satisfies the constraints"""


class Planned(Struct, frozen=True, kw_only=True):
    """A planned trial."""

    configuration: Configuration
    origin: str
    name: str | None = None
    set: str | None = None
    note: str | None = None


def planned_trials(sweep: Sweep, *, n_params: CountParams | None = None) -> tuple[Planned, ...]:
    """All planned trials in order: ``[[trial]]``s, baseline, extremes.

    A baseline or extreme with the configuration of an earlier trial is omitted. Two ``[[trial]]``s with the same
    configuration are both kept, because both have a name; the second one gets the result of the first.

    Args:
        sweep: with the plan.
        n_params: needed for extremes with constraints on it; only workers may import it.
    """
    resolved: list[Planned] = []
    for _, planned in resolve_planned(sweep):
        if isinstance(planned, UserError):
            raise planned
        resolved.append(planned)
    trials = [planned for planned in resolved if planned.name is not None]
    seen = {planned.configuration.key for planned in trials}
    # named trials first: a baseline equal to one of them is that trial
    for planned in [planned for planned in resolved if planned.name is None] + extremes(sweep, n_params=n_params):
        if planned.configuration.key not in seen:
            seen.add(planned.configuration.key)
            trials.append(planned)
    return tuple(trials)


def resolve_planned(
    sweep: Sweep, *, without: Collection[str] = ()
) -> Iterator[tuple[tuple[str | int, ...], Planned | UserError]]:
    """Resolve each ``[[trial]]`` and the baseline: yields its key in the file, and the planned trial or an error.

    Trials in ``without``, and those that inherit from them, are skipped.
    """
    # reversed, so that the first of two trials with the same name counts; `rules` reports the other
    by_name = {trial.name: trial for trial in reversed(sweep.trial)}
    # values missing from the baseline are the middle of the space, also for trials that inherit from it
    baseline = {**_middle(sweep), **(sweep.baseline or {})}
    for i, trial in enumerate(sweep.trial):
        key: tuple[str | int, ...] = ("trial", i, "params")
        try:
            line = _line(trial, by_name, without)
            if not line:
                continue
            configuration = sweep.space.resolve(_params(line, baseline))
            for name in trial.params:  # inherited values may be inactive; own ones would be dropped silently
                if name not in configuration.searched and name not in configuration.fixed:
                    raise UserError(f"parameter '{name}' is {sweep.space.why_unwanted(name)}")
        except UserError as error:
            yield key, error
            continue
        yield key, Planned(configuration=configuration, origin="list", name=trial.name, set=trial.set, note=trial.note)
    if sweep.baseline is not None:
        try:
            configuration = sweep.space.resolve(baseline)
        except UserError as error:
            yield ("baseline",), error
        else:
            yield ("baseline",), Planned(configuration=configuration, origin="baseline")


def complete_params(sweep: Sweep, trial: PlannedTrial) -> dict[str, Value]:
    """The ``params`` of a ``[[trial]]``, including inherited ones."""
    by_name = {one.name: one for one in reversed(sweep.trial)}
    return _params(_line(trial, by_name, ()), {**_middle(sweep), **(sweep.baseline or {})})


def _line(trial: PlannedTrial, by_name: Mapping[str, PlannedTrial], without: Collection[str]) -> list[PlannedTrial]:
    """The trial and its ancestors (``from``); empty if one of them is in ``without``."""
    line: dict[str, PlannedTrial] = {}
    while True:
        if trial.name in without:
            return []
        line[trial.name] = trial
        if trial.from_ is None or trial.from_ == "baseline":
            return list(line.values())
        if trial.from_ in line:
            cycle = " -> ".join((*line, trial.from_))
            raise UserError(f"these trials take their values from each other: {cycle}")
        if trial.from_ not in by_name:
            raise UserError(f"no trial is called '{trial.from_}'")
        trial = by_name[trial.from_]


def _params(line: list[PlannedTrial], baseline: Mapping[str, Value]) -> dict[str, Value]:
    values: dict[str, Value] = dict(baseline) if line[-1].from_ == "baseline" else {}
    for trial in reversed(line):
        values |= trial.params
    return values


def _middle(sweep: Sweep) -> dict[str, Value]:
    return {p.name: p.middle for p in sweep.space.searched}


def extremes(sweep: Sweep, *, n_params: CountParams | None = None) -> list[Planned]:
    """Trials with the smallest and largest value of each parameter in ``sampler.extremes``.

    The other parameters are at the baseline, or else in the middle. An extreme that breaks a constraint is replaced by
    the next valid value; it is omitted if there is none.
    """
    centre = {**_middle(sweep), **(sweep.baseline or {})}
    space = replace(sweep.space, n_params=n_params)
    planned: list[Planned] = []
    for name in sweep.sampler.extremes:
        parameter = space.by_name[name]
        if isinstance(parameter, Fixed):
            continue
        for label, candidates in (("min", _from_below(parameter)), ("max", _from_above(parameter))):
            # from the end inwards, so the first valid value is the most extreme one
            for value in itertools.islice(candidates, MOST_MOVED):
                configuration = space.resolve({**centre, name: value})
                if name in configuration.searched and space.why_invalid(configuration, bounds=False) is None:
                    planned.append(Planned(configuration=configuration, origin=f"extreme: {label} {name}"))
                    break
    return planned


def _from_below(parameter: Searched) -> Iterable[Value]:
    cells = parameter.in_order if isinstance(parameter, Choices) else parameter.cells
    return (parameter.low,) if cells is None else cells


def _from_above(parameter: Searched) -> Iterable[Value]:
    cells = parameter.in_order if isinstance(parameter, Choices) else parameter.cells
    return (parameter.high,) if cells is None else reversed(cells)
