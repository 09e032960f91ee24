"""Figures of what parameters do: effects, importance, how the space was covered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from hpo_batch.document.drawing import MOST_LEVELS, MOST_PANELS, Figure, clamped, inner_range
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, Scale, scale
from hpo_batch.findings.coverage.numbers import Coverage
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.importance.numbers import Importance
from hpo_batch.records import Estimate
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count, number

FOUND: Final = ("increasing", "decreasing", "peaked", "differs")
"""trends that the adjusted test carries"""


def effects(found: Sequence[Effect], *, metric: str, spread: float | None, name: str, title: str) -> Figure | None:
    """A panel per parameter on one scale: adjusted means with intervals beside the plain ones."""
    shown = [effect for effect in found if effect.varied and effect.rows][:MOST_PANELS]
    if not shown:
        return None
    low, high = _range_of(shown)
    panels = tuple(_effect(effect, low=low, high=high, metric=metric, spread=spread) for effect in shown)
    more = len([e for e in found if e.varied and e.rows]) - len(shown)
    return Figure(
        name=name,
        title=title,
        caption="Filled: mean with the other parameters held alike, 95 "
        "% interval. Hollow: plain mean of the trials, which the "
        "sampler's choices bias. Grey numbers: trials. All panels share one scale."
        + (f" {more} further parameters are in the table only." if more else ""),
        panels=panels,
    )


def _effect(effect: Effect, *, low: float, high: float, metric: str, spread: float | None) -> Panel:
    canvas = Canvas(width=328, height=236)
    left, right, top, bottom = 58, 320, 46, 188
    carried = effect.trend in FOUND
    canvas.text(4, 15, effect.parameter, "t b", most=42)
    canvas.text(4, 31, effect.trend, "t" if carried else "t m", most=46)
    y = scale([low, high], start=bottom, end=top, pad=0.04)
    canvas.y_axis(y, left=left, right=right)
    rows = effect.rows[:MOST_LEVELS]
    places: Sequence[float]
    if effect.curve:
        places = _curve(canvas, effect, y=y, left=left, right=right, bottom=bottom)
    else:
        places = canvas.named_axis([row.label for row in rows], left=left, right=right, bottom=bottom)
    for i, (x, row) in enumerate(zip(places, rows, strict=False)):
        if row.mean is not None:
            told = f"{row.label}: plain mean {number(row.mean, spread)} of {count(row.n, 'trial')}"
            canvas.dot(x - (0 if effect.curve else 4), clamped(y, row.mean), 4, "hollow", title=told)
        if row.adjusted is not None and not effect.curve:
            _whisker(canvas, x + 4, row.adjusted, y=y, classes="1" if carried else "q")
        if len(rows) <= 8 or i % 2 == 0:
            canvas.text(x, bottom + 43, f"{row.n}", "t m", anchor="middle", most=6)
    if not effect.curve and len(effect.rows) > len(rows):
        canvas.text(right, 31, f"first {len(rows)} of {len(effect.rows)} values", "t m", anchor="end")
    means = ", ".join(f"{row.label}: {number(_best_mean(row.adjusted, row.mean), spread)}" for row in rows[:8])
    return canvas.panel(f"Effect of {effect.parameter} on {metric}: {effect.trend}. {means}")


def _curve(canvas: Canvas, effect: Effect, *, y: Scale, left: float, right: float, bottom: float) -> Sequence[float]:
    at = [position for position, _ in effect.curve]
    log = min(at) > 0 and max(at) / min(at) >= 30
    x = scale(at, start=left, end=right, log=log, pad=0.02)
    canvas.x_axis(x, bottom=bottom, most=4)
    banded = [(position, e) for position, e in effect.curve if e.low is not None and e.high is not None]
    canvas.area(
        [(x(p), clamped(y, e.high)) for p, e in banded if e.high is not None],
        [(x(p), clamped(y, e.low)) for p, e in banded if e.low is not None],
        "band1",
    )
    carried = effect.trend in FOUND
    canvas.path([(x(p), clamped(y, e.value)) for p, e in effect.curve], "l1" if carried else "lq")
    # the plain means are those of intervals: their places are the middles of equal shares of the axis
    step = (right - left) / max(1, len(effect.rows))
    return [left + step * (i + 0.5) for i in range(len(effect.rows))]


def _whisker(canvas: Canvas, x: float, estimate: Estimate, *, y: Scale, classes: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        canvas.line(x, clamped(y, estimate.low), x, clamped(y, estimate.high), f"l{classes}")
    canvas.dot(x, clamped(y, estimate.value), 4, f"d{classes}", title=f"adjusted mean {number(estimate.value)}")


def _best_mean(adjusted: Estimate | None, mean: float | None) -> float | None:
    return mean if adjusted is None else adjusted.value


def _range_of(found: Sequence[Effect]) -> tuple[float, float]:
    means: list[float] = []
    for effect in found:
        means += [row.mean for row in effect.rows[:MOST_LEVELS] if row.mean is not None and row.n]
        estimates = [row.adjusted for row in effect.rows[:MOST_LEVELS]] + [e for _, e in effect.curve]
        for estimate in estimates:
            means += [v for v in _ends(estimate) if v is not None]
    return inner_range(means)


def _ends(estimate: Estimate | None) -> tuple[float | None, ...]:
    return () if estimate is None else (estimate.value, estimate.low, estimate.high)


def importance(found: Importance, *, name: str, title: str) -> Figure | None:
    if not found.rows:
        return None
    rows = sorted(found.rows, key=lambda row: -row.value)[:MOST_LEVELS]
    named = min(26, max(len(short(row.parameter, 26)) for row in rows))
    left, right, top = 14 + named * CHARACTER * 1.08, 640.0, 34
    canvas = Canvas(width=680, height=top + 26 * len(rows) + 44)
    bottom = top + 26 * len(rows)
    top_value = max([row.high or row.value for row in rows] + [found.null_line or 0.0, 1e-9])
    x = Scale(low=0.0, high=min(1.0, top_value * 1.12), start=left, end=right)
    canvas.x_axis(x, bottom=bottom, title="share of the variance explained (fANOVA)")
    for i, row in enumerate(rows):
        middle = top + 26 * i + 13
        canvas.text(left - 8, middle + 4, row.parameter, "t" if row.above_null else "t m", anchor="end", most=26)
        told = f"{row.parameter}: {number(row.value, 0.05)}" + ("" if row.above_null else ", below the null line")
        canvas.rect(left, middle - 8, x(row.value) - left, 16, "d1" if row.above_null else "dq", title=told)
        if row.low is not None and row.high is not None:
            canvas.line(x(row.low), middle, x(row.high), middle, "axis")
            for end in (row.low, row.high):
                canvas.line(x(end), middle - 4, x(end), middle + 4, "axis")
    if found.null_line is not None:
        at = x(found.null_line)
        canvas.line(at, top - 8, at, bottom, "l2 dash thin")
        canvas.text(at + 5, top - 12, "null line: parameters that do nothing end left of it", "t m")
    above = [row.parameter for row in rows if row.above_null]
    return Figure(
        name=name,
        title=title,
        caption=f"Bars: {found.method or 'fANOVA'}, n = {found.n}. "
        "Whiskers: range over resampled trials and forest seeds "
        "(stability, not a confidence interval). Grey bars are below what parameters reach that do nothing.",
        panels=(
            canvas.panel(
                f"Importance of {count(len(rows), 'parameter')}: "
                + ", ".join(f"{row.parameter} {number(row.value, 0.05)}" for row in rows[:6])
                + f"; above the null line: {', '.join(above) or 'none'}"
            ),
        ),
    )


def coverage(matrices: Sequence[Coverage], *, name: str, title: str) -> Figure | None:
    """Heat maps of pairs of parameters: trials per combination."""
    shown = [m for m in matrices if m.counts and len(m.parameters) == 2][:MOST_PANELS]
    if not shown:
        return None
    return Figure(
        name=name,
        title=title,
        caption="Trials per combination; the darker the more. 0 in a "
        "dashed frame: nobody tried it. No frame: not valid.",
        panels=tuple(_matrix(matrix) for matrix in shown),
    )


def _matrix(matrix: Coverage) -> Panel:
    rows = list(dict.fromkeys(labels[0] for labels, _ in matrix.counts))
    columns = list(dict.fromkeys(labels[1] for labels, _ in matrix.counts))
    columns.sort(key=_by_size)
    counts = dict(matrix.counts)
    most = max([1, *counts.values()])
    longest = max(len(str(column)) for column in columns)
    size = max(36, min(72, int(CHARACTER * longest) + 10)) if len(columns) <= 8 else 26
    left = 18 + CHARACTER * min(10, max(len(short(row, 10)) for row in rows))
    width = max(int(left + size * len(columns) + 8), 250)
    canvas = Canvas(width=width, height=58 + 26 * len(rows) + 14)
    letters = int(width / CHARACTER) - 2
    each = int((width / 7.4 - 7) / 2)
    down, across = (short(name, each) for name in matrix.parameters)
    canvas.text(4, 15, f"{down} \N{DOWNWARDS ARROW}  {across} \N{RIGHTWARDS ARROW}", "t b", most=99)
    canvas.text(4, 32, f"{matrix.found} of {matrix.cells} tried", "t m", most=letters)
    for j, column in enumerate(columns):
        canvas.text(left + size * (j + 0.5), 52, column, "t m", anchor="middle", most=max(2, int(size / CHARACTER)))
    for i, row in enumerate(rows):
        y = 58 + 26 * i
        canvas.text(left - 6, y + 17, row, "t m", anchor="end", most=10)
        for j, column in enumerate(columns):
            n = counts.get((row, column))
            if n is None:
                continue
            told = f"{matrix.parameters[0]} = {row}, {matrix.parameters[1]} = {column}: {count(n, 'trial')}"
            shade = f"cell k{min(4, math.ceil(4 * n / most))}" if n else "none"
            inset = 0 if n else 2
            canvas.rect(left + size * j + inset, y + inset, size - 2 * inset, 26 - 2 * inset, shade, title=told)
            canvas.text(left + size * (j + 0.5), y + 17, n, "t" if n else "t m", anchor="middle", most=4)
    empty = [" and ".join(labels) for labels, n in matrix.counts if n == 0]
    return canvas.panel(
        f"Trials per combination of {' and '.join(matrix.parameters)}: {matrix.found} of {matrix.cells} tried; "
        + (f"not tried: {'; '.join(empty[:8])}" if empty else "none is empty")
    )


def _by_size(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
