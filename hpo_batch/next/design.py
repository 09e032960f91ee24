"""A design in which the main effects of several factors do not depend on each other."""

from __future__ import annotations

from typing import Final

import numpy as np

MOST_FACTORS: Final = 11
# first row of the design of 12 runs: Plackett and Burman 1946, Biometrika 33(4), pages 305-325
TWELVE: Final = (1, 1, -1, 1, 1, 1, -1, -1, -1, 1, -1)


def design(factors: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Which factors are changed in which run, shape (runs, factors): main effects do not depend on each other.

    The first run changes nothing. Hadamard matrices of 4, 8 and 12 rows (Plackett and Burman).

    Args:
        factors: 1 to ``MOST_FACTORS``.
    """
    if factors <= 1:
        return np.array([[False], [True]])
    if factors <= 7:
        two = np.array([[1, 1], [1, -1]])
        whole = np.kron(two, two) if factors <= 3 else np.kron(two, np.kron(two, two))
        return np.asarray(whole[:, 1 : factors + 1] < 0)
    rows = [np.roll(TWELVE, i) for i in range(11)]
    return np.vstack([np.zeros(11, dtype=bool), np.array(rows) > 0])[:, :factors]
