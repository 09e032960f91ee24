"""Learning curves: what trials reported step by step, held as three arrays.

A million reports are usual in a large study, and as tuples of Python numbers they would take more memory than the rest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, overload

import numpy as np
import pandas as pd

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.ranks import rank_correlation
from hpo_batch.findings.records import StudyFindings
from hpo_batch.records import Estimate
from hpo_batch.results.table import TrialsTable

Point = tuple[int, float]


class Curve(Sequence[Point]):
    """Step and value of one trial, in the order of the steps."""

    def __init__(self, steps: Ints, values: Floats) -> None:
        self._steps = steps
        self._values = values

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[Point]:
        return iter(zip(self._steps.tolist(), self._values.tolist(), strict=True))

    @overload
    def __getitem__(self, i: int) -> Point: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Point]: ...
    def __getitem__(self, i: int | slice) -> Point | Sequence[Point]:
        if isinstance(i, slice):
            return Curve(self._steps[i], self._values[i])
        return int(self._steps[i]), float(self._values[i])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]


class Curves(Mapping[int, Sequence[Point]]):
    """By trial, in the order in which they first reported."""

    def __init__(self, numbers: Ints, ends: Ints, steps: Ints, values: Floats) -> None:
        """``numbers``: of each curve; ``ends``: where it ends in ``steps`` and ``values``, which hold one after the
        other."""
        self.numbers = numbers
        self.ends = ends
        self.steps = steps
        self.values_ = values
        self._place: dict[int, int] | None = None

    @property
    def starts(self) -> Ints:
        return np.concatenate([np.zeros(1, dtype=np.int64), self.ends[:-1]]) if len(self.ends) else self.ends

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers.tolist())

    def __contains__(self, number: object) -> bool:
        return number in self._places

    def __getitem__(self, number: int) -> Curve:
        i = self._places[number]
        start = int(self.ends[i - 1]) if i else 0
        return Curve(self.steps[start : self.ends[i]], self.values_[start : self.ends[i]])

    @property
    def _places(self) -> dict[int, int]:
        if self._place is None:
            self._place = {number: i for i, number in enumerate(self.numbers.tolist())}
        return self._place


def learning_curves(table: TrialsTable) -> Curves:
    """Finite reports by trial, in the order of their steps; of a step that was reported twice the last one."""
    reports = table.reports
    numbers, steps = (_whole(reports[name]) for name in ("number", "step"))
    values = reports["value"].to_numpy(dtype=np.float64)
    finite = np.isfinite(values)
    numbers, steps, values = numbers[finite], steps[finite], values[finite]
    different, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    order = np.lexsort((steps, place[which]))  # stable: of equal steps the last report comes last
    trial, steps, values = place[which][order], steps[order], values[order]
    last = np.ones(len(trial), dtype=bool)
    last[:-1] = (trial[1:] != trial[:-1]) | (steps[1:] != steps[:-1])
    trial, steps, values = trial[last], steps[last], values[last]
    by_place = different[np.argsort(first)]
    return Curves(by_place, np.cumsum(np.bincount(trial, minlength=len(by_place))), steps, values)


def _whole(column: pd.Series[Any]) -> Ints:
    if column.dtype == np.int64:
        return column.to_numpy()
    return np.array([int(cell) for cell in column.tolist()], dtype=np.int64)


def as_curves(curves: Mapping[int, Sequence[Point]]) -> Curves:
    """Any curves as arrays."""
    if isinstance(curves, Curves):
        return curves
    points = [point for curve in curves.values() for point in curve]
    return Curves(
        np.array(list(curves), dtype=np.int64),
        np.array(list(itertools.accumulate(map(len, curves.values()))), dtype=np.int64),
        np.array([step for step, _ in points], dtype=np.int64),
        np.array([value for _, value in points], dtype=np.float64),
    )


def fidelity(
    curves: Mapping[int, Sequence[tuple[int, float]]], *, seed: int = 0, most: int = 8
) -> tuple[tuple[int, Estimate | None, int], ...]:
    """How well the value at a step ranks trials as their last step does: step, correlation, trials that have both.

    Only trials that reached the last step are compared: pruned ones have no value there.
    """
    result = as_curves(curves)
    if not len(result.steps):
        return ()
    last = int(result.steps.max())
    lengths = result.ends - result.starts
    ends = np.repeat(result.ends - 1, lengths)  # where the curve of each point ends
    whole = result.steps[ends] == last
    steps = np.unique(result.steps[whole & (result.steps < last)]).tolist()
    wanted = steps if len(steps) <= most else [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
    texts = []
    for step in dict.fromkeys(wanted):
        both = whole & (result.steps == step)
        x, y = result.values_[both], result.values_[ends[both]]
        texts.append((step, rank_correlation(x, y, seed=seed), len(x)))
    return tuple(texts)


MOST_STEPS: Final = 100_000
"""of learning curves; with more the file would be of hundreds of megabytes, which ``collect`` tells in less"""


def shortened_curves(study: StudyFindings) -> Mapping[int, tuple[tuple[int, float], ...]]:
    """Curves of about ``MOST_STEPS`` steps, evenly, and that of the best trial."""
    steps = sum(map(len, study.curves.values()))
    every = math.ceil(steps / MOST_STEPS)
    best = study.summary.best.number if study.summary.best is not None else None
    return {
        number: tuple(curve)
        for i, (number, curve) in enumerate(study.curves.items())
        if every < 2 or i % every == 0 or number == best
    }
