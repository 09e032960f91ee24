"""What all of analysis works on: the complete trials of a table with finite values, their parameters coded as numbers.

Reads the table once; nothing else in ``analysis`` looks into a data frame for parameters. ``coverage``, ``health`` and
others find the rest of the table under ``Data.table``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hpo_batch.expressions import Expression
from hpo_batch.records import Value, is_number
from hpo_batch.results.table import TrialsTable, candidates
from hpo_batch.space.parameters import Choices, Fixed, Parameter, Real
from hpo_batch.space.space import Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_LEVELS = 5
"""a number with more values than this is a curve: a mean for each would rest on too few trials"""
LOG_SPAN = 10.0
"""choices and unknown ranges of positive numbers that span a decade are coded by their logarithm"""
SEED_NAMES = ("seed", "train_seed", "random_seed", "random_state")
"""columns with one of these names tell replicates apart; they are not parameters"""
FINITE = 1e308
LARGEST = 1e150
"""a value beyond it, whose square is infinite, counts as not finite"""


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
    def active(self) -> NDArray[np.bool_]:
        return self.codes >= 0

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """The complete trials of one study that have a finite value, in the order of their numbers."""

    table: TrialsTable
    metric: str
    direction: str
    sign: float
    """1.0 if more is better, else -1.0: ``sign * y`` is better the greater it is"""
    numbers: Ints
    y: Floats
    """on the metric's own scale"""
    params: tuple[ParamInfo, ...]
    """searched, fixed and derived ones that have a column; in the order of the columns"""
    keys: Ints
    """identity of each trial's configuration: equal ones have the same number, by the first trial of each"""
    seeds: tuple[Value | None, ...]
    """None: not recorded"""
    seed_values: tuple[tuple[float, ...], ...]
    """of a trial with several seeds: the metric under each; else empty"""
    space: Space | None
    skipped: int
    """complete trials without a finite value"""

    @property
    def n(self) -> int:
        return len(self.y)

    @cached_property
    def by_name(self) -> dict[str, ParamInfo]:
        return {param.name: param for param in self.params}

    @cached_property
    def varied(self) -> tuple[ParamInfo, ...]:
        return tuple(param for param in self.params if param.varied)

    @cached_property
    def distinct(self) -> Ints:
        """Rows that carry information: of trials with equal configuration, seed and value the first.

        A repeat that gives the same value again is one observation, however often it was paid for. One that gives
        another value is a second observation, and ``noise`` asks why.
        """
        if not self.n:
            return np.zeros(0, dtype=np.int64)
        met: dict[Value | None, int] = {}
        seeds = np.array([met.setdefault(seed, len(met)) for seed in self.seeds], dtype=np.int64)
        values = np.unique(self.y, return_inverse=True)[1]
        return np.sort(np.unique(joint(joint(self.keys, seeds), values), return_index=True)[1])

    @cached_property
    def configurations(self) -> Ints:
        """Trials of each configuration, by ``keys``."""
        return np.bincount(self.keys)

    @cached_property
    def repeated(self) -> tuple[list[int], ...]:
        """Rows of each configuration that has several, in order."""
        rows = np.flatnonzero(self.configurations[self.keys] > 1)
        rows = rows[np.argsort(self.keys[rows], kind="stable")]
        ends = np.flatnonzero(np.diff(self.keys[rows])) + 1
        return tuple(group.tolist() for group in np.split(rows, ends)) if len(rows) else ()

    @cached_property
    def best_of_each(self) -> Ints:
        """The best trial of each configuration, the first among equals: rows from the best to the worst."""
        order = np.lexsort((np.arange(self.n), -self.sign * self.y))
        return order[np.sort(np.unique(self.keys[order], return_index=True)[1])]

    @property
    def best_row(self) -> int:
        """The best trial, the first among equals. There must be one."""
        return int(np.argmax(self.sign * self.y))

    def configuration(self, row: int) -> dict[str, Value]:
        """The active parameters of a trial."""
        return {p.name: value for p in self.params if (value := p.value(row)) is not None}

    def rows_with(self, wanted: Mapping[str, Value], *, same: Callable[[Value, Value], bool]) -> Ints:
        """Rows of the trials in which all these parameters are active and have the ``same`` value; none for none."""
        found = np.full(self.n, bool(wanted))
        for name, value in wanted.items():
            if name not in self.by_name:
                return np.zeros(0, dtype=np.int64)
            param = self.by_name[name]
            codes = [code for code, level in enumerate(param.levels) if same(level, value)]
            found &= np.isin(param.codes, codes)
        return np.flatnonzero(found)

    def rows(self, *, without: Collection[int] = ()) -> Ints:
        """``distinct`` less the trials with the numbers ``without``."""
        if not without:
            return self.distinct
        return self.distinct[~np.isin(self.numbers[self.distinct], list(without))]

    def column(self, *names: str) -> Floats | None:
        """A reported metric of each trial, under the first of ``names`` that the table has; NaN where it is missing."""
        for name in names:
            found = f"user_attrs_{name}"
            if found in self.table.trials.columns:
                return numbers_in(self.table.trials[found])[self.places]
        return None

    @cached_property
    def places(self) -> Ints:
        """Place in the table of each trial, by its number; of a number that is there twice the last one."""
        place = {number: i for i, number in enumerate(self.table.trials["number"].tolist())}
        return np.array([place[number] for number in self.numbers.tolist()], dtype=np.int64)


