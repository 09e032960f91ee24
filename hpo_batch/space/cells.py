"""How large a space is: all combinations of the listed values, those that are valid, and which of them were tried.

Counts are exact for finite spaces. Parameters that no condition or constraint connects are counted apart and
multiplied, so that a space of many free parameters needs no walk through all of its cells.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hpo_batch.records import Configuration, Value
from hpo_batch.space.parameters import Fixed, Searched
from hpo_batch.space.space import N_PARAMS, Space

MOST_WALKED = 300_000
"""cells of connected parameters that a count walks through; above it the count of valid cells is unknown"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of cells. ``None``: infinite (a continuous parameter) or, for ``valid``, too many to walk through."""

    all: int | None
    """product of the listed values, conditions and constraints ignored"""
    valid: int | None
    """distinct configurations that satisfy every constraint; inactive parameters do not multiply"""


def size(space: Space, names: Sequence[str] | None = None) -> Size:
    """Size of the space, or of its projection on the parameters ``names``.

    A projected cell is valid unless a constraint that it decides alone (with fixed and derived values) refuses it.
    """
    searched = [p for p in space.searched if names is None or p.name in names]
    lists = [p.cells for p in searched]
    if any(cells is None for cells in lists):
        return Size(all=None, valid=None)
    total = math.prod(len(cells) for cells in lists if cells is not None)
    valid = 1
    for group in _components(space, searched):
        if math.prod(len(p.cells or ()) for p in group) > MOST_WALKED:
            return Size(all=total, valid=None)
        valid *= sum(1 for _ in _walk(space, group))
    return Size(all=total, valid=valid)


def valid_cells(space: Space) -> Iterator[Configuration]:
    """Every valid configuration of a finite space once, in product order (the last parameter varies fastest)."""
    for values in _walk(space, list(space.searched)):
        yield space.resolve(values)


def projected_cells(space: Space, names: Sequence[str]) -> Iterator[tuple[Value, ...]]:
    """The valid cells over the parameters ``names``, as values in the order of ``names``."""
    group = [p for p in space.searched if p.name in names]
    for values in _walk(space, group):
        if all(name in values for name in names):
            yield tuple(values[name] for name in names)


def _walk(space: Space, group: list[Searched]) -> Iterator[dict[str, Value]]:
    """Distinct valid assignments of the group. Inactive ones are left out, so that they do not multiply."""
    inside = {p.name for p in group}
    outside = {p.name for p in space.searched} - inside
    seen: set[tuple[tuple[str, Value], ...]] = set()
    conditional = any(p.when is not None for p in group)
    for combination in itertools.product(*(p.cells or () for p in group)):
        values = dict(zip((p.name for p in group), combination, strict=True))
        decided = _decide(space, values, undecided=outside)
        kept = {name: decided[name] for name in values if name in decided}
        if conditional:
            identity = tuple((f"{name}:{type(value).__name__}", value) for name, value in kept.items())
            if identity in seen:
                continue
            seen.add(identity)
        if space.why_constrained(decided) is None:
            yield kept


def _decide(space: Space, values: Mapping[str, Value], *, undecided: set[str]) -> dict[str, Value]:
    decided: dict[str, Value] = {}
    for name in space.order:
        if name in undecided:
            continue
        parameter = space.by_name.get(name)
        parents_undecided = any(parent in undecided for parent in space.parents[name])
        if parameter is not None and parents_undecided:
            # a child whose parent is outside the projection: it counts as active
            if name in values:
                decided[name] = values[name]
        elif space.is_active(name, decided):
            if parameter is None:
                decided[name] = space.derived[name].evaluate(decided)
            else:
                decided[name] = parameter.value if isinstance(parameter, Fixed) else values[name]
    return decided


def _components(space: Space, searched: list[Searched]) -> list[list[Searched]]:
    """Groups of parameters that no condition, derived value or constraint connects with another group."""
    group_of = {p.name: {p.name} for p in searched}

    def roots(name: str) -> set[str]:
        """Searched parameters that a name depends on."""
        found = {name} if name in group_of else set()
        for parent in space.parents.get(name, ()):
            found |= roots(parent)
        return found

    def join(names: set[str]) -> None:
        merged: set[str] = set().union(*(group_of[name] for name in names))
        for name in merged:
            group_of[name] = merged

    for parameter in searched:
        join(roots(parameter.name))
    for constraint in space.constraints.values():
        if N_PARAMS in constraint.names:
            # what the user's count reads is not known: it may read everything
            join(set(group_of)) if space.n_params is not None and group_of else None
            continue
        touched = set().union(*(roots(name) for name in constraint.names)) if constraint.names else set()
        if touched:
            join(touched)
    groups: dict[int, list[Searched]] = {}
    for parameter in searched:
        groups.setdefault(id(group_of[parameter.name]), []).append(parameter)
    return list(groups.values())


def pinned(space: Space, values: Mapping[str, Value]) -> Space:
    """The space with some searched parameters fixed: one arm of a quota, one level of a comparison."""
    parameters = tuple(
        Fixed(name=p.name, value=values[p.name], when=p.when) if p.name in values and not isinstance(p, Fixed) else p
        for p in space.parameters
    )
    return replace(space, parameters=parameters)
