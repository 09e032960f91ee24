"""Orders parameters and derived values so that each comes after those it depends on (the names in its ``when``)."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter


class Cycle(Exception):
    """Some names depend on each other. Has one tuple per cycle; resolving them may reveal more cycles."""

    def __init__(self, cycles: tuple[tuple[str, ...], ...]) -> None:
        super().__init__("; ".join(" -> ".join((*names, names[0])) for names in cycles))
        self.cycles = cycles


def decision_order(parents: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Sort names topologically, keeping the given order where possible.

    Args:
        parents: the names that each name depends on. Unknown names are ignored; they are reported elsewhere.

    Raises:
        Cycle: some names depend on each other.
    """
    names = list(parents)
    index = {name: i for i, name in enumerate(names)}
    known = {name: {parent for parent in its if parent in index} for name, its in parents.items()}
    sorter = TopologicalSorter(known)
    # after a CycleError the sorter still returns the nodes that do not depend on a cycle:
    # https://docs.python.org/3/library/graphlib.html#graphlib.TopologicalSorter.prepare
    with contextlib.suppress(CycleError):
        sorter.prepare()
    order: list[str] = []
    ready: list[int] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            # a heap instead of static_order(), which does not keep the given order
            heapq.heappush(ready, index[name])
        name = names[heapq.heappop(ready)]
        order.append(name)
        sorter.done(name)
    if len(order) == len(names):
        return tuple(order)
    ordered = set(order)
    blocked = {name: its - ordered for name, its in known.items() if name not in ordered}
    raise Cycle(_cycles({name: min(its, key=index.__getitem__) for name, its in blocked.items()}))


def _cycles(blocked_by: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """All cycles, while graphlib reports only one. Every blocked name has a blocked parent, so following the parents
    leads back to a name seen before."""
    cycles: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for start in blocked_by:
        path: dict[str, int] = {}
        name = start
        while name not in path and name not in seen:
            path[name] = len(path)
            name = blocked_by[name]
        seen.update(path)
        if name in path:
            cycles.append(tuple(list(path)[path[name] :]))
    return tuple(cycles)
