"""Figures in which each trial is seen: history, learning curves, parallel coordinates, slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from hpo_batch.document.drawing import MOST_DOTS, MOST_PANELS, Figure, clamped, inner_range
from hpo_batch.document.svg import CHARACTER, Canvas, Scale, scale
from hpo_batch.findings.elites.plotted import Axis, PlottedTrials
from hpo_batch.findings.phrases import metric_title
from hpo_batch.findings.records import StudyFindings
from hpo_batch.text.numbers import count, number

MOST_LINES: Final = 400
MOST_CURVES: Final = 60
TOP: Final = 0.25


def history(study: StudyFindings, *, name: str) -> Figure | None:
    """Every value in the order of the trials, the best so far, and what noise makes of the best."""
    if len(study.history) < 2:
        return None
    canvas = Canvas(width=860, height=320)
    left, right, top, bottom = 62, 848, 34, 276
    values = [value for _, value in study.history]
    low, high = inner_range(values)
    first, last = study.history[0][0], study.history[-1][0]
    # numbers that are somebody's identifiers would leave the axis almost empty
    sparse = last - first > 20 * len(values)
    place = {n: i if sparse else n for i, (n, _) in enumerate(study.history)}
    x = scale(list(place.values()), start=left, end=right, pad=0.02)
    y = scale([low, high], start=bottom, end=top)
    canvas.y_axis(y, left=left, right=right, title=metric_title(study))
    canvas.x_axis(
        x, bottom=bottom, title="trials, in the order of their numbers" if sparse else "trial number", most=10
    )
    better = max if study.direction == "maximize" else min
    best = better(values)
    sd = study.noise.sd
    if sd is not None:
        other = best - math.copysign(1.96 * math.sqrt(2) * sd.value, 1 if better is max else -1)
        ends = sorted((clamped(y, best), clamped(y, other)))
        canvas.rect(left, ends[0], right - left, ends[1] - ends[0], "band2")
    suspects = {suspect.number: suspect for suspect in study.suspects}
    beyond = sum(not low <= value <= high for value in values)
    shown = _thinned(study.history, MOST_DOTS)
    suspected = [point for point in study.history if point[0] in suspects]
    crosses = _thinned(suspected, MOST_LINES)
    for n, value in sorted({*shown, *crosses}):
        told = f"trial {n}: {number(value, study.summary.std)}"
        if not low <= value <= high:
            canvas.triangle(x(place[n]), clamped(y, value), "d2", up=value > high, title=told)
        elif n in suspects:
            canvas.cross(x(place[n]), y(value), "l2", title=f"{told}, {suspects[n].text}")
        else:
            canvas.dot(x(place[n]), y(value), 3.2 if len(values) < 300 else 2, "d1 faint", title=told)
    canvas.path(_staircase([(place[n], v) for n, v in study.history], better, x=x, y=y, end=right), "l1")
    within = "" if sd is None else f"{_within_noise(values, best, sd.value)} of {len(values)} trials lie in the band"
    alt = (
        f"Value of each of {len(values)} trials of {study.label} "
        f"by number; the best is {number(best, study.summary.std)}, "
        f"first reached by trial {next(n for n, v in study.history if v == best)}. {within}"
    )
    band = (
        "The noise floor is unknown, so no band can be drawn."
        if sd is None
        else f"Band: values that noise alone ({study.noise.source}) does not tell from the best; {within}."
    )
    cut = f" {count(beyond, 'value')} beyond the axis: triangles at its edge." if beyond else ""
    dots = f"Dots: complete trials{_some(len(shown), len(values))}."
    told = f" Crosses: trials to look at before they are believed{_some(len(crosses), len(suspected))}."
    crossed = told if suspects else ""
    return Figure(
        name=name,
        title=f"Values in the order of the trials: {study.label}",
        caption=f"{dots} Line: best so far. {band}{cut}{crossed}",
        panels=(canvas.panel(alt),),
    )


def _staircase(
    points: Sequence[tuple[int, float]], better: object, *, x: Scale, y: Scale, end: float
) -> list[tuple[float, float]]:
    steps: list[tuple[float, float]] = []
    best: float | None = None
    for n, value in points:
        improved = best is None or (value > best if better is max else value < best)
        if improved:
            if best is not None:
                steps.append((x(n), clamped(y, best)))
            steps.append((x(n), clamped(y, value)))
            best = value
    if best is not None:
        steps.append((end, clamped(y, best)))
    return steps


def _within_noise(values: Sequence[float], best: float, sd: float) -> int:
    return sum(abs(value - best) <= 1.96 * math.sqrt(2) * sd for value in values)


def _some(shown: int, every: int) -> str:
    return f", {shown:,} of {every:,}" if shown < every else ""


def _thinned(points: Sequence[tuple[int, float]], most: int) -> Sequence[tuple[int, float]]:
    return points if len(points) <= most else points[:: math.ceil(len(points) / most)]


def curves(study: StudyFindings, *, name: str) -> Figure | None:
    """Learning curves: the metric by step."""
    drawn = [n for n, points in study.curves.items() if len(points) > 1]
    if not drawn:
        return None
    best = study.summary.best.number if study.summary.best is not None else None
    chosen = [best] if best in drawn else []
    chosen += [n for n in drawn if n != best][: MOST_CURVES - len(chosen)]
    curve = {n: list(study.curves[n]) for n in chosen if n is not None}
    every = [value for points in curve.values() for _, value in points if math.isfinite(value)]
    if not every:
        return None
    canvas = Canvas(width=860, height=320)
    left, right, top, bottom = 62, 780, 34, 276
    steps = [step for points in curve.values() for step, _ in points]
    low, high = inner_range(every)
    x, y = scale(steps, start=left, end=right, pad=0.0), scale([low, high], start=bottom, end=top)
    canvas.y_axis(y, left=left, right=right, title=metric_title(study))
    canvas.x_axis(x, bottom=bottom, title="step as reported")
    for n in reversed(chosen):
        assert n is not None
        points = [(x(step), clamped(y, value)) for step, value in curve[n] if math.isfinite(value)]
        told = f"trial {n}: {number(curve[n][-1][1], study.summary.std)} after step {curve[n][-1][0]}"
        canvas.path(points, "run best" if n == best else "run", title=told, data=told)
        if n == best:
            canvas.text(points[-1][0] + 6, points[-1][1] + 4, f"best: {n}", "t", most=12)
    more = f" {len(drawn) - len(chosen)} further ones are not drawn." if len(drawn) > len(chosen) else ""
    return Figure(
        name=name,
        title=f"Learning curves: {study.label}",
        caption=f"One line per trial, {len(chosen)} of {len(drawn)} that reported steps.{more} Orange: the best trial.",
        panels=(canvas.panel(f"Learning curves of {count(len(chosen), 'trial')}, steps {min(steps)} to {max(steps)}"),),
        tells="Point at a line, or tap it, to read its trial.",
    )


def parallel(trials: PlottedTrials, *, direction: str, metric: str, spread: float | None, name: str) -> Figure | None:
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
        told = ", ".join(f"{axis.name} = {axis.values[i]}" for axis in axes if axis.positions[i] is not None)
        told = f"trial {trials.numbers[i]}: {metric} {number(trials.values[i], spread)}; {told}"
        canvas.path(points, "run best" if i == best else "run top" if i in quarter else "run", title=told, data=told)
    for j, axis in enumerate(axes):
        _upright(
            canvas, left + gap * j, axis, top=top, bottom=bottom, letters=int(gap / CHARACTER) - 1, raised=j % 2 == 1
        )
    canvas.line(right, top, right, bottom, "axis")
    ticks = y.ticks(5)
    for tick in ticks:
        canvas.text(right + 6, y(tick) + 4, number(tick, spread), "t m")
    canvas.text(right, top - 12, metric, "t b", anchor="middle", most=16)
    left_out = len(trials.numbers) - len(chosen)
    more = f" {left_out} trials are left out, the best {len(chosen) // 2} are all there." if left_out else ""
    hidden = (
        f" {len(trials.axes) - len(axes)} further parameters are not drawn." if len(trials.axes) > len(axes) else ""
    )
    return Figure(
        name=name,
        title=f"All parameters of each trial: {trials.label}",
        caption=f"One line per trial. Blue: the top quarter; orange: the best, which may be luck.{more}{hidden}",
        panels=(
            canvas.panel(
                f"Parallel coordinates of {count(len(chosen), 'trial')} "
                f"over {', '.join(axis.name for axis in axes)}; best: "
                + ", ".join(f"{axis.name} = {axis.values[best]}" for axis in axes if axis.positions[best] is not None)
            ),
        ),
        tells="Point at a line, or tap it, to read its trial.",
    )


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


def slices(trials: PlottedTrials, *, direction: str, metric: str, spread: float | None, name: str) -> Figure | None:
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
