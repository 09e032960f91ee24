"""In which order parameters and derived values can be decided, so that each comes after those it depends on.

A parameter depends on the names in its ``when``; parents may be searched or fixed, and stand anywhere in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Cycle(Exception):
    """Names that depend on each other in a circle, in the order of the circle."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(" -> ".join((*names, names[0])))
        self.names = names


def decision_order(parents: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """All names so that each follows its parents; otherwise in the order given.

    Raises:
        Cycle: some names depend on each other. Parents that are not keys are ignored: they are told as unknown names.
    """
    order: list[str] = []
    placed: set[str] = set()
    remaining = {name: [p for p in its if p in parents] for name, its in parents.items()}
    while remaining:
        ready = next((name for name, its in remaining.items() if all(p in placed for p in its)), None)
        if ready is None:
            raise Cycle(_circle({name: [p for p in its if p in remaining] for name, its in remaining.items()}))
        del remaining[ready]
        placed.add(ready)
        order.append(ready)
    return tuple(order)


def _circle(blocked: Mapping[str, list[str]]) -> tuple[str, ...]:
    """Every blocked name has a blocked parent: walking up must come back to a name already seen."""
    path: list[str] = []
    name = next(iter(blocked))
    while name not in path:
        path.append(name)
        name = blocked[name][0]
    return tuple(path[path.index(name) :])
