"""The trials themselves, as slice plots and parallel coordinates need them: values, positions along each parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hpo_batch.report.svg import Scale, tick_labels
from hpo_batch.report.text import label

if TYPE_CHECKING:
    from hpo_batch.results.table import TrialsTable

MOST_LABELLED: Final = 7
"""an axis with more values gets round ticks (numbers) or only some of its labels (names)"""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One parameter that varied."""

    name: str
    positions: tuple[float | None, ...]
    """0 to 1 for each trial; None where the parameter is not active"""
    values: tuple[str, ...]
    ticks: tuple[tuple[float, str], ...]
    note: str = ""
    """``log``, or empty"""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The complete trials of one study with a finite value, by number."""

    label: str
    numbers: tuple[int, ...]
    values: tuple[float, ...]
    axes: tuple[Axis, ...]


def drawn(table: TrialsTable, *, label_: str) -> Drawn:
    """Of a table with one metric."""
    from hpo_batch.analysis.frame import ParamInfo, prepare

    def axis(info: ParamInfo) -> Axis:
        places = [float(p) for p in info.level_positions]
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
        at_each = [None if math.isnan(p) else to(float(p)) for p in info.positions]
        return Axis(
            name=info.name,
            positions=tuple(at_each),
            values=tuple(label(v) for v in info.values),
            ticks=tuple(ticks),
            note="log" if info.log and len(places) > MOST_LABELLED else "",
        )

    data = prepare(table)
    return Drawn(
        label=label_,
        numbers=tuple(int(n) for n in data.numbers),
        values=tuple(float(y) for y in data.y),
        axes=tuple(axis(info) for info in data.params if info.varied),
    )
