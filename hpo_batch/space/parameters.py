"""The kinds of parameters: fixed values, choices, integers and reals.

Each has a range, a middle and cells, and converts values to its own type. ``Space`` evaluates the conditions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property
from typing import TypeAlias

from msgspec import Struct

from hpo_batch.expressions import Expression
from hpo_batch.records import Value, is_number

MOST_CELLS = 1_000_000
"""a parameter with more values counts as continuous"""


def same(a: Value, b: Value) -> bool:
    """Equality of values and types: ``1``, ``1.0`` and ``true`` differ, unlike in Python."""
    return type(a) is type(b) and a == b


def in_kind_of(values: Sequence[Value], value: Value) -> Value:
    """Convert a number to the type of all ``values``: ``128.0`` among integers to ``128``, ``1`` among reals to
    ``1.0``."""
    if is_number(value) and all(type(other) is int for other in values):
        return _whole(value)
    if is_number(value) and all(type(other) is float for other in values):
        return _real(value)
    return value


def _whole(value: Value) -> Value:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _real(value: Value) -> float:
    # -0.0 + 0.0 is 0.0, so both zeros are the same configuration
    return float(value) + 0.0


class _Named(Struct, frozen=True, kw_only=True):
    """The fields common to all kinds of parameters."""

    name: str
    when: Expression | None = None
    """condition under which the parameter is active; None: always"""
    before: Value | None = None
    """value assumed for trials from before the parameter was added; None: unknown"""


class Fixed(_Named, frozen=True, kw_only=True):
    """One value, not searched."""

    value: Value

    @property
    def count(self) -> int:
        return 1

    @property
    def cells(self) -> tuple[Value, ...]:
        return (self.value,)

    def normalise(self, value: Value) -> Value:
        return in_kind_of((self.value,), value)

    def why_outside(self, value: Value) -> str | None:
        return None if same(self.normalise(value), self.value) else f"is fixed to {self.value!r}"


class Choices(_Named, frozen=True, kw_only=True, dict=True):
    """One of several listed values."""

    values: tuple[Value, ...]
    ordered: bool
    """whether the values have an order: numbers do, others if the sweep declares it"""
    weights: tuple[float, ...] | None = None
    """relative share of trials per choice"""
    limits: tuple[Value, ...] | None = None
    """all values that ``refine`` may list, in their order; None: it goes on as the last two values do"""

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def cells(self) -> tuple[Value, ...]:
        return self.values

    @cached_property
    def in_order(self) -> tuple[Value, ...]:
        """Numbers by size, others as listed."""
        if all(is_number(value) for value in self.values):
            return tuple(sorted(self.values, key=float))
        return self.values

    @property
    def low(self) -> Value:
        return self.in_order[0]

    @property
    def high(self) -> Value:
        return self.in_order[-1]

    @property
    def middle(self) -> Value:
        return self.in_order[(len(self.in_order) - 1) // 2]

    def normalise(self, value: Value) -> Value:
        """The listed value equal to ``value`` as a number (``128.0`` gives ``128``), else ``value`` in their type."""
        if (type(value), value) in self._listed:
            return value
        if is_number(value):
            for kind in (int, float):
                if (kind, value) in self._listed:
                    return kind(value)
        return in_kind_of(self.values, value)

    @cached_property
    def _listed(self) -> frozenset[tuple[type, Value]]:
        return frozenset((type(value), value) for value in self.values)

    def why_outside(self, value: Value) -> str | None:
        value = self.normalise(value)
        if (type(value), value) in self._listed:
            return None
        return "is not one of " + ", ".join(repr(listed) for listed in self.values)


class _Range(_Named, frozen=True, kw_only=True):
    """The fields common to integers and reals."""

    log: bool = False

    ordered = True
    weights = None


class Integer(_Range, frozen=True, kw_only=True, dict=True):
    """Integers from ``low`` to ``high`` inclusive, in steps."""

    low: int
    high: int
    step: int = 1
    limits: tuple[int, int] | None = None
    """``refine`` never goes beyond these"""

    @property
    def count(self) -> int | None:
        """Number of cells; None if there are too many to list."""
        count = (self.high - self.low) // self.step + 1
        return count if count <= MOST_CELLS else None

    @cached_property
    def cells(self) -> tuple[Value, ...] | None:
        return None if self.count is None else tuple(range(self.low, self.high + 1, self.step))

    @property
    def middle(self) -> int:
        if self.log:
            # geometric mean; rounding may leave a narrow range
            return min(self.high, max(self.low, round(math.sqrt(self.low * self.high))))
        return self.low + (self.high - self.low) // self.step // 2 * self.step

    def normalise(self, value: Value) -> Value:
        return _whole(value)

    def why_outside(self, value: Value) -> str | None:
        value = self.normalise(value)
        if not isinstance(value, int) or isinstance(value, bool):
            return "is not an integer"
        if not self.low <= value <= self.high:
            return f"is not between {self.low} and {self.high}"
        return None if (value - self.low) % self.step == 0 else f"is not a multiple of {self.step} above {self.low}"


class Real(_Range, frozen=True, kw_only=True, dict=True):
    """Real numbers from ``low`` to ``high`` inclusive; with ``step``, a finite set."""

    low: float
    high: float
    step: float | None = None
    limits: tuple[float, float] | None = None
    """``refine`` never goes beyond these"""

    @property
    def count(self) -> int | None:
        """Number of cells; None if continuous, or if there are too many to list."""
        if self.low == self.high:
            return 1
        return None if self.step is None or self._last >= MOST_CELLS else self._last + 1

    @cached_property
    def cells(self) -> tuple[Value, ...] | None:
        return None if self.count is None else tuple(self._grid(i) for i in range(self.count))

    @property
    def middle(self) -> float:
        if self.step is not None:
            return self._grid(self._last // 2)
        if not self.log:
            # halves first: the sum of two large floats may overflow
            return self.low / 2 + self.high / 2
        middle = math.sqrt(self.low * self.high)
        # the product may underflow or overflow
        return middle if self.low <= middle <= self.high else math.sqrt(self.low) * math.sqrt(self.high)

    @cached_property
    def _last(self) -> int:
        """Index of the last cell of a range with a step."""
        assert self.step is not None
        return round(steps_between(self.low, self.high, self.step))

    def _grid(self, index: int) -> float:
        # in decimal: 0.1 + 2 * 0.05 must be exactly 0.2, because the digits of a value are part of its identity
        if self.step is None or index >= self._last:
            return self.high
        value = self._computed.get(index)
        if value is None:
            value = self._computed[index] = float(Decimal(repr(self.low)) + index * Decimal(repr(self.step)))
        return value

    @cached_property
    def _computed(self) -> dict[int, float]:
        """Cache of cells: each drawn value is looked up several times."""
        return {}

    def normalise(self, value: Value) -> Value:
        if not is_number(value):
            return value
        number = _real(value)
        if self.step is not None and self.low - self.step < number < self.high + self.step:
            on_grid = self._grid(max(0, round((number - self.low) / self.step)))
            # a sampler's arithmetic may be off in the last digits; anything further away is another value
            noise = 4 * math.ulp(max(abs(self.low), abs(self.high)))
            if abs(on_grid - number) <= max(1e-6 * self.step, noise):
                return on_grid
        return number

    def why_outside(self, value: Value) -> str | None:
        value = self.normalise(value)
        if not isinstance(value, float) or not math.isfinite(value):
            return "is not a finite number"
        if not self.low <= value <= self.high:
            return f"is not between {self.low!r} and {self.high!r}"
        if self.step is not None and value != self._grid(round((value - self.low) / self.step)):
            return f"is not on the grid of step {self.step!r} from {self.low!r}"
        return None


Searched: TypeAlias = Choices | Integer | Real
Parameter: TypeAlias = Fixed | Choices | Integer | Real


def steps_between(low: float, high: float, step: float) -> Decimal:
    """Number of steps between two values, in decimal arithmetic: from 0 to 0.3 there are exactly three steps of 0.1."""
    return (Decimal(repr(high)) - Decimal(repr(low))) / Decimal(repr(step))
