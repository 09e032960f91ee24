"""The trials of a sweep that are known before anything is drawn: the list, the baseline, the forced extremes.

They are ordinary trials with complete parameters, so that a sampler learns from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hpo_batch.errors import UserError
from hpo_batch.records import Configuration, Value
from hpo_batch.space.parameters import Fixed
from hpo_batch.sweep.schema import Sweep


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A trial known beforehand."""

    configuration: Configuration
    origin: str
    name: str | None = None
    set: str | None = None
    note: str | None = None


def planned_trials(sweep: Sweep) -> tuple[Planned, ...]:
    """All planned trials in the order they run: ``[[trial]]``s, baseline, extremes.

    A baseline or an extreme that repeats an earlier one is left out. Two ``[[trial]]``s of one configuration are both
    kept, since both names were asked for; the second is answered from the first and not trained again.
    """
    found: list[Planned] = []
    for _, planned in resolve_planned(sweep):
        if isinstance(planned, UserError):
            raise planned
        found.append(planned)
    kept = [planned for planned in found if planned.name is not None]
    seen = {planned.configuration.key for planned in kept}
    for planned in [planned for planned in found if planned.name is None] + extremes(sweep):
        if planned.configuration.key not in seen:
            seen.add(planned.configuration.key)
            kept.append(planned)
    return tuple(kept)


def resolve_planned(sweep: Sweep) -> Iterator[tuple[tuple[str | int, ...], Planned | UserError]]:
    """Each ``[[trial]]`` and the baseline with its key in the file: the planned trial, or why it is none."""
    params_of: dict[str, dict[str, Value]] = {}
    for i, trial in enumerate(sweep.trial):
        key: tuple[str | int, ...] = ("trial", i, "params")
        try:
            params = _inherited(sweep, trial.name, ())
            params_of[trial.name] = params
            configuration = sweep.space.resolve(params, strict=True)
        except UserError as error:
            yield key, error
            continue
        yield key, Planned(configuration=configuration, origin="list", name=trial.name, set=trial.set, note=trial.note)
    if sweep.baseline is not None:
        try:
            configuration = sweep.space.resolve({**_middle(sweep), **sweep.baseline})
        except UserError as error:
            yield ("baseline",), error
        else:
            yield ("baseline",), Planned(configuration=configuration, origin="baseline")


def _inherited(sweep: Sweep, name: str, above: tuple[str, ...]) -> dict[str, Value]:
    if name in above:
        raise UserError(f"trials take their values from each other in a circle: {' -> '.join((*above, name))}")
    trial = next((t for t in sweep.trial if t.name == name), None)
    if trial is None:
        raise UserError(f"no trial is called '{name}'")
    base: dict[str, Value] = {}
    if trial.from_ == "baseline":
        base = dict(sweep.baseline or {})
    elif trial.from_ is not None:
        base = _inherited(sweep, trial.from_, (*above, name))
    return {**base, **trial.params}


def _middle(sweep: Sweep) -> dict[str, Value]:
    return {p.name: p.middle for p in sweep.space.searched}


def extremes(sweep: Sweep) -> list[Planned]:
    """Smallest and largest value of each parameter in ``sampler.extremes``, the others at the middle.

    An extreme that breaks a constraint is moved to the nearest valid value from that end; one that cannot be moved is
    left out. A baseline supplies the middle if there is one.
    """
    centre = {**_middle(sweep), **(sweep.baseline or {})}
    found: list[Planned] = []
    for name in sweep.sampler.extremes:
        parameter = sweep.space.by_name[name]
        if isinstance(parameter, Fixed):
            continue
        cells = getattr(parameter, "in_order", None) or parameter.cells
        upward = list(cells) if cells is not None else [parameter.low, parameter.high][:1]
        downward = list(reversed(cells)) if cells is not None else [parameter.high]
        for label, candidates in (("min", upward), ("max", downward)):
            for value in candidates:
                configuration = sweep.space.resolve({**centre, name: value})
                if name in configuration.searched and sweep.space.why_invalid(configuration, bounds=False) is None:
                    found.append(Planned(configuration=configuration, origin=f"extreme: {label} {name}"))
                    break
    return found
