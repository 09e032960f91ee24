"""Values that are all multiples of 1/80 are shares of 80 cases, whether or not somebody says so."""

from __future__ import annotations

from typing import Final

import numpy as np

from hpo_batch.findings.model.arrays import Floats, Ints

MOST_CASES: Final = 20_000
LEAST_VALUES: Final = 5
"""different values, below which many grids fit"""
MOST_VALUES: Final = 200
"""different values that are looked at"""
BY_ACCIDENT: Final = 1e-6
"""chance that values from anywhere lie on some grid as coarse as this, below which they are taken to have one"""
SINGLE: Final = 1e-7
"""how far a share in single precision lies from its grid"""
MOST_DECIMALS: Final = 6
"""a value with more digits was not rounded"""


def cases_by_grid(shares: Floats) -> int | None:
    """The smallest number of cases of which all these values are shares; None if they lie on no such grid.

    Values that were written with d decimals lie on the grid of 10 to the d anyway: a power of ten is no number of
    cases, and a grid must be so much coarser than the digits that no accident puts all values on it.

    Args:
        shares: between 0 and 1, or rounded to a few decimals; shape (n,).
    """
    different = np.unique(shares[(shares > 0) & (shares < 1)])
    if len(different) < LEAST_VALUES:
        return None
    if len(different) > MOST_VALUES:
        different = different[np.linspace(0, len(different) - 1, MOST_VALUES).round().astype(np.int64)]
    decimals = _decimals(different)
    exact = None if decimals is None else _exact_grid(different, decimals)
    if exact is not None:
        return exact
    near = SINGLE if decimals is None else 0.5 * 10.0**-decimals
    fits = np.array([], dtype=np.int64)
    accident = 0.0
    for start in range(2, MOST_CASES + 1, 1000):
        cases = np.arange(start, min(start + 1000, MOST_CASES + 1), dtype=np.float64)
        chances = np.minimum(1.0, 4 * near * cases) ** len(different)
        places = np.round(different[:, None] * cases)
        away = np.abs(different[:, None] * cases - places)
        # values between 0 and 1 that lie at an end, or all at a few places, are close together and on no grid
        apart = (places > 0).all(axis=0) & (places < cases).all(axis=0) & (_count_different(places) >= LEAST_VALUES)
        fits = np.flatnonzero((away <= near * cases * (1 + 1e-6) + 1e-9).all(axis=0) & apart)
        if len(fits):
            accident += float(chances[: fits[0] + 1].sum())
            found = int(cases[fits[0]])
            return found if accident < BY_ACCIDENT and not _is_power_of_ten(found) else None
        accident += float(chances.sum())
        if accident >= BY_ACCIDENT:
            return None
    return None


def _count_different(places: Floats) -> Ints:
    """How many different numbers each column has; the rows are sorted."""
    return np.asarray(1 + np.count_nonzero(np.diff(places, axis=0), axis=0), dtype=np.int64)


def _exact_grid(values: Floats, decimals: int) -> int | None:
    """The smallest number of cases whose shares need no more than these decimals and that all values are shares of.

    1/5000 is 0.0002: values with four decimals that are all even lie on its grid to the last digit, though rounding to
    four decimals alone would let half of all numbers look as if they did.
    """
    whole = 10**decimals
    digits = np.round(values * whole).astype(np.int64)
    accident = 0.0
    divisors = {2**i * 5**j for i in range(decimals + 1) for j in range(decimals + 1)}
    for cases in sorted(divisors - {1, whole}):
        accident += (cases / whole) ** len(values)
        if cases > MOST_CASES or accident >= BY_ACCIDENT:
            return None
        if not (digits % (whole // cases)).any():
            return None if _is_power_of_ten(cases) else cases
    return None


def _decimals(values: Floats) -> int | None:
    """Digits after the point that all values do with; None if they have more than a person would write."""
    for decimals in range(1, MOST_DECIMALS + 1):
        if np.abs(values - np.round(values, decimals)).max() < 1e-12:
            return decimals
    return None


def _is_power_of_ten(number: int) -> bool:
    while number % 10 == 0:
        number //= 10
    return number == 1
