"""In which order parameters and derived values can be decided, so that each comes after those it depends on.

A parameter depends on the names in its ``when``; parents may be searched or fixed, and stand anywhere in the file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping


class Cycle(Exception):
    """Names that depend on each other in circles, each in the order of its circle; there may be more behind these."""

    def __init__(self, circles: tuple[tuple[str, ...], ...]) -> None:
        super().__init__("; ".join(" -> ".join((*names, names[0])) for names in circles))
        self.circles = circles


def decision_order(parents: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """All names so that each follows its parents; otherwise in the order given.

    Raises:
        Cycle: some names depend on each other. Parents that are not keys are ignored: they are told as unknown names.
    """
    names = list(parents)
    place = {name: i for i, name in enumerate(names)}
    missing = {name: {p for p in its if p in place} for name, its in parents.items()}
    children: dict[str, list[str]] = {name: [] for name in names}
    for name, its in missing.items():
        for parent in its:
            children[parent].append(name)
    ready = [place[name] for name in names if not missing[name]]
    order: list[str] = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for child in children[name]:
            missing[child].discard(name)
            if not missing[child]:
                heapq.heappush(ready, place[child])
    if len(order) < len(names):
        raise Cycle(_circles({name: min(its, key=place.__getitem__) for name, its in missing.items() if its}))
    return tuple(order)


def _circles(blocked_by: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Every blocked name has a blocked parent: walking up must come back to a name already seen."""
    circles: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for start in blocked_by:
        path: dict[str, int] = {}
        name = start
        while name not in path and name not in seen:
            path[name] = len(path)
            name = blocked_by[name]
        seen.update(path)
        if name in path:
            circles.append(tuple(list(path)[path[name] :]))
    return tuple(circles)
