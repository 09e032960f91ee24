"""Trials along all parameters, drawn: parallel coordinates and slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from hpo_batch.document.drawing import MOST_DOTS, MOST_PANELS, NARROW, Figure, clamped, inner_range, trial_key
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, Scale, scale, tick_labels
from hpo_batch.findings.elites.plotted import Axis, PlottedTrials
from hpo_batch.text.numbers import count, number

MOST_LINES: Final = 400
TOP: Final = 0.25
GAP: Final = 50
"""pixels between the axes of parallel coordinates"""


def parallel_figure(
    trials: PlottedTrials, *, direction: str, metric: str, spread: float | None, name: str, key: str
) -> Figure | None:
    """Parallel coordinates: an axis for each parameter, one line per trial, the top quarter in colour."""
    axes = trials.axes[:12]
    if len(trials.numbers) < 2 or not axes:
        return None
    chosen, best, quarter = _best_and_top(trials.values, direction)
    omitted = len(trials.numbers) - len(chosen)
    more = (
        f" {count(omitted, 'trial is', 'trials are')} left out, the best {len(chosen) // 2} are all there."
        if omitted
        else ""
    )
    hidden = len(trials.axes) - len(axes)
    alt = (
        f"Parallel coordinates of {count(len(chosen), 'trial')} over {', '.join(axis.name for axis in axes)}; "
        f"best: {_setting(axes, best)}"
    )

    def drawn(width: int) -> Panel:
        canvas = Canvas(width=width, height=60 + GAP * (len(axes) + 1))
        x = Scale(low=0.0, high=1.0, start=24, end=width - 24)
        low, high = inner_range(trials.values)
        last = 40 + GAP * len(axes)
        y = scale([low, high], start=x.start, end=x.end, pad=0.02)
        for i in chosen[::-1]:  # the better ones lie above the others
            points = [
                (x(axis.positions[i]), 40.0 + GAP * j)  # type: ignore[arg-type]
                for j, axis in enumerate(axes)
                if axis.positions[i] is not None
            ]
            points.append((clamped(y, trials.values[i]), last))
            text = f"trial {trials.numbers[i]}: {metric} {number(trials.values[i], spread)}; {_setting(axes, i)}"
            kind = "run best" if i == best else "run top" if i in quarter else "run"
            canvas.path(points, kind, title=text, trial=trial_key(key, trials.numbers[i]))
        for j, axis in enumerate(axes):
            _across(canvas, 40 + GAP * j, axis, x)
        canvas.line(x.start, last, x.end, last, "axis")
        canvas.text(4, last - 14, metric, "t b halo", most=int(width / CHARACTER) - 2)
        ticks = y.ticks(max(3, width // 120))
        for tick, text in zip(ticks, tick_labels(ticks), strict=True):
            canvas.text(y(tick), last + 15, text, "t m halo", anchor="middle")
        return canvas.panel(alt)

    return Figure(
        name=name,
        title=f"All parameters of each trial: {trials.label}",
        caption=f"One line per trial. Blue: the top quarter; orange: the best, which may be luck.{more}"
        + (f" {count(hidden, 'further parameter is', 'further parameters are')} not drawn." if hidden else ""),
        panels=(drawn(680),),
        narrow=(drawn(NARROW),),
    )


def _setting(axes: Sequence[Axis], i: int) -> str:
    """The active parameters of a trial."""
    return ", ".join(f"{axis.name} = {axis.values[i]}" for axis in axes if axis.positions[i] is not None)


def _across(canvas: Canvas, y: float, axis: Axis, x: Scale) -> None:
    canvas.line(x.start, y, x.end, y, "axis")
    name = f"{axis.name} ({axis.note})" if axis.note else axis.name
    canvas.text(4, y - 14, name, "t b halo", most=int(canvas.width / CHARACTER) - 2)
    letters = max(3, int((x.end - x.start) / max(1, len(axis.ticks)) / CHARACTER))
    for position, text in axis.ticks:
        canvas.text(x(position), y + 15, text, "t m halo", anchor="middle", most=letters)


def slices_figure(
    trials: PlottedTrials, *, direction: str, metric: str, spread: float | None, name: str, key: str
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
            radius, trial = 4.2 if i == best else 2.8, trial_key(key, trials.numbers[i])
            canvas.dot(x(at) + aside, clamped(y, trials.values[i]), radius, kind, title=told, trial=trial)
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
