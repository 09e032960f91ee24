"""Tasks by rule: random grids before, and after what their category does to them. No colour has a meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Cells: TypeAlias = NDArray[np.int64]
    Grid: TypeAlias = Sequence[Sequence[int]]
    Rule: TypeAlias = Callable[[Cells, int, int], Cells]

SHARE = 0.35
"""Of the cells of a grid that are coloured; the others are 0, the background."""


def _mirror(grid: Cells, variant: int, _colour: int) -> Cells:
    return grid[::-1] if variant else grid[:, ::-1]


def _grow(grid: Cells, variant: int, colour: int) -> Cells:
    """The cell below, or to the right of, each coloured one gets the task's colour, if it has none."""
    import numpy as np

    grown = grid.copy()
    grown[(grid == 0) & (np.roll(grid, 1, axis=variant) != 0)] = colour
    return grown


def _shift(grid: Cells, variant: int, _colour: int) -> Cells:
    import numpy as np

    return np.roll(grid, 1, axis=variant)


def _fall(grid: Cells, variant: int, _colour: int) -> Cells:
    """Coloured cells fall to the bottom, or to the right."""
    import numpy as np

    lines = grid if variant else grid.T
    fallen = np.stack([np.concatenate([line[line == 0], line[line != 0]]) for line in lines])
    return fallen if variant else fallen.T


def _frame(grid: Cells, _variant: int, colour: int) -> Cells:
    framed = grid.copy()
    framed[[0, -1]] = colour
    framed[:, [0, -1]] = colour
    return framed


RULES: dict[str, Rule] = {"fall": _fall, "frame": _frame, "grow": _grow, "mirror": _mirror, "shift": _shift}
"""What a category does to a grid, in one of two variants, with the task's colour."""


@lru_cache(maxsize=2)
def simulate(*, seed: int, n_tasks: int) -> tuple[Sequence[Sequence[tuple[Grid, Grid]]], Sequence[str]]:
    """Tasks of 3 to 5 pairs of grids of 4 to 7 lines and columns, and the category of each: all equally often."""
    import numpy as np

    random = np.random.default_rng(seed)
    tasks, labels = [], []
    for number in range(n_tasks):
        name = list(RULES)[number % len(RULES)]
        variant, colour = int(random.integers(2)), int(random.integers(1, 10))
        pairs = []
        for _ in range(int(random.integers(3, 6))):
            shape = random.integers(4, 8, size=2)
            before = random.integers(1, 10, size=shape) * (random.random(shape) < SHARE)
            pairs.append((before.tolist(), RULES[name](before, variant, colour).tolist()))
        tasks.append(pairs)
        labels.append(name)
    return tasks, labels
