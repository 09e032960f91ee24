"""Orders the cells of a grid so that every prefix contains all levels of all parameters as evenly as possible.

In product order, a grid that stops early never reaches the last levels of its first parameter.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from hpo_batch.records import Configuration

Level: TypeAlias = tuple[str, str]
"""name of a parameter, and ``repr`` of one of its values"""
MOST_COMPARED = 20_000_000
"""limit on comparisons for a whole order: a few seconds"""
FEWEST_COMPARED = 16
"""comparisons per position, at least"""
MOST_COMPARED_AT_ONCE = 512


def levels_of(configuration: Configuration) -> list[Level]:
    return [(name, repr(value)) for name, value in configuration.searched.items()]


def evenly(
    cells: Sequence[Configuration], *, seed: int, taken: Iterable[Configuration] = ()
) -> Iterator[Configuration]:
    """Yield all ``cells``, each time one whose levels have been rarest so far.

    Args:
        cells: the cells, without duplicates.
        seed: for ties.
        taken: configurations that count as yielded before.
    """
    rng = random.Random(seed)
    order = _Order(cells, rng)
    for configuration in taken:
        order.count(configuration)
    compared = min(MOST_COMPARED_AT_ONCE, max(FEWEST_COMPARED, MOST_COMPARED // max(1, len(cells))))
    while (index := order.next(compared)) is not None:
        yield cells[index]


class _Order:
    """The remaining cells by level, and how often each level was taken."""

    def __init__(self, cells: Sequence[Configuration], rng: random.Random) -> None:
        self._rng = rng
        self._levels = [levels_of(cell) for cell in cells]
        self._index_of = {cell.key: i for i, cell in enumerate(cells)}
        self._left = [True] * len(cells)
        self._with: dict[Level, list[int]] = {}
        for i, levels in enumerate(self._levels):
            for level in levels:
                self._with.setdefault(level, []).append(i)
        self._remaining = {level: len(indices) for level, indices in self._with.items()}
        self._taken = dict.fromkeys(self._with, 0)
        self._of_name: dict[str, int] = {}
        for name, _ in self._with:
            self._of_name[name] = self._of_name.get(name, 0) + 1

    def count(self, configuration: Configuration) -> None:
        """Count a configuration as taken, whether it is one of the cells or not."""
        index = self._index_of.get(configuration.key)
        if index is not None:
            self._take(index)
            return
        for level in levels_of(configuration):
            if level in self._taken:
                self._taken[level] += 1

    def next(self, compared: int) -> int | None:
        open_levels = [level for level, count in self._remaining.items() if count]
        if not open_levels:
            # cells without a searched parameter have no level
            index = next((i for i, left in enumerate(self._left) if left), None)
        else:
            # greedy: the cell is chosen among those with the rarest level, by its number of new levels, then by their
            # counts
            rarest = min(open_levels, key=lambda level: (self._weight(level), self._remaining[level]))
            pool = self._some_with(rarest, compared)
            # random ties, or the first parameter would change slowest
            index = min(pool, key=lambda i: (*self._cost(i), self._rng.random()))
        if index is not None:
            self._take(index)
        return index

    def _weight(self, level: Level) -> int:
        """Count of a level, scaled by the number of levels: each of two should be taken twice as often as each of
        four."""
        return self._taken[level] * self._of_name[level[0]]

    def _cost(self, index: int) -> tuple[int, int]:
        levels = self._levels[index]
        new = sum(self._taken[level] == 0 for level in levels)
        return -new, sum(map(self._weight, levels))

    def _some_with(self, level: Level, most: int) -> list[int]:
        indices = self._with[level]
        # drop taken cells once they are the majority, which amortizes the filtering
        if len(indices) > 2 * self._remaining[level]:
            indices = self._with[level] = [i for i in indices if self._left[i]]
        if len(indices) <= most:
            return [i for i in indices if self._left[i]]
        found = [i for i in self._rng.sample(indices, most) if self._left[i]]
        return found or [i for i in indices if self._left[i]][:most]

    def _take(self, index: int) -> None:
        if self._left[index]:
            self._left[index] = False
            for level in self._levels[index]:
                self._taken[level] += 1
                self._remaining[level] -= 1
