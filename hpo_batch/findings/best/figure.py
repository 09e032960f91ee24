"""The history of a search, and the front of one with several metrics, drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from hpo_batch.document.drawing import MOST_DOTS, NARROW, Figure, clamped, inner_range, trial_key
from hpo_batch.document.svg import Canvas, Panel, Scale, scale
from hpo_batch.findings.phrases import band, fine, metric_title, spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.trials.rows import Reported
from hpo_batch.text.numbers import count, number

Point = TypeVar("Point")

MOST_LINES: Final = 400
BESIDE: Final = 620
"""pixels across, beside the best configuration"""
SMALL: Final = 326
"""pixels across, of one of several studies beside each other"""


def history_figure(studies: Sequence[StudyFindings], file_names: Mapping[str, str], *, name: str) -> Figure | None:
    """Every value in the order of the trials, the best so far, and what noise makes of the best: a panel a study."""
    shown = [study for study in studies if len(study.history) > 1]
    if not shown:
        return None
    one = len(shown) == 1
    narrow = tuple(
        _history(study, file_names[study.label], width=NARROW, height=260, titled=not one) for study in shown
    )
    panels = tuple(
        _history(study, file_names[study.label], width=BESIDE if one else SMALL, height=300, titled=not one)
        for study in shown
    )
    first = shown[0]
    pruned = any(set(study.curves) - {n for n, _ in study.history} for study in shown)
    dots = f"Dots: {MOST_DOTS:,} of {len(first.history):,} complete trials. " if len(first.history) > MOST_DOTS else ""
    known = any(study.noise.sd is not None for study in shown)
    bands = "Band: within noise of the best." if known else "The noise floors are unknown: no bands."
    caption = dots + _caption(first) if one else bands
    return Figure(
        name=name,
        title=f"{first.metric} in the order of the trials",
        caption="Line: best so far. "
        + (
            "Hollow: last value of trials that did not complete, a triangle where it lies beyond the axis. "
            if pruned
            else ""
        )
        + caption
        + (" Crosses: suspects." if any(study.suspects for study in shown) else ""),
        panels=panels,
        narrow=narrow,
    )


def _history(study: StudyFindings, key: str, *, width: int, height: int, titled: bool) -> Panel:
    canvas = Canvas(width=width, height=height)
    left, right, top, bottom = 62, width - 12, 52 if titled else 34, height - 44
    if titled:
        canvas.text(4, 15, study.label, "t b", most=int(width / 7.5))
    complete = {n for n, _ in study.history}
    reported = [(n, points[-1][1]) for n, points in study.curves.items() if n not in complete and len(points)]
    ended_early = _thinned([(n, v) for n, v in reported if math.isfinite(v)], MOST_DOTS // 2)
    values = [value for _, value in study.history]
    numbers = sorted({*complete, *(n for n, _ in ended_early)})
    # numbers that are somebody's identifiers would leave the axis almost empty
    sparse = numbers[-1] - numbers[0] > 20 * len(numbers)
    place = {n: i if sparse else n for i, n in enumerate(numbers)}
    x = scale(list(place.values()), start=left, end=right, pad=0.02)
    y = scale(inner_range(values), start=bottom, end=top)
    canvas.y_axis(y, left=left, right=right, title=metric_title(study))
    most = max(3, int((right - left) / 80))
    title = "trials, in the order of their numbers" if sparse else "trial number"
    canvas.x_axis(x, bottom=bottom, title=title, most=most)
    better = max if study.direction == "maximize" else min
    best, sd = better(values), study.noise.sd
    if sd is not None:
        other = best - math.copysign(band(sd.value), 1 if better is max else -1)
        ends = sorted((clamped(y, best), clamped(y, other)))
        canvas.rect(left, ends[0], right - left, ends[1] - ends[0], "band2")
    for n, value in ended_early:
        told = f"trial {n}: {number(value, spread_of(study))} when it ended"
        if y.low <= value <= y.high:
            canvas.dot(x(place[n]), y(value), 2.5, "hollow", title=told, trial=trial_key(key, n))
        else:
            canvas.triangle(
                x(place[n]), clamped(y, value), "hollow", up=value > y.high, title=told, trial=trial_key(key, n)
            )
    shown = _thinned(study.history, MOST_DOTS)
    suspects = {suspect.number for suspect in study.suspects}
    crosses = _thinned([point for point in study.history if point[0] in suspects], MOST_LINES)
    _dots(canvas, study, key, sorted({*shown, *crosses}), x=lambda n: x(place[n]), y=y)
    canvas.path(_staircase([(place[n], v) for n, v in study.history], better, x=x, y=y, end=right), "l1")
    within = "" if sd is None else f"{within_noise(study)} of {len(values)} trials lie in the band"
    alt = (
        f"Value of each of {count(len(values), 'trial')} of {study.label} by number; the best is "
        f"{number(best, fine(study))}, first reached by trial "
        f"{next(n for n, v in study.history if v == best)}. {within}"
    )
    return canvas.panel(alt)


def _dots(
    canvas: Canvas,
    study: StudyFindings,
    key: str,
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
        text, trial = f"trial {n}: {number(value, spread_of(study))}", trial_key(key, n)
        if not low <= value <= high:
            canvas.triangle(x(n), clamped(y, value), "d2", up=value > high, title=text, trial=trial)
        elif n in suspects:
            canvas.cross(x(n), y(value), "l2", title=f"{text}, {suspects[n].text}", trial=trial)
        else:
            canvas.dot(x(n), y(value), radius, "d1 faint", title=text, trial=trial)


def _caption(study: StudyFindings) -> str:
    values = [value for _, value in study.history]
    low, high = inner_range(values)
    beyond = sum(not low <= value <= high for value in values)
    noise = (
        "The noise floor is unknown: no band."
        if study.noise.sd is None
        else f"Band: within noise of the best ({study.noise.source}); {within_noise(study)} of "
        f"{len(values)} trials lie in it."
    )
    return noise + (f" {count(beyond, 'value')} beyond the axis: triangles." if beyond else "")


def within_noise(study: StudyFindings) -> int:
    """Complete trials that noise alone does not tell from the best, which is one of them; the floor must be known."""
    values = [value for _, value in study.history]
    best = max(values) if study.direction == "maximize" else min(values)
    assert study.noise.sd is not None
    return sum(abs(value - best) <= band(study.noise.sd.value) for value in values)


def front_figure(study: StudyFindings, reported: Reported, key: str, *, name: str) -> Figure | None:
    """The first two metrics of every complete trial, those on the front in colour."""
    metrics = study.metric.split(", ")
    points = [(n, values[0], values[1]) for n, values in reported.values if len(values) > 1]
    if len(points) < 2 or len(metrics) < 2:
        return None
    front = {trial.number for trial in study.front}

    def drawn(width: int) -> Panel:
        canvas = Canvas(width=width, height=320)
        left, right, top, bottom = 62, width - 12, 34, 276
        x = scale(inner_range([a for _, a, _ in points]), start=left, end=right)
        y = scale(inner_range([b for *_, b in points]), start=bottom, end=top)
        canvas.y_axis(y, left=left, right=right, title=metrics[1])
        canvas.x_axis(x, bottom=bottom, title=metrics[0])
        shown = [p for p in points if p[0] in front] + list(
            _thinned([p for p in points if p[0] not in front], MOST_DOTS)
        )
        for n, a, b in reversed(shown):
            told = f"trial {n}: {metrics[0]} {number(a)}, {metrics[1]} {number(b)}"
            kind, radius = ("d1", 4.5) if n in front else ("dq", 2.8)
            canvas.dot(clamped(x, a), clamped(y, b), radius, kind, title=told, trial=trial_key(key, n))
        return canvas.panel(f"{metrics[0]} and {metrics[1]} of {len(points)} trials; {len(front)} on the front")

    return Figure(
        name=name,
        title=f"{metrics[0]} against {metrics[1]}",
        caption="Blue: trials that no other dominates.",
        panels=(drawn(560),),
        narrow=(drawn(NARROW),),
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


def _thinned(points: Sequence[Point], most: int) -> Sequence[Point]:
    return points if len(points) <= most else points[:: math.ceil(len(points) / most)]
