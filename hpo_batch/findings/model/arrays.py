"""Arrays as the analysis has them, and codes: whole numbers that stand for equal things."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
"""one number for each trial, shape ``(n,)``, or one row for each, shape ``(n, columns)``"""
Ints: TypeAlias = NDArray[np.int64]
"""codes, counts, or rows of ``Data``, shape ``(n,)``"""
Bools: TypeAlias = NDArray[np.bool_]


def recoded(codes: Ints) -> tuple[Ints, Ints]:
    """Which codes, none of them negative, there are, and each one's place among them: ``np.unique`` without a sort."""
    there = np.bincount(codes) > 0
    return np.flatnonzero(there), (np.cumsum(there) - 1)[codes]


def joint(a: Ints, b: Ints) -> Ints:
    """Numbers from 0 that are equal where both of ``a`` and ``b``, which are not negative, are."""
    if not len(a):
        return a
    places: Ints = np.unique(a * (int(b.max()) + 1) + b, return_inverse=True)[1].astype(np.int64)
    return places
