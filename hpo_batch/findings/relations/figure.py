"""The metric over two parameters at once, drawn from the trials themselves: nothing is filled in between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from hpo_batch.document.drawing import NARROW, Figure, trial_key
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, Scale
from hpo_batch.findings.effects.figure import directed
from hpo_batch.findings.elites.plotted import Axis, PlottedTrials
from hpo_batch.findings.phrases import spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.text.numbers import count, number

BINS: Final = 5
"""of a parameter with more values than this"""
MOST_DOTS: Final = 600
SHADES: Final = 4


def strongest(study: StudyFindings) -> list[str]:
    """The varied parameters, those with the most at stake first: by directions, else importance, else p."""
    ranked = [effect.parameter for effect, _ in directed(study)]
    if study.importance is not None:
        ranked += [row.parameter for row in sorted(study.importance.rows, key=lambda row: -row.value)]
    tested = [effect for effect in study.effects if effect.p is not None]
    ranked += [effect.parameter for effect in sorted(tested, key=lambda effect: effect.p or 0.0)]
    return list(dict.fromkeys(ranked))


def contour_figure(study: StudyFindings, trials: PlottedTrials, *, name: str, key: str) -> Figure | None:
    """Mean of the metric over the two strongest parameters, in cells; a cell that nobody tried is empty."""
    axes = {axis.name: axis for axis in trials.axes}
    chosen = [axes[parameter] for parameter in strongest(study) if parameter in axes][:2]
    if len(chosen) < 2 or len(trials.values) < 2 * BINS:
        return None
    across, down = chosen
    return Figure(
        name=name,
        title=f"{study.metric} over {across.name} and {down.name}: {study.label}",
        caption="The darker a cell, the better its mean, which stands in it with the number of trials. Empty, dashed "
        "cells: nobody tried them, and nothing is said of them. Dots: trials; orange: the best. The other parameters "
        "differ between cells.",
        panels=(_cells(study, trials, across, down, key, 560),),
        narrow=(_cells(study, trials, across, down, key, NARROW),),
    )


def _cells(study: StudyFindings, trials: PlottedTrials, across: Axis, down: Axis, key: str, width: int) -> Panel:
    columns, rows = _Grid(across), _Grid(down)
    cells: dict[tuple[int, int], list[float]] = {}
    both = [i for i in range(len(trials.values)) if across.positions[i] is not None and down.positions[i] is not None]
    for i in both:
        cells.setdefault((columns.of(i), rows.of(i)), []).append(trials.values[i])
    means = {cell: sum(values) / len(values) for cell, values in cells.items()}
    sign = 1.0 if study.direction == "maximize" else -1.0
    ranked = sorted(means, key=lambda cell: sign * means[cell])
    shade = {cell: 1 + SHADES * i // len(ranked) for i, cell in enumerate(ranked)}
    left = 16 + CHARACTER * min(9, max(len(text) for text in rows.names))
    canvas = Canvas(width=width, height=64 + 56 * rows.n)
    size = (width - left - 8) / columns.n
    canvas.text(
        4, 15, f"{down.name} \N{DOWNWARDS ARROW}  {across.name} \N{RIGHTWARDS ARROW}", "t b", most=int(width / 7.4)
    )
    for c, text in enumerate(columns.names):
        canvas.text(left + size * (c + 0.5), 34, text, "t m", anchor="middle", most=max(3, int(size / CHARACTER)))
    for r, text in enumerate(rows.names):
        y = 42 + 56 * r
        canvas.text(left - 6, y + 30, text, "t m", anchor="end", most=9)
        for c in range(columns.n):
            values = cells.get((c, r))
            if values is None:
                canvas.rect(left + size * c + 2, y + 2, size - 4, 52, "none", title="nobody tried this")
                continue
            told = f"mean {number(means[c, r], spread_of(study))} of {count(len(values), 'trial')}"
            canvas.rect(left + size * c, y, size, 56, f"cell k{shade[c, r]}", title=told)
    _dots(canvas, study, trials, both, columns, rows, key, left=left, size=size)
    for (c, r), values in cells.items():
        at, y = left + size * (c + 0.5), 42 + 56 * r
        canvas.text(at, y + 50, f"{number(means[c, r], spread_of(study))} ({len(values)})", "t halo", anchor="middle",
                    most=max(5, int(size / CHARACTER)))  # fmt: skip
    best = ranked[-1]
    return canvas.panel(
        f"Mean {study.metric} over {across.name} and {down.name}: best, {number(means[best], spread_of(study))}, at "
        f"{across.name} {columns.names[best[0]]} with {down.name} {rows.names[best[1]]}; {len(cells)} of "
        f"{count(columns.n * rows.n, 'cell')} tried"
    )


def _dots(
    canvas: Canvas,
    study: StudyFindings,
    trials: PlottedTrials,
    both: Sequence[int],
    columns: _Grid,
    rows: _Grid,
    key: str,
    *,
    left: float,
    size: float,
) -> None:
    best = None if study.summary.best is None else study.summary.best.number
    for i in both[:: math.ceil(len(both) / MOST_DOTS)]:
        n = trials.numbers[i]
        x = Scale(low=0.0, high=1.0, start=left + size * columns.of(i) + 6, end=left + size * (columns.of(i) + 1) - 6)
        y = Scale(low=0.0, high=1.0, start=42 + 56 * rows.of(i) + 6, end=42 + 56 * rows.of(i) + 36)
        told = f"trial {n}: {number(trials.values[i], spread_of(study))}"
        kind, radius = ("d2", 4.2) if n == best else ("d1 faint", 2.6)
        canvas.dot(x(columns.inside(i)), y(rows.inside(i)), radius, kind, title=told, trial=trial_key(key, n))


class _Grid:
    """One axis in cells: its values where it has few, else parts of equal width."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        places = sorted({position for position in axis.positions if position is not None})
        self.places = places if len(places) <= BINS + 1 else None
        self.n = len(places) if self.places is not None else BINS
        self.names = self._values(places) if self.places is not None else self._parts(places)

    def of(self, i: int) -> int:
        position = self.axis.positions[i]
        assert position is not None
        return self.places.index(position) if self.places is not None else min(self.n - 1, int(position * self.n))

    def inside(self, i: int) -> float:
        """Where in its cell a trial lies: equal values lie beside each other, by their number."""
        position = self.axis.positions[i]
        assert position is not None
        return (i * 0.618) % 1 if self.places is not None else position * self.n - self.of(i)

    def _values(self, places: Sequence[float]) -> list[str]:
        texts = {p: text for p, text in zip(self.axis.positions, self.axis.values, strict=True) if p is not None}
        return [texts[place] for place in places]

    def _parts(self, places: Sequence[float]) -> list[str]:
        """The lowest value that was tried in each part, with a sign that there are more."""
        texts = {p: text for p, text in zip(self.axis.positions, self.axis.values, strict=True) if p is not None}
        lowest: dict[int, float] = {}
        for place in reversed(places):
            lowest[min(self.n - 1, int(place * self.n))] = place
        return [_shorter(texts[lowest[part]]) + "+" if part in lowest else "" for part in range(self.n)]


def _shorter(text: str) -> str:
    try:
        return f"{float(text):.2g}".replace("e-0", "e-").replace("e+0", "e")
    except ValueError:
        return text