def prepare(table: TrialsTable) -> Data:
    """The analysed view of a table. Of several metrics the first one is looked at."""
    metric = table.metrics[0] if table.metrics else "value"
    direction = table.directions[0] if table.directions else "minimize"
    frame = table.trials
    value = "value" if "value" in frame.columns else f"values_{metric}"
    is_complete = candidates(frame)
    values = numbers_in(frame[value]) if value in frame.columns else np.full(len(frame), np.nan)
    number = frame["number"].tolist()
    kept = np.flatnonzero(is_complete & (np.abs(values) < LARGEST))
    numbers = np.array([int(number[i]) for i in kept.tolist()], dtype=np.int64)
    by_number = np.argsort(numbers, kind="stable")
    kept, numbers = kept[by_number], numbers[by_number]
    space = table.space
    names = [str(c).removeprefix("params_") for c in frame.columns if str(c).startswith("params_")]
    params = tuple(_param(name, frame[f"params_{name}"], kept, space) for name in names if name not in SEED_NAMES)
    return Data(
        table=table,
        metric=metric,
        direction=direction,
        sign=-1.0 if direction == "minimize" else 1.0,
        numbers=numbers,
        y=values[kept],
        params=params,
        keys=_keys(params, len(kept)),
        seeds=_seeds(table, numbers.tolist(), kept.tolist()),
        seed_values=_seed_values(frame, value, kept.tolist()),
        space=space,
        skipped=int(is_complete.sum()) - len(kept),
    )


def value_text(value: Value) -> str:
    """As a TOML file would have it, without quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _param(name: str, column: pd.Series[Any], kept: Ints, space: Space | None) -> ParamInfo:
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
    found = []
    for value in map(_python, _cells(column.tolist(), kept.tolist())):
        found.append(-1 if value is None else met.setdefault((type(value), value), len(met)))
    return [value for _, value in met], np.array(found, dtype=np.int64)


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


def _keys(params: Sequence[ParamInfo], n: int) -> Ints:
    """A number for each configuration, in the order of their first trials."""
    found = np.zeros(n, dtype=np.int64)
    for param in params:
        found = joint(found, param.codes + 1)
    _, first, places = np.unique(found, return_index=True, return_inverse=True)
    by_first = np.empty(len(first), dtype=np.int64)
    by_first[np.argsort(first)] = np.arange(len(first))
    return by_first[places]


def merged(studies: Sequence[Data], name: str) -> tuple[list[Value], Ints]:
    """A parameter over the trials of several studies, one after the other: its different values in the order in which
    they come, and for each trial the place of its own; -1 where it is not active, or the study has none."""
    places: dict[tuple[type, Value], int] = {}
    columns = []
    for data in studies:
        if name not in data.by_name:
            columns.append(np.full(data.n, -1, dtype=np.int64))
            continue
        param = data.by_name[name]
        codes, first = np.unique(param.codes, return_index=True)
        place_of = np.full(len(param.levels) + 1, -1, dtype=np.int64)
        for code in codes[np.argsort(first)].tolist():
            if code >= 0:
                level = param.levels[code]
                place_of[code] = places.setdefault((type(level), level), len(places))
        columns.append(place_of[param.codes])
    return [value for _, value in places], np.concatenate(columns)


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


def _seeds(table: TrialsTable, numbers: Sequence[int], kept: Sequence[int]) -> tuple[Value | None, ...]:
    """The seed of each trial: as the table tells it, else from the first column of such a name that has any."""
    if any(number in table.seeds for number in numbers):
        return tuple(next(iter(table.seeds.get(number, ())), None) for number in numbers)
    columns = ("seed", *(f"{kind}_{name}" for name in SEED_NAMES for kind in ("params", "user_attrs")))
    for column in columns:
        if column in table.trials.columns:
            seeds = tuple(_python(cell) for cell in _cells(table.trials[column].tolist(), kept))
            if any(seed is not None for seed in seeds):
                return seeds
    return (None,) * len(kept)


def _seed_values(frame: Any, value: str, kept: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    column = f"{value}_by_seed"
    if column not in frame.columns:
        return ((),) * len(kept)
    cells = [_python(cell) for cell in _cells(frame[column].tolist(), kept)]
    return tuple(tuple(float(v) for v in json.loads(cell)) if isinstance(cell, str) else () for cell in cells)


def _cells(column: Sequence[Any], kept: Sequence[int]) -> list[Any]:
    return [column[i] for i in kept]


def _python(cell: Any) -> Value | None:
    """A cell as a value, None if it is empty; pandas has three ways to be empty, and none of them equals itself."""
    cell = cell.item() if hasattr(cell, "item") else cell
    if isinstance(cell, bool | int | str):
        return cell
    if isinstance(cell, float):
        return cell + 0.0 if math.isfinite(cell) else None
    return None if cell is None or type(cell).__name__ in ("NAType", "NaTType") else str(cell)


def numbers_in(column: pd.Series[Any]) -> Floats:
    """The cells of a column as numbers; NaN for what is none, and for what is not finite."""
    if column.dtype == np.float64:
        cells = column.to_numpy()
        return np.where(np.abs(cells) < FINITE, cells, np.nan) + 0.0
    return np.array([_number(cell) for cell in column.tolist()], dtype=np.float64)


def _number(cell: Any) -> float:
    value = _python(cell)
    return float(value) if isinstance(value, bool | int | float) and abs(value) < FINITE else math.nan
