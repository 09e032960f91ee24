"""Every value in the order of the trials, drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from hpo_batch.document.drawing import MOST_DOTS, Figure, clamped, inner_range
from hpo_batch.document.svg import Canvas, Scale, scale
from hpo_batch.findings.phrases import metric_title
from hpo_batch.findings.records import StudyFindings
from hpo_batch.text.numbers import count, number

MOST_LINES: Final = 400


def history_figure(study: StudyFindings, *, name: str) -> Figure | None:
    """Every value in the order of the trials, the best so far, and what noise makes of the best."""
    if len(study.history) < 2:
        return None
    canvas = Canvas(width=860, height=320)
    left, right, top, bottom = 62, 848, 34, 276
    values = [value for _, value in study.history]
    first, last = study.history[0][0], study.history[-1][0]
    # numbers that are somebody's identifiers would leave the axis almost empty
    sparse = last - first > 20 * len(values)
    place = {n: i if sparse else n for i, (n, _) in enumerate(study.history)}
    x = scale(list(place.values()), start=left, end=right, pad=0.02)
    y = scale(inner_range(values), start=bottom, end=top)
    canvas.y_axis(y, left=left, right=right, title=metric_title(study))
    canvas.x_axis(
        x, bottom=bottom, title="trials, in the order of their numbers" if sparse else "trial number", most=10
    )
    better = max if study.direction == "maximize" else min
    best, sd = better(values), study.noise.sd
    if sd is not None:
        other = best - math.copysign(_band(sd.value), 1 if better is max else -1)
        ends = sorted((clamped(y, best), clamped(y, other)))
        canvas.rect(left, ends[0], right - left, ends[1] - ends[0], "band2")
    shown = _thinned(study.history, MOST_DOTS)
    suspects = {suspect.number for suspect in study.suspects}
    suspected = [point for point in study.history if point[0] in suspects]
    crosses = _thinned(suspected, MOST_LINES)
    _dots(canvas, study, sorted({*shown, *crosses}), x=lambda n: x(place[n]), y=y)
    canvas.path(_staircase([(place[n], v) for n, v in study.history], better, x=x, y=y, end=right), "l1")
    within = "" if sd is None else f"{_within_noise(values, best, sd.value)} of {len(values)} trials lie in the band"
    alt = (
        f"Value of each of {len(values)} trials of {study.label} by number; the best is "
        f"{number(best, study.summary.std)}, first reached by trial "
        f"{next(n for n, v in study.history if v == best)}. {within}"
    )
    crossed = f" Crosses: trials to look at before they are believed{_some(len(crosses), len(suspected))}."
    return Figure(
        name=name,
        title=f"Values in the order of the trials: {study.label}",
        caption=f"Dots: complete trials{_some(len(shown), len(values))}. Line: best so far. "
        f"{_caption(study, values, within)}{crossed if suspects else ''}",
        panels=(canvas.panel(alt),),
    )


def _dots(
    canvas: Canvas,
    study: StudyFindings,
    points: Sequence[tuple[int, float]],
    *,
    x: Callable[[int], float],
    y: Scale,
) -> None:
    """A dot for each trial, a cross for a suspect, a triangle at the edge for a value beyond the axis."""
    low, high = inner_range([value for _, value in study.history])
    suspects = {suspect.number: suspect for suspect in study.suspects}
    radius = 3.2 if len(study.history) < 300 else 2
    for n, value in points:
        text = f"trial {n}: {number(value, study.summary.std)}"
        if not low <= value <= high:
            canvas.triangle(x(n), clamped(y, value), "d2", up=value > high, title=text)
        elif n in suspects:
            canvas.cross(x(n), y(value), "l2", title=f"{text}, {suspects[n].text}")
        else:
            canvas.dot(x(n), y(value), radius, "d1 faint", title=text)


def _caption(study: StudyFindings, values: Sequence[float], within: str) -> str:
    low, high = inner_range(values)
    beyond = sum(not low <= value <= high for value in values)
    band = (
        "The noise floor is unknown, so no band can be drawn."
        if study.noise.sd is None
        else f"Band: values that noise alone ({study.noise.source}) does not tell from the best; {within}."
    )
    return band + (f" {count(beyond, 'value')} beyond the axis: triangles at its edge." if beyond else "")


def _band(sd: float) -> float:
    """Half of the 95 % interval of the difference of two values with this noise."""
    return 1.96 * math.sqrt(2) * sd


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
    return sum(abs(value - best) <= _band(sd) for value in values)


def _some(shown: int, every: int) -> str:
    return f", {shown:,} of {every:,}" if shown < every else ""


def _thinned(points: Sequence[tuple[int, float]], most: int) -> Sequence[tuple[int, float]]:
    return points if len(points) <= most else points[:: math.ceil(len(points) / most)]
