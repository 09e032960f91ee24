"""What all of analysis works on: the complete trials of a table with finite values, their parameters coded as numbers.

Reads the table once; nothing else in ``analysis`` looks into a data frame for parameters. ``coverage``, ``health`` and
others find the rest of the table under ``Data.table``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hpo_batch.findings.model.arrays import Floats, Ints, joint
from hpo_batch.findings.model.cells import cells_of, numbers_in, value_in
from hpo_batch.findings.model.parameter import ParamInfo, parameter
from hpo_batch.records import Value
from hpo_batch.results.table import TrialsTable, candidates
from hpo_batch.space.space import Space

SEED_NAMES = ("seed", "train_seed", "random_seed", "random_state")
"""columns with one of these names tell replicates apart; they are not parameters"""
LARGEST = 1e150
"""a value beyond it, whose square is infinite, counts as not finite"""


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
        result = np.full(self.n, bool(wanted))
        for name, value in wanted.items():
            if name not in self.by_name:
                return np.zeros(0, dtype=np.int64)
            param = self.by_name[name]
            codes = [code for code, level in enumerate(param.levels) if same(level, value)]
            result &= np.isin(param.codes, codes)
        return np.flatnonzero(result)

    def rows(self, *, without: Collection[int] = ()) -> Ints:
        """``distinct`` less the trials with the numbers ``without``."""
        if not without:
            return self.distinct
        return self.distinct[~np.isin(self.numbers[self.distinct], list(without))]

    def column(self, *names: str) -> Floats | None:
        """A reported metric of each trial, under the first of ``names`` that the table has; NaN where it is missing."""
        for name in names:
            text = f"user_attrs_{name}"
            if text in self.table.trials.columns:
                return numbers_in(self.table.trials[text])[self.places]
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
    params = tuple(parameter(name, frame[f"params_{name}"], kept, space) for name in names if name not in SEED_NAMES)
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


def _keys(params: Sequence[ParamInfo], n: int) -> Ints:
    """A number for each configuration, in the order of their first trials."""
    result = np.zeros(n, dtype=np.int64)
    for param in params:
        result = joint(result, param.codes + 1)
    _, first, places = np.unique(result, return_index=True, return_inverse=True)
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


def _seeds(table: TrialsTable, numbers: Sequence[int], kept: Sequence[int]) -> tuple[Value | None, ...]:
    """The seed of each trial: as the table tells it, else from the first column of such a name that has any."""
    if any(number in table.seeds for number in numbers):
        return tuple(next(iter(table.seeds.get(number, ())), None) for number in numbers)
    columns = ("seed", *(f"{kind}_{name}" for name in SEED_NAMES for kind in ("params", "user_attrs")))
    for column in columns:
        if column in table.trials.columns:
            seeds = tuple(value_in(cell) for cell in cells_of(table.trials[column].tolist(), kept))
            if any(seed is not None for seed in seeds):
                return seeds
    return (None,) * len(kept)


def _seed_values(frame: Any, value: str, kept: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    column = f"{value}_by_seed"
    if column not in frame.columns:
        return ((),) * len(kept)
    cells = [value_in(cell) for cell in cells_of(frame[column].tolist(), kept)]
    return tuple(tuple(float(v) for v in json.loads(cell)) if isinstance(cell, str) else () for cell in cells)
