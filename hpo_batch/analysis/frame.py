"""What all of analysis works on: the complete trials of a table with finite values, their parameters coded as numbers.

Reads the table once; nothing else in ``analysis`` looks into a data frame for parameters. ``coverage``, ``health`` and
others find the rest of the table under ``Data.table``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo_batch.analysis.records import RepeatedConfiguration, Summary, TopTrial
from hpo_batch.expressions import Expression
from hpo_batch.records import Value
from hpo_batch.results.table import TrialsTable
from hpo_batch.space.parameters import Choices, Fixed, Parameter, is_number
from hpo_batch.space.space import Space

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_LEVELS = 5
"""a number with more values than this is a curve: a mean for each would rest on too few trials"""
LOG_SPAN = 10.0
"""choices and unknown ranges of positive numbers that span a decade are coded by their logarithm"""
SEED_NAMES = ("seed", "train_seed", "random_seed", "random_state")
"""columns with one of these names tell replicates apart; they are not parameters"""
TOP = 10
LARGEST = 1e150
"""a value beyond it, whose square is infinite, counts as not finite"""


@dataclass(frozen=True, kw_only=True, eq=False)
class ParamInfo:
    """One parameter over the complete trials."""

    name: str
    values: tuple[Value | None, ...]
    """one for each trial; None where the parameter is not active"""
    levels: tuple[Value, ...]
    """the distinct ones seen: numbers by size, choices as listed"""
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

    @property
    def varied(self) -> bool:
        return len(self.levels) > 1

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
        return text if self._texts[text] < 2 or not isinstance(value, str) else json.dumps(value, ensure_ascii=False)

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
    keys: tuple[str, ...]
    """identity of each trial's configuration"""
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
        seen: set[tuple[str, Value | None, float]] = set()
        rows = []
        for i, identity in enumerate(zip(self.keys, self.seeds, self.y.tolist(), strict=True)):
            if identity not in seen:
                seen.add(identity)
                rows.append(i)
        return np.array(rows, dtype=np.int64)

    @cached_property
    def configurations(self) -> dict[str, list[int]]:
        """Rows of each configuration, in order."""
        rows: dict[str, list[int]] = {}
        for i, key in enumerate(self.keys):
            rows.setdefault(key, []).append(i)
        return rows

    @property
    def best_row(self) -> int:
        """The best trial, the first among equals. There must be one."""
        return int(np.argmax(self.sign * self.y))

    def configuration(self, row: int) -> dict[str, Value]:
        """The active parameters of a trial."""
        return {p.name: value for p in self.params if (value := p.values[row]) is not None}

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
                cells = self.table.trials[found].tolist()
                by_number = dict(zip(self.table.trials["number"].tolist(), cells, strict=True))
                return np.array([_number(by_number.get(n)) for n in self.numbers.tolist()], dtype=np.float64)
        return None


def prepare(table: TrialsTable) -> Data:
    """The analysed view of a table. Of several metrics the first one is looked at."""
    metric = table.metrics[0] if table.metrics else "value"
    direction = table.directions[0] if table.directions else "minimize"
    frame = table.trials
    value = "value" if "value" in frame.columns else f"values_{metric}"
    is_complete = [state == "COMPLETE" for state in frame["state"].tolist()]
    cells = frame[value].tolist() if value in frame.columns else [None] * len(frame)
    values = [_number(cell) for cell in cells]
    kept = [i for i, complete in enumerate(is_complete) if complete and abs(values[i]) < LARGEST]
    number = frame["number"].tolist()
    kept.sort(key=lambda i: number[i])
    space = table.space
    names = [str(c).removeprefix("params_") for c in frame.columns if str(c).startswith("params_")]
    params = tuple(
        _param(name, [_python(cell) for cell in _cells(frame[f"params_{name}"].tolist(), kept)], space)
        for name in names
        if name not in SEED_NAMES
    )
    return Data(
        table=table,
        metric=metric,
        direction=direction,
        sign=-1.0 if direction == "minimize" else 1.0,
        numbers=np.array([int(number[i]) for i in kept], dtype=np.int64),
        y=np.array([values[i] for i in kept], dtype=np.float64),
        params=params,
        keys=_keys(params, len(kept)),
        seeds=_seeds(table, [int(number[i]) for i in kept], kept),
        seed_values=_seed_values(frame, value, kept),
        space=space,
        skipped=sum(is_complete) - len(kept),
    )


def summarise(data: Data) -> Summary:
    """Counts, moments and the best distinct configurations. Moments are over all complete trials, repeats included."""
    repeated = tuple(
        RepeatedConfiguration(
            params=data.configuration(rows[0]),
            count=len(rows),
            numbers=tuple(data.numbers[rows].tolist()),
            values=tuple(data.y[rows].tolist()),
        )
        for rows in sorted(data.configurations.values(), key=len, reverse=True)
        if len(rows) > 1
    )
    top = top_configurations(data, TOP)
    return Summary(
        n=data.n,
        states=dict(Counter(str(state) for state in data.table.trials["state"].tolist())),
        unique=len(data.configurations),
        repeats=data.n - len(data.configurations),
        repeated=repeated,
        mean=float(np.mean(data.y)) if data.n else None,
        median=float(np.median(data.y)) if data.n else None,
        std=float(np.std(data.y, ddof=1)) if data.n > 1 else None,
        best=top[0] if top else None,
        top=top,
        skipped=data.skipped,
        replicates=sum(len({data.seeds[i] for i in rows}) - 1 for rows in data.configurations.values()),
    )


def top_configurations(data: Data, k: int) -> tuple[TopTrial, ...]:
    """The ``k`` best distinct configurations, each by its best trial. Equal values share their rank."""
    best = [max(rows, key=lambda i: (data.sign * data.y[i], -i)) for rows in data.configurations.values()]
    best.sort(key=lambda i: (-data.sign * data.y[i], i))
    met = Counter(data.y[best].tolist())
    ranks: dict[float, int] = {}
    for place, value in enumerate(data.y[best].tolist(), start=1):
        ranks.setdefault(value, place)
    return tuple(
        TopTrial(
            rank=ranks[float(data.y[i])],
            number=int(data.numbers[i]),
            value=float(data.y[i]),
            params=data.configuration(i),
            count=len(data.configurations[data.keys[i]]),
            tied=met[float(data.y[i])] > 1,
        )
        for i in best[:k]
    )


def value_text(value: Value) -> str:
    """As a TOML file would have it, without quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _param(name: str, values: Sequence[Value | None], space: Space | None) -> ParamInfo:
    known = space.by_name.get(name) if space is not None else None
    if known is not None:
        values = [None if value is None else known.normalise(value) for value in values]
    seen = {(type(value), value): value for value in values if value is not None}
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
    return ParamInfo(
        name=name,
        values=tuple(values),
        levels=levels,
        codes=np.array([-1 if v is None else codes[type(v), v] for v in values], dtype=np.int64),
        numeric=numeric,
        ordered=ordered,
        log=numeric and _log_scale(known, levels),
        bounds=_bounds(known, levels) if ordered else None,
        when=known.when if known is not None else None,
    )


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


def _keys(params: Sequence[ParamInfo], n: int) -> tuple[str, ...]:
    codes = np.array([param.codes for param in params], dtype=np.int64).reshape(len(params), n)
    return tuple(",".join(map(str, column)) for column in codes.T.tolist()) if params else ("",) * n


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


def _number(cell: Any) -> float:
    value = _python(cell)
    return float(value) if isinstance(value, bool | int | float) and abs(value) < 1e308 else math.nan
