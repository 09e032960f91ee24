"""The trials themselves, as slice plots and parallel coordinates need them: values, positions along each parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, overload

from hpo_batch.document.svg import Scale, tick_labels
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.trials.rows import Reported, reported
from hpo_batch.text.numbers import label

if TYPE_CHECKING:
    from hpo_batch.results.table import TrialsTable

Cell = TypeVar("Cell")

MOST_LABELLED: Final = 7
"""an axis with more values gets round ticks (numbers) or only some of its labels (names)"""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One parameter that varied."""

    name: str
    positions: Sequence[float | None]
    """0 to 1 for each trial; None where the parameter is not active"""
    values: Sequence[str]
    ticks: tuple[tuple[float, str], ...]
    note: str = ""
    """``log``, or empty"""


@dataclass(frozen=True, kw_only=True)
class PlottedTrials:
    """The complete trials of one study with a finite value, by number."""

    label: str
    numbers: tuple[int, ...]
    values: tuple[float, ...]
    axes: tuple[Axis, ...]
    every: Reported | None = None
    """the trials of all states"""


class _Each(Sequence[Cell]):
    """A cell for each trial, made when it is asked for: a figure shows some of 100,000 trials."""

    def __init__(self, count: int, cell: Callable[[int], Cell]) -> None:
        self._count = count
        self._cell = cell

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, i: int) -> Cell: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Cell]: ...
    def __getitem__(self, i: int | slice) -> Cell | Sequence[Cell]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(self._count))]
        if not -self._count <= i < self._count:
            raise IndexError(i)
        return self._cell(i % self._count)


def plotted_trials(table: TrialsTable, *, study: str) -> PlottedTrials:
    """Of a table with several metrics only ``every``: no trial is better than all others."""
    from hpo_batch.findings.model.frame import prepare

    def axis(info: ParamInfo) -> Axis:
        places = info.level_positions.tolist()
        low, high = min(places), max(places)
        to = Scale(low=low, high=high, start=0.0, end=1.0)
        if len(places) <= MOST_LABELLED:
            ticks = [(to(p), label(v)) for p, v in zip(places, info.levels, strict=True)]
        elif info.numeric:
            lowest, highest = (10**low, 10**high) if info.log else (low, high)
            round_ones = Scale(low=lowest, high=highest, start=0.0, end=1.0, log=info.log)
            at = round_ones.ticks(5)
            ticks = [(round_ones(t), text) for t, text in zip(at, tick_labels(at), strict=True)]
        else:
            every = math.ceil(len(places) / MOST_LABELLED)
            ticks = [(to(p), label(v)) for p, v in list(zip(places, info.levels, strict=True))[::every]]

        def position(i: int) -> float | None:
            return to(float(info.positions[i])) if info.active[i] else None

        return Axis(
            name=info.name,
            positions=_Each(len(info.codes), position),
            values=_Each(len(info.codes), lambda i: label(info.value(i))),
            ticks=tuple(ticks),
            note="log" if info.log and len(places) > MOST_LABELLED else "",
        )

    every = reported(table)
    if len(table.metrics) > 1:
        return PlottedTrials(label=study, numbers=(), values=(), axes=(), every=every)
    data = prepare(table)
    return PlottedTrials(
        label=study,
        numbers=tuple(data.numbers.tolist()),
        values=tuple(data.y.tolist()),
        axes=tuple(axis(info) for info in data.params if info.varied),
        every=every,
    )
