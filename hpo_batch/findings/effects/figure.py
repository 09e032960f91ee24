"""What each parameter does, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.document.drawing import MOST_LEVELS, MOST_PANELS, Figure, clamped, inner_range
from hpo_batch.document.svg import Canvas, Panel, Scale, scale
from hpo_batch.findings.effects.numbers import TRENDS, Effect
from hpo_batch.records import Estimate
from hpo_batch.text.numbers import count, number


def effects_figure(
    effects: Sequence[Effect], *, metric: str, spread: float | None, name: str, title: str
) -> Figure | None:
    """A panel per parameter on one scale: adjusted means with intervals beside the plain ones."""
    shown = [effect for effect in effects if effect.varied and effect.rows][:MOST_PANELS]
    if not shown:
        return None
    low, high = _range_of(shown)
    panels = tuple(_effect(effect, low=low, high=high, metric=metric, spread=spread) for effect in shown)
    more = len([e for e in effects if e.varied and e.rows]) - len(shown)
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
    carried = effect.trend in TRENDS
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
            text = f"{row.label}: plain mean {number(row.mean, spread)} of {count(row.n, 'trial')}"
            canvas.dot(x - (0 if effect.curve else 4), clamped(y, row.mean), 4, "hollow", title=text)
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
    carried = effect.trend in TRENDS
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


def _range_of(effects: Sequence[Effect]) -> tuple[float, float]:
    means: list[float] = []
    for effect in effects:
        means += [row.mean for row in effect.rows[:MOST_LEVELS] if row.mean is not None and row.n]
        estimates = [row.adjusted for row in effect.rows[:MOST_LEVELS]] + [e for _, e in effect.curve]
        for estimate in estimates:
            means += [v for v in _ends(estimate) if v is not None]
    return inner_range(means)


def _ends(estimate: Estimate | None) -> tuple[float | None, ...]:
    return () if estimate is None else (estimate.value, estimate.low, estimate.high)
