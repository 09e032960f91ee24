"""The kinds of parameter: fixed values, choices, integers and reals, with their bounds, cells and ordinal codes.

Each parameter can say which values it takes, what the ends and the middle are, and bring a value given by hand into
its own type. Conditions are stored here as expressions; ``conditions`` decides when they hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from hpo_batch.expressions import Expression
from hpo_batch.records import Value


def same(a: Value, b: Value) -> bool:
    """Equality of values of one parameter: ``1``, ``1.0`` and ``true`` are three values, unlike in Python."""
    return type(a) is type(b) and a == b


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """One value, not searched."""

    name: str
    value: Value
    when: Expression | None = None

    @property
    def cells(self) -> tuple[Value, ...]:
        return (self.value,)

    def normalise(self, value: Value) -> Value:
        if isinstance(self.value, float) and is_number(value):
            return float(value)
        return value

    def why_outside(self, value: Value) -> str | None:
        return None if same(self.normalise(value), self.value) else f"is fixed to {self.value!r}"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """One of several listed values. Ordered if they are numbers, or if said so."""

    name: str
    values: tuple[Value, ...]
    ordered: bool
    weights: tuple[float, ...] | None = None
    """shares of started trials, one for each choice"""
    when: Expression | None = None

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
        """The listed value that is equal as a number (``128.0`` finds ``128``); another value is returned as it is."""
        for listed in self.values:
            if same(listed, value):
                return listed
        for listed in self.values:
            if is_number(listed) and is_number(value) and listed == value:
                return listed
        return value

    def why_outside(self, value: Value) -> str | None:
        value = self.normalise(value)
        if any(same(value, listed) for listed in self.values):
            return None
        return "is not one of " + ", ".join(repr(listed) for listed in self.values)


@dataclass(frozen=True, kw_only=True)
class Integer:
    """Whole numbers from ``low`` to ``high``, both included, ``step`` apart."""

    name: str
    low: int
    high: int
    step: int = 1
    log: bool = False
    limits: tuple[int, int] | None = None
    """``refine`` never goes beyond these"""
    when: Expression | None = None

    ordered = True
    weights = None

    @property
    def cells(self) -> tuple[Value, ...] | None:
        if (self.high - self.low) // self.step >= MOST_CELLS:
            return None
        return tuple(range(self.low, self.high + 1, self.step))

    @property
    def middle(self) -> int:
        if self.log:
            return min(self.high, max(self.low, round(math.sqrt(self.low * self.high))))
        return self.low + (self.high - self.low) // self.step // 2 * self.step

    def normalise(self, value: Value) -> Value:
        return int(value) if is_number(value) and float(value) == int(value) else value

    def why_outside(self, value: Value) -> str | None:
        value = self.normalise(value)
        if not isinstance(value, int) or isinstance(value, bool):
            return "is not an integer"
        if not self.low <= value <= self.high:
            return f"is not between {self.low} and {self.high}"
        return None if (value - self.low) % self.step == 0 else f"is not a multiple of {self.step} above {self.low}"


@dataclass(frozen=True, kw_only=True)
class Real:
    """Real numbers from ``low`` to ``high``, both included; with ``step`` a finite set of them."""

    name: str
    low: float
    high: float
    step: float | None = None
    log: bool = False
    limits: tuple[float, float] | None = None
    when: Expression | None = None

    ordered = True
    weights = None

    @property
    def cells(self) -> tuple[Value, ...] | None:
        """None for a continuous parameter."""
        if self.low == self.high:
            return (self.low,)
        if self.step is None or round((self.high - self.low) / self.step) >= MOST_CELLS:
            return None
        count = round((self.high - self.low) / self.step) + 1
        return tuple(self._grid(i) for i in range(count))

    @property
    def middle(self) -> float:
        if self.step is not None:
            return self._grid(round((self.high - self.low) / self.step) // 2)
        return math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2

    def _grid(self, index: int) -> float:
        # 0.1 + 2 * 0.05 is 0.2 and not 0.20000000000000001: the text of a value is part of its identity
        assert self.step is not None
        return min(float(f"{self.low + index * self.step:.12g}"), self.high)

    def normalise(self, value: Value) -> Value:
        if not is_number(value):
            return value
        number = float(value)
        if self.step is not None and self.low <= number <= self.high:
            on_grid = self._grid(round((number - self.low) / self.step))
            if math.isclose(on_grid, number, rel_tol=1e-9, abs_tol=1e-12):
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

MOST_CELLS = 1_000_000
"""a parameter with more values than this is treated as continuous: its cells are not listed"""
