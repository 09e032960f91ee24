"""Enumerates the cells of a space by depth-first search, backtracking at the first broken constraint.

Names that depend on nothing searched are constants; the others fall into independent ``groups``. ``steps`` plans a walk
through some of the names, and ``walk`` runs it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from hpo_batch.records import Value
from hpo_batch.space.conditions import decision_order
from hpo_batch.space.space import N_PARAMS, Space


class TooManySteps(Exception):
    """A walk exceeded its limit of steps."""


class Group(Struct, frozen=True, kw_only=True):
    """Names connected by conditions, derived values or constraints, and those constraints."""

    names: tuple[str, ...]
    """in decision order"""
    searched: tuple[str, ...]
    constraints: tuple[str, ...]


class Step(Struct, frozen=True, kw_only=True):
    """The next name to decide, and the constraints that can be checked afterwards."""

    name: str
    always: bool
    """treat as active, because a parent is not part of the walk"""
    constraints: tuple[str, ...]


def constants(space: Space) -> dict[str, Value]:
    """The values that are the same in all configurations, without those that are always inactive.

    Raises:
        ExpressionError: one of them cannot be computed.
    """
    known: dict[str, Value] = {}
    for name in space.order:
        if name not in space.varying:
            known.update((name, value) for value in next(_options(space, name, known)))
    return known


def constants_refuse(space: Space, known: Mapping[str, Value], constraints: Iterable[str]) -> bool:
    """Whether the constants ``known`` alone break one of ``constraints``."""
    judged = [n for n in constraints if not (N_PARAMS in space.constraints[n].names and space.varying)]
    return any(space.why_broken(name, known) is not None for name in judged)


def ancestors(space: Space, names: Iterable[str], *, most: int | None = None) -> tuple[str, ...] | None:
    """The names and everything they depend on, parents first; None if there are more than ``most``."""
    family: set[str] = set()
    todo = [name for name in names if name in space.parents]
    while todo:
        name = todo.pop()
        if name not in family:
            family.add(name)
            if most is not None and len(family) > most:
                return None
            todo += [parent for parent in space.parents[name] if parent in space.parents]
    return decision_order({name: space.parents[name] for name in sorted(family)})


def groups(space: Space, *, with_n_params: bool) -> list[Group]:
    """The varying names, split into independent groups.

    A constraint on ``n_params`` connects all names, because the user's function may read any of them.
    """
    vary = tuple(name for name in space.order if name in space.varying)
    connected = _UnionFind(vary)
    for name in vary:
        connected.join((name, *space.parents[name]))
    constrained: dict[str, Collection[str]] = {}
    for name, constraint in space.constraints.items():
        if N_PARAMS not in constraint.names:
            constrained[name] = sorted(constraint.names.intersection(vary))
        elif with_n_params and space.n_params is not None:
            constrained[name] = vary
    for names in constrained.values():
        connected.join(names)
    members: dict[str, list[str]] = {}
    for name in vary:
        members.setdefault(connected.find(name), []).append(name)
    constraints: dict[str, list[str]] = {}
    for name, names in constrained.items():
        if names:
            constraints.setdefault(connected.find(next(iter(names))), []).append(name)
    return [
        Group(
            names=tuple(names),
            searched=tuple(name for name in names if space.is_searched(name)),
            constraints=tuple(constraints.get(first, ())),
        )
        for first, names in members.items()
    ]


class _UnionFind:
    """Disjoint sets of names (union-find, with path halving)."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def find(self, name: str) -> str:
        """The representative of a name's set."""
        while self._parent[name] != name:
            # path halving
            self._parent[name] = self._parent[self._parent[name]]
            name = self._parent[name]
        return name

    def join(self, names: Iterable[str]) -> None:
        """Merge the sets of these names; unknown names are ignored."""
        roots = [self.find(name) for name in names if name in self._parent]
        for other in roots[1:]:
            self._parent[other] = roots[0]


def decidable(space: Space, inside: Collection[str], among: Iterable[str], *, orphans: bool = True) -> list[str]:
    """The varying names that can be decided if only the searched parameters ``inside`` are.

    Args:
        space: of the names.
        inside: searched parameters with values.
        among: the names to consider, in decision order.
        orphans: include those of ``inside`` whose parent is undecided.
    """
    undecided: set[str] = set()
    decided: list[str] = []
    for name in among:
        is_orphan = not undecided.isdisjoint(space.parents[name])
        is_inside = name in inside
        follows = (is_inside or not space.is_searched(name)) and (not is_orphan or (is_inside and orphans))
        if not follows:
            undecided.add(name)
        elif name in space.varying:
            decided.append(name)
    return decided


def steps(space: Space, names: Sequence[str], known: Mapping[str, Value], constraints: Iterable[str]) -> list[Step]:
    """Plan a walk through ``names``, in their order as far as dependencies allow.

    Constraints with names that are neither in the walk nor ``known`` are left out.
    """
    order = decision_order({name: space.parents[name] for name in names})
    place = {name: i for i, name in enumerate(order)}
    judged: list[list[str]] = [[] for _ in order]
    for name in constraints:
        needed = space.constraints[name].names
        if N_PARAMS in needed and order and all(p.name in place for p in space.searched):
            judged[-1].append(name)
        elif needed & place.keys() and all(n in place or n in known for n in needed):
            judged[max(place[n] for n in needed if n in place)].append(name)
    return [
        Step(
            name=name,
            always=name in space.by_name and any(p in space.varying and p not in place for p in space.parents[name]),
            constraints=tuple(judged[place[name]]),
        )
        for name in order
    ]


def walk(
    space: Space,
    plan: Sequence[Step],
    known: Mapping[str, Value],
    *,
    most: int | None = None,
    back_to: int | None = None,
) -> Iterator[Mapping[str, Value]]:
    """Yield every cell that satisfies the constraints of ``plan``, as values by active name, including ``known``.

    Every cell is the same mapping object, modified in place.

    Args:
        space: of the names.
        plan: the names to decide, in order.
        known: values of the constants.
        most: limit on the number of steps.
        back_to: yield one cell per combination of the first ``back_to`` names.

    Raises:
        TooManySteps: there are more than ``most``.
    """
    if not plan:
        yield known
        return
    decided = dict(known)
    open_steps = [_options(space, plan[0].name, decided, always=plan[0].always)]
    taken = 0
    while open_steps:
        step = plan[len(open_steps) - 1]
        decided.pop(step.name, None)
        option = next(open_steps[-1], None)
        if option is None:
            open_steps.pop()
            continue
        taken += 1
        if most is not None and taken > most:
            raise TooManySteps
        for value in option:
            decided[step.name] = value
        # prune: no value of the later names can repair a broken constraint
        if any(space.why_broken(name, decided) is not None for name in step.constraints):
            continue
        if len(open_steps) < len(plan):
            following = plan[len(open_steps)]
            open_steps.append(_options(space, following.name, decided, always=following.always))
            continue
        yield decided
        if back_to is not None:
            for later in plan[back_to:]:
                decided.pop(later.name, None)
            # skip other combinations of the later names
            del open_steps[max(back_to, 1) :]


def _options(
    space: Space, name: str, decided: Mapping[str, Value], *, always: bool = False
) -> Iterator[tuple[Value, ...]]:
    """The possible values of ``name``, as 1-tuples; an empty tuple if it is inactive."""
    if not always and not space.is_active(name, decided):
        return iter(((),))
    if name in space.derived:
        return iter(((space.derived[name].evaluate(decided),),))
    return zip(space.by_name[name].cells or ())
