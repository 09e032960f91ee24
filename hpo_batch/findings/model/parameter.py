"""One parameter over the trials of a study: its values as codes, and where each lies on the parameter's own scale."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hpo_batch.expressions import Expression
from hpo_batch.findings.model.arrays import Bools, Floats, Ints
from hpo_batch.findings.model.cells import cells_of, value_in
from hpo_batch.records import Value, is_number
from hpo_batch.space.parameters import Choices, Fixed, Parameter, Real
from hpo_batch.space.space import Space

MOST_LEVELS = 5
"""a number with more values than this is a curve: a mean for each would rest on too few trials"""
LOG_SPAN = 10.0
"""choices and unknown ranges of positive numbers that span a decade are coded by their logarithm"""


@dataclass(frozen=True, kw_only=True, eq=False)
class ParamInfo:
    """One parameter over the complete trials."""

    name: str
    levels: tuple[Value, ...]
    """the distinct values seen: numbers by size, choices as listed"""
    codes: Ints
    """index into ``levels`` for each trial; -1 where not active"""
    numeric: bool
    ordered: bool
    """numbers, or choices that the sweep calls ordered"""
    log: bool
    bounds: tuple[Value, Value] | None
    """lowest and highest value of the space, or of what was seen if there is no space; None if not ordered"""
    when: Expression | None = None
    """under which condition the space has it"""

    def value(self, row: int) -> Value | None:
        """Of one trial; None where the parameter is not active."""
        code = int(self.codes[row])
        return self.levels[code] if code >= 0 else None

    @property
    def varied(self) -> bool:
        return len(self.levels) > 1

    @cached_property
    def numbers(self) -> Floats:
        """Each trial's value as it is; NaN where not active. Of numbers only."""
        if not self.levels:
            return np.full(len(self.codes), np.nan)
        levels = np.array([float(value) for value in self.levels], dtype=np.float64)
        return np.where(self.active, levels[self.codes], np.nan)

    @cached_property
    def active(self) -> Bools:
        return self.codes >= 0

    def active_among(self, rows: Ints) -> Ints:
        """Those of these rows in which the parameter is active."""
        return rows[self.active[rows]]

    @property
    def conditional(self) -> bool:
        return not bool(self.active.all())

    @property
    def kind(self) -> str:
        """``levels`` (few values, or no order among them) or ``continuous``."""
        return "continuous" if self.ordered and len(self.levels) > MOST_LEVELS else "levels"

    @cached_property
    def level_positions(self) -> Floats:
        """Each level on the parameter's own scale: the number, its logarithm, or its place in the order."""
        return np.array([self.position(value) for value in self.levels], dtype=np.float64)

    @cached_property
    def positions(self) -> Floats:
        """Each trial's value on that scale; NaN where not active."""
        if not self.levels:
            return np.full(len(self.codes), np.nan)
        return np.where(self.active, self.level_positions[self.codes], np.nan)

    def position(self, value: Value) -> float:
        """Where a value lies on the scale. A zero among positive numbers lies a decade below the smallest of them."""
        if not self.numeric:
            return float(self.place(value))
        number = float(value)
        if not self.log:
            return number
        return math.log10(number) if number > 0 else math.log10(self._smallest) - 1.0

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest place on the scale: of the space, or of what was seen where that reaches further.

        Of an ordered category the places of what was seen: a value that nobody tried has none.
        """
        seen = self.level_positions
        known = [self.position(value) for value in self.bounds or ()] if self.numeric else []
        return min(float(seen.min()), *known, math.inf), max(float(seen.max()), *known, -math.inf)

    def label(self, value: Value) -> str:
        """The value as text, by which levels can be told apart: ``1`` and ``"1"`` are two."""
        text = value_text(value)
        if not isinstance(value, str) or self._texts[text] < 2:
            return text
        return json.dumps(value, ensure_ascii=False)

    def place(self, value: Value) -> int:
        """Index into ``levels``."""
        return self._place[type(value), value]

    @cached_property
    def _texts(self) -> Counter[str]:
        return Counter(value_text(value) for value in self.levels)

    @cached_property
    def _place(self) -> Mapping[tuple[type, Value], int]:
        return {(type(value), value): i for i, value in enumerate(self.levels)}

    @cached_property
    def _smallest(self) -> float:
        return min((float(value) for value in self.levels if float(value) > 0), default=1.0)


def value_text(value: Value) -> str:
    """As a TOML file would have it, without quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def parameter(name: str, column: pd.Series[Any], kept: Ints, space: Space | None) -> ParamInfo:
    known = space.by_name.get(name) if space is not None else None
    different, places = _distinct(column, kept)
    if column.dtype == np.float64 and (known is None or (isinstance(known, Real) and known.step is None)):
        levels: tuple[Value, ...] = tuple(different)  # reals by size already: a value for each trial, most often
        return ParamInfo(
            name=name,
            levels=levels,
            codes=places,
            numeric=bool(levels),
            ordered=bool(levels),
            log=bool(levels) and _log_scale(known, levels),
            bounds=_bounds(known, levels) if levels else None,
            when=known.when if known is not None else None,
        )
    if known is not None:
        different = [known.normalise(value) for value in different]
    seen = {(type(value), value): value for value in different}
    numeric = bool(seen) and all(is_number(value) for value in seen.values())
    listed = known.values if isinstance(known, Choices) else ()
    place = {(type(value), value): i for i, value in enumerate(listed)}
    levels = tuple(
        sorted(seen.values(), key=float)
        if numeric
        else sorted(seen.values(), key=lambda v: (place.get((type(v), v), len(place)), type(v).__name__, str(v)))
    )
    codes = {(type(value), value): i for i, value in enumerate(levels)}
    ordered = numeric or (isinstance(known, Choices) and known.ordered)
    code_of = np.array([*(codes[type(value), value] for value in different), -1], dtype=np.int64)
    return ParamInfo(
        name=name,
        levels=levels,
        codes=code_of[places],
        numeric=numeric,
        ordered=ordered,
        log=numeric and _log_scale(known, levels),
        bounds=_bounds(known, levels) if ordered else None,
        when=known.when if known is not None else None,
    )


def _distinct(column: pd.Series[Any], kept: Ints) -> tuple[list[Value], Ints]:
    """The different values in these rows, and for each row the place of its value among them; -1 where it is empty."""
    if column.dtype == np.float64:
        cells = column.to_numpy()[kept] + 0.0
        there = np.isfinite(cells)
        numbers, inverse = np.unique(cells[there], return_inverse=True)
        places = np.full(len(cells), -1, dtype=np.int64)
        places[there] = inverse
        return numbers.tolist(), places
    met: dict[tuple[type, Value], int] = {}
    results = []
    for value in map(value_in, cells_of(column.tolist(), kept.tolist())):
        results.append(-1 if value is None else met.setdefault((type(value), value), len(met)))
    return [value for _, value in met], np.array(results, dtype=np.int64)


def _log_scale(known: Parameter | None, levels: Sequence[Value]) -> bool:
    """As declared; for choices and foreign trials: positive numbers (zero aside) that span a decade."""
    if known is not None and not isinstance(known, Choices | Fixed):
        return known.log
    numbers = [float(value) for value in levels]
    positive = [number for number in numbers if number > 0]
    return min(numbers) >= 0 and len(positive) > 1 and max(positive) >= LOG_SPAN * min(positive)


def _bounds(known: Parameter | None, levels: Sequence[Value]) -> tuple[Value, Value] | None:
    if known is not None and not isinstance(known, Fixed):
        return known.low, known.high
    return (levels[0], levels[-1]) if levels else None
