"""Every value in the order of the trials, drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
