"""Trials along all parameters, drawn: parallel coordinates and slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from hpo_batch.document.drawing import MOST_DOTS, MOST_PANELS, Figure, clamped, inner_range
from hpo_batch.document.svg import CHARACTER, Canvas, Scale, scale
from hpo_batch.findings.elites.plotted import Axis, PlottedTrials
from hpo_batch.text.numbers import count, number

MOST_LINES: Final = 400
TOP: Final = 0.25


def parallel_figure(
    trials: PlottedTrials, *, direction: str, metric: str, spread: float | None, name: str
) -> Figure | None:
    """Parallel coordinates: one line per trial, the top quarter in colour."""
    axes = trials.axes[:12]
    if len(trials.numbers) < 2 or not axes:
        return None
    canvas = Canvas(width=max(680, min(1040, 130 * (len(axes) + 1))), height=330)
    left, right, top, bottom = 40, canvas.width - 64, 50, 296
    gap = (right - left) / len(axes)
    low, high = inner_range(trials.values)
    y = scale([low, high], start=bottom, end=top, pad=0.02)
    chosen, best, quarter = _best_and_top(trials.values, direction)
    for i in chosen[::-1]:  # the better ones lie above the others
        points = [
            (left + gap * j, bottom - axis.positions[i] * (bottom - top))  # type: ignore[operator]
            for j, axis in enumerate(axes)
            if axis.positions[i] is not None
        ]
        points.append((right, clamped(y, trials.values[i])))
        text = f"trial {trials.numbers[i]}: {metric} {number(trials.values[i], spread)}; {_setting(axes, i)}"
        canvas.path(points, "run best" if i == best else "run top" if i in quarter else "run", title=text, data=text)
    for j, axis in enumerate(axes):
        _upright(
            canvas, left + gap * j, axis, top=top, bottom=bottom, letters=int(gap / CHARACTER) - 1, raised=j % 2 == 1
        )
    canvas.line(right, top, right, bottom, "axis")
    for tick in y.ticks(5):
        canvas.text(right + 6, y(tick) + 4, number(tick, spread), "t m")
    canvas.text(right, top - 12, metric, "t b", anchor="middle", most=16)
    omitted = len(trials.numbers) - len(chosen)
    more = f" {omitted} trials are left out, the best {len(chosen) // 2} are all there." if omitted else ""
    hidden = len(trials.axes) - len(axes)
    alt = (
        f"Parallel coordinates of {count(len(chosen), 'trial')} over {', '.join(axis.name for axis in axes)}; "
        f"best: {_setting(axes, best)}"
    )
    return Figure(
        name=name,
        title=f"All parameters of each trial: {trials.label}",
        caption=f"One line per trial. Blue: the top quarter; orange: the best, which may be luck.{more}"
        + (f" {hidden} further parameters are not drawn." if hidden else ""),
        panels=(canvas.panel(alt),),
        tells="Point at a line, or tap it, to read its trial.",
    )


def _setting(axes: Sequence[Axis], i: int) -> str:
    """The active parameters of a trial."""
    return ", ".join(f"{axis.name} = {axis.values[i]}" for axis in axes if axis.positions[i] is not None)


def _upright(canvas: Canvas, x: float, axis: Axis, *, top: float, bottom: float, letters: int, raised: bool) -> None:
    canvas.line(x, top, x, bottom, "axis")
    name = f"{axis.name} ({axis.note})" if axis.note else axis.name
    canvas.text(
        x,
        top - (28 if raised else 12),
        name,
        "t b",
        anchor="middle" if x > 60 else "start",
        most=max(8, letters * 2 - 4),
    )
    for position, text in axis.ticks:
        canvas.text(x + 5, bottom - position * (bottom - top) + 4, text, "t m halo", most=max(5, letters - 2))


def slices_figure(
    trials: PlottedTrials, *, direction: str, metric: str, spread: float | None, name: str
) -> Figure | None:
    """Each parameter against the metric, trial by trial."""
    if not trials.values or not trials.axes:
        return None
    low, high = inner_range(trials.values)
    chosen, best, quarter = _best_and_top(trials.values, direction, most=MOST_DOTS)
    panels = []
    for axis in trials.axes[:MOST_PANELS]:
        canvas = Canvas(width=328, height=216)
        left, right, top, bottom = 58, 316, 30, 180
        canvas.text(4, 15, f"{axis.name} ({axis.note})" if axis.note else axis.name, "t b", most=44)
        y = scale([low, high], start=bottom, end=top)
        canvas.y_axis(y, left=left, right=right)
        canvas.line(left, bottom, right, bottom, "axis")
        x = Scale(low=0.0, high=1.0, start=left + 14, end=right - 14)
        letters = max(3, int((right - left) / max(1, len(axis.ticks)) / CHARACTER))
        for position, text in axis.ticks:
            canvas.text(x(position), bottom + 17, text, "t m", anchor="middle", most=letters)
        for i in chosen[::-1]:
            at = axis.positions[i]
            if at is None:
                continue
            told = f"trial {trials.numbers[i]}: {axis.values[i]}, {number(trials.values[i], spread)}"
            # equal values would hide each other: moved aside by their number, the same way every time
            aside = (trials.numbers[i] * 0.618 % 1 - 0.5) * 12
            kind = "d2" if i == best else "d1 faint" if i in quarter else "dq"
            canvas.dot(x(at) + aside, clamped(y, trials.values[i]), 4.2 if i == best else 2.8, kind, title=told)
        panels.append(canvas.panel(f"{metric} of each trial by {axis.name}; best at {axis.values[best]}"))
    return Figure(
        name=name,
        title=f"Each parameter against {metric}: {trials.label}",
        caption=f"Dots: trials{_left_out(len(chosen), len(trials.values))}, moved a little aside so that they do not "
        "hide each other. Blue: the top quarter; orange: the best. "
        "How many there are shows where the sampler looked, not what is good.",
        panels=tuple(panels),
    )


def _left_out(shown: int, every: int) -> str:
    """Of a figure with half of its dots for the best."""
    return f", {shown:,} of {every:,} ({MOST_DOTS // 2:,} best ones, the others evenly)" if shown < every else ""


def _best_and_top(
    values: Sequence[float], direction: str, *, most: int = MOST_LINES
) -> tuple[list[int], int, frozenset[int]]:
    """Indices to draw, best first; the best; the top quarter with its ties."""
    sign = -1.0 if direction == "maximize" else 1.0
    order = sorted(range(len(values)), key=lambda i: (sign * values[i], i))
    last = values[order[max(0, math.ceil(TOP * len(order)) - 1)]]
    quarter = frozenset(i for i in order if sign * values[i] <= sign * last)
    if len(order) > most:
        rest = order[most // 2 :]
        order = order[: most // 2] + rest[:: math.ceil(len(rest) / (most - most // 2))]
    return order, order[0], quarter
