"""In which order parameters and derived values can be decided, so that each comes after those it depends on.

A parameter depends on the names in its ``when``; parents may be searched or fixed, and stand anywhere in the file.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter


class Cycle(Exception):
    """Names that depend on each other, one tuple for each cycle; more cycles may show when these are resolved."""

    def __init__(self, cycles: tuple[tuple[str, ...], ...]) -> None:
        super().__init__("; ".join(" -> ".join((*names, names[0])) for names in cycles))
        self.cycles = cycles


def decision_order(parents: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """All names so that each follows its parents, and otherwise in the order given.

    Args:
        parents: the names that each name depends on; those that are not keys are ignored, since unknown names have a
            message of their own.

    Raises:
        Cycle: some names depend on each other.
    """
    names = list(parents)
    index = {name: i for i, name in enumerate(names)}
    known = {name: {parent for parent in its if parent in index} for name, its in parents.items()}
    sorter = TopologicalSorter(known)
    # after a CycleError the sorter still gives what does not depend on a cycle:
    # https://docs.python.org/3/library/graphlib.html#graphlib.TopologicalSorter.prepare
    with contextlib.suppress(CycleError):
        sorter.prepare()
    order: list[str] = []
    ready: list[int] = []
    while sorter.is_active():
        for name in sorter.get_ready():
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
    """All cycles at once, where graphlib names one: every blocked name has a blocked parent, so walking up the parents
    must come back to a name seen before."""
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
