"""Counts and lists the cells of a space: all combinations of values, and the valid ones.

Counts of finite spaces are exact. Groups of parameters that no condition or constraint connects are counted separately
and multiplied, so that spaces with many independent parameters need no enumeration.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from msgspec import structs

from hpo_batch.records import Configuration, Value
from hpo_batch.space.enumerate import (
    TooManySteps,
    ancestors,
    constants,
    constants_refuse,
    decidable,
    groups,
    steps,
    walk,
)
from hpo_batch.space.parameters import Choices, Fixed, Parameter
from hpo_batch.space.space import Space

MOST_WALKED = 300_000
"""largest number of cells to enumerate"""
MOST_STEPS = 600_000
"""steps after which counting gives up: a few seconds"""
MOST_STEPS_TO_NONE = 200_000
"""steps after which the search for a single valid cell gives up"""
MOST_TRIED = 2_000
"""number of combinations of values to try an expression with"""
MOST_ANCESTORS = 50
"""largest number of names an expression may depend on, to be tried: long chains would take quadratic time"""


@dataclass(frozen=True, kw_only=True)  # no Struct, because of compare=False
class Size:
    """Numbers of cells. None if infinite (a continuous parameter) or, for ``valid``, too many to enumerate."""

    all: int | None
    """product of the numbers of values, ignoring conditions and constraints"""
    count_valid: Callable[[], int | None] = field(repr=False, compare=False)

    @cached_property
    def valid(self) -> int | None:
        """Number of distinct configurations that satisfy all constraints; inactive parameters do not count.

        Computed on first use, because samplers need only ``all``, for every claim.
        """
        return self.count_valid()


def size(space: Space, names: Sequence[str] | None = None) -> Size:
    """Size of the space, or of its projection onto the parameters ``names``."""
    total = _product(space, [p.name for p in space.searched if names is None or p.name in names])
    if total is None:
        return Size(all=None, count_valid=lambda: None)
    if names is None:
        return Size(all=total, count_valid=lambda: _count_valid(space))
    return Size(all=total, count_valid=lambda: sum(1 for _ in projected_cells(space, names)))


def at_least(space: Space, cells: int) -> int | None:
    """The number of valid cells of a finite space, at most ``cells``; None if counting takes too long."""
    known = constants(space)
    if constants_refuse(space, known, space.constraints):
        return 0
    names = [name for name in space.order if name in space.varying]
    plan = steps(space, names, known, space.constraints)
    try:
        return sum(1 for _ in itertools.islice(walk(space, plan, known, most=MOST_STEPS), cells))
    except TooManySteps:
        return None


def valid_cells(space: Space) -> Iterator[Configuration]:
    """All valid configurations of a finite space, without duplicates.

    In product order, with the last parameter varying fastest; conditional parameters come after their parents.
    """
    known = constants(space)
    if constants_refuse(space, known, space.constraints):
        return
    names = [name for name in space.order if name in space.varying]
    for values in walk(space, steps(space, names, known, space.constraints), known):
        # `values` is reused by the walk, so the parts are copied
        yield Configuration(
            searched={p.name: values[p.name] for p in space.searched if p.name in values},
            fixed={p.name: values[p.name] for p in space.fixed if p.name in values},
            derived={name: values[name] for name in space.derived if name in values},
        )


def projected_cells(space: Space, names: Sequence[str]) -> Iterator[tuple[Value, ...]]:
    """The combinations of values of ``names`` that occur in valid configurations, in the order of ``names``.

    Only parameters connected with ``names`` by conditions and constraints are considered. If those cannot be enumerated
    (a continuous parameter, too many cells), a cell counts unless a constraint on ``names`` alone refuses it, and
    conditions on the others count as true. Constraints on ``n_params`` are ignored, since its function needs complete
    configurations.
    """
    known = constants(space)
    inside = {name for name in names if name in space.by_name}
    for group in groups(space, with_n_params=False):
        if inside.intersection(group.names):
            cells = _product(space, group.searched)
            if cells is not None and cells <= MOST_WALKED:
                inside.update(group.searched)
    found = decidable(space, inside, space.order)
    in_front = [name for name in dict.fromkeys(names) if name in found]
    plan = steps(space, [*in_front, *(n for n in found if n not in in_front)], known, space.constraints)
    last = max((i for i, step in enumerate(plan) if step.name in in_front), default=-1)
    seen: set[tuple[tuple[type, Value], ...]] = set()
    for values in walk(space, plan, known, back_to=last + 1):
        if all(name in values for name in names):
            cell = tuple(values[name] for name in names)
            # with types, because 1 == 1.0 == True in a set
            identity = tuple((type(value), value) for value in cell)
            if identity not in seen:
                seen.add(identity)
                yield cell


def expected_distinct(draws: int, cells: int) -> float:
    """Expected number of distinct cells in ``draws`` uniform draws from ``cells``: cells * (1 - (1 - 1 / cells) **
    draws).

    Computed with log1p and expm1, which stay accurate for many cells.
    """
    # log1p(-1) is undefined for a single cell
    return cells * -math.expm1(draws * math.log1p(-1 / cells)) if cells > 1 else float(min(draws, cells))


def never_satisfied(space: Space) -> list[str]:
    """The constraints that no configuration satisfies, each checked alone."""
    known = constants(space)
    never: list[str] = []
    for name, constraint in space.constraints.items():
        if constants_refuse(space, known, [name]) or _refused(
            space,
            ancestors(space, constraint.names) or (),
            [name],
            known,
            most=MOST_STEPS_TO_NONE // len(space.constraints),
        ):
            never.append(name)
    return never


def is_empty(space: Space) -> bool:
    """Whether no configuration is valid, whatever the values of continuous parameters."""
    known = constants(space)
    constrained = [group for group in groups(space, with_n_params=True) if group.constraints]
    return constants_refuse(space, known, space.constraints) or any(
        _refused(space, group.names, group.constraints, known, most=MOST_STEPS_TO_NONE // len(constrained))
        for group in constrained
    )


def pinned(space: Space, values: Mapping[str, Value]) -> Space:
    """The space with some searched parameters fixed to ``values``."""
    parameters = tuple(
        Fixed(name=p.name, value=values[p.name], when=p.when, before=p.before)
        if p.name in values and not isinstance(p, Fixed)
        else p
        for p in space.parameters
    )
    return replace(space, parameters=parameters)


def drawable(space: Space) -> Space:
    """The space without choices of weight 0."""
    parameters: list[Parameter] = []
    for p in space.parameters:
        if isinstance(p, Choices) and p.weights is not None:
            pairs = [(v, w) for v, w in zip(p.values, p.weights, strict=True) if w > 0]
            p = structs.replace(p, values=tuple(v for v, _ in pairs), weights=tuple(w for _, w in pairs))
        parameters.append(p)
    return replace(space, parameters=tuple(parameters))


def some_values(space: Space, names: Collection[str]) -> Iterator[Mapping[str, Value]]:
    """Combinations of values that ``names`` can have, ignoring constraints: all if they are few, else a sample.

    Yields nothing if they depend on too many names. The mapping is reused for the next combination.
    """
    line = ancestors(space, names, most=MOST_ANCESTORS)
    if line is None:
        return
    searched = [space.by_name[name] for name in line if space.is_searched(name)]
    whole = (_product(space, [p.name for p in searched]) or MOST_TRIED + 1) <= MOST_TRIED
    reduced = Space(
        parameters=tuple(_few(space.by_name[n], whole=whole) for n in line if n in space.by_name),
        derived={name: space.derived[name] for name in line if name in space.derived},
    )
    known = constants(reduced)
    plan = steps(reduced, [name for name in line if name in reduced.varying], known, ())
    for values in itertools.islice(walk(reduced, plan, known), MOST_TRIED):
        if all(name in values for name in names):
            yield values


def some_are_all(space: Space, names: Collection[str]) -> bool:
    """Whether ``some_values`` yields all combinations, and none depends on a fixed parameter."""
    line = ancestors(space, names, most=MOST_ANCESTORS)
    parameters = [space.by_name[name] for name in line or () if name in space.by_name]
    if not parameters or any(isinstance(parameter, Fixed) for parameter in parameters):
        return False
    return (_product(space, [parameter.name for parameter in parameters]) or MOST_TRIED + 1) <= MOST_TRIED


def _few(parameter: Parameter, *, whole: bool) -> Parameter:
    """The parameter, reduced to its ends and middle if it has many values."""
    if isinstance(parameter, Fixed) or whole or (parameter.count is not None and parameter.count <= 3):
        return parameter
    # ends and middle: most mistakes in an expression (division by zero, a missing case) show there
    values = tuple(dict.fromkeys((parameter.low, parameter.middle, parameter.high)))
    return Choices(name=parameter.name, values=values, ordered=True, when=parameter.when)


def _product(space: Space, names: Collection[str]) -> int | None:
    counts = [space.by_name[name].count for name in names]
    return None if None in counts else math.prod(count for count in counts if count is not None)


def _refused(
    space: Space, names: Sequence[str], constraints: Sequence[str], known: Mapping[str, Value], *, most: int
) -> bool:
    """Whether the constraints refuse all cells of the finite parameters among ``names``."""
    finite = [name for name in names if space.is_searched(name) and space.by_name[name].count is not None]
    plan = steps(space, decidable(space, finite, names, orphans=False), known, constraints)
    if not any(step.constraints for step in plan):
        return False
    try:
        return next(walk(space, plan, known, most=most), None) is None
    except TooManySteps:
        return False


def _count_valid(space: Space) -> int | None:
    known = constants(space)
    if constants_refuse(space, known, space.constraints):
        return 0
    valid = 1
    for group in groups(space, with_n_params=True):
        first = space.by_name.get(group.names[0])
        # an independent parameter: no walk needed
        if len(group.names) == 1 and not group.constraints and first is not None and first.when is None:
            valid *= first.count or 0
            continue
        plan = steps(space, group.names, known, group.constraints)
        try:
            valid *= sum(1 for _ in walk(space, plan, known, most=MOST_STEPS))
        except TooManySteps:
            return None
    return valid
