"""The trials of a sweep that are planned before the sampler proposes any: the list, the baseline, the extremes.

They are ordinary trials with complete parameters, so that a sampler learns from them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from hpo_batch.errors import UserError
from hpo_batch.records import Configuration, Value
from hpo_batch.space.parameters import Choices, Fixed, Searched
from hpo_batch.sweep.schema import PlannedTrial, Sweep

CountParams: TypeAlias = Callable[[Mapping[str, Value]], int]
MOST_MOVED = 1_000
"""how many values an extreme is moved inwards to satisfy the constraints"""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A trial that the sweep plans."""

    configuration: Configuration
    origin: str
    name: str | None = None
    set: str | None = None
    note: str | None = None


def planned_trials(sweep: Sweep, *, n_params: CountParams | None = None) -> tuple[Planned, ...]:
    """All planned trials in the order they run: ``[[trial]]``s, baseline, extremes.

    Extremes keep constraints on ``n_params`` if the function is given: only workers may import it.

    A baseline or an extreme that repeats an earlier trial is left out. Two ``[[trial]]``s with one configuration both
    stay, since both have a name; the second gets the result of the first and is not trained again.
    """
    resolved: list[Planned] = []
    for _, planned in resolve_planned(sweep):
        if isinstance(planned, UserError):
            raise planned
        resolved.append(planned)
    trials = [planned for planned in resolved if planned.name is not None]
    seen = {planned.configuration.key for planned in trials}
    for planned in [planned for planned in resolved if planned.name is None] + extremes(sweep, n_params=n_params):
        if planned.configuration.key not in seen:
            seen.add(planned.configuration.key)
            trials.append(planned)
    return tuple(trials)


def resolve_planned(
    sweep: Sweep, *, without: Collection[str] = ()
) -> Iterator[tuple[tuple[str | int, ...], Planned | UserError]]:
    """Each ``[[trial]]`` and the baseline with its key in the file: the planned trial, or why it is none.

    Trials in ``without``, and those that take values from one of them, are left out.
    """
    by_name = {trial.name: trial for trial in reversed(sweep.trial)}
    # what a baseline leaves out is the middle of the space, for its own trial and for those that start from it
    baseline = {**_middle(sweep), **(sweep.baseline or {})}
    for i, trial in enumerate(sweep.trial):
        key: tuple[str | int, ...] = ("trial", i, "params")
        try:
            line = _line(trial, by_name, without)
            if not line:
                continue
            configuration = sweep.space.resolve(_params(line, baseline))
            for name in trial.params:  # inherited values may be inactive here; given ones would be dropped in silence
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
    """The ``params`` of a ``[[trial]]`` together with those that it takes from others."""
    by_name = {one.name: one for one in reversed(sweep.trial)}
    return _params(_line(trial, by_name, ()), {**_middle(sweep), **(sweep.baseline or {})})


def _line(trial: PlannedTrial, by_name: Mapping[str, PlannedTrial], without: Collection[str]) -> list[PlannedTrial]:
    """The trial, the one it takes values from, and so on; empty if one of them is in ``without``."""
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
    """Smallest and largest value of each parameter in ``sampler.extremes``, the others at the middle.

    An extreme that breaks a constraint is moved to the nearest valid value from that end; one that cannot be moved is
    left out. A baseline supplies the middle if there is one.
    """
    centre = {**_middle(sweep), **(sweep.baseline or {})}
    space = replace(sweep.space, n_params=n_params)
    found: list[Planned] = []
    for name in sweep.sampler.extremes:
        parameter = space.by_name[name]
        if isinstance(parameter, Fixed):
            continue
        for label, candidates in (("min", _from_below(parameter)), ("max", _from_above(parameter))):
            for value in itertools.islice(candidates, MOST_MOVED):
                configuration = space.resolve({**centre, name: value})
                if name in configuration.searched and space.why_invalid(configuration, bounds=False) is None:
                    found.append(Planned(configuration=configuration, origin=f"extreme: {label} {name}"))
                    break
    return found


def _from_below(parameter: Searched) -> Iterable[Value]:
    cells = parameter.in_order if isinstance(parameter, Choices) else parameter.cells
    return (parameter.low,) if cells is None else cells


def _from_above(parameter: Searched) -> Iterable[Value]:
    cells = parameter.in_order if isinstance(parameter, Choices) else parameter.cells
    return (parameter.high,) if cells is None else reversed(cells)
