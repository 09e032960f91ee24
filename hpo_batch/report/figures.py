"""The figures of a report: each a few panels with a caption and words for those who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpo_batch.analysis.records import Budgets, Coverage, Effect, Efficiency, Estimate, Importance, StudyFindings
from hpo_batch.report.svg import CHARACTER, Canvas, Panel, Scale, scale
from hpo_batch.report.text import count, hours, label, number, percent, short
from hpo_batch.report.trials import Axis, Drawn

FOUND: Final = ("increasing", "decreasing", "peaked", "differs")
"""trends that the adjusted test carries"""
MOST_LEVELS: Final = 16
MOST_LINES: Final = 400
MOST_DOTS: Final = 2000
MOST_CURVES: Final = 60
MOST_PANELS: Final = 24
TOP: Final = 0.25
REACH: Final = 8.0
"""axes of the metric end so many interquartile ranges beyond the middle half, lest one divergent trial flatten all"""


@dataclass(frozen=True, kw_only=True)
class Figure:
    name: str
    """of its file, without suffix"""
    title: str
    caption: str
    """how to read it"""
    panels: tuple[Panel, ...]
    tells: str = ""
    """what a line under the pointer is told in; empty: nothing to point at"""


def history(study: StudyFindings, *, name: str) -> Figure | None:
    """Every value in the order of the trials, the best so far, and what noise makes of the best."""
    if len(study.history) < 2:
        return None
    canvas = Canvas(width=860, height=320)
    left, right, top, bottom = 62, 848, 34, 276
    values = [value for _, value in study.history]
    low, high = _inner_range(values)
    first, last = study.history[0][0], study.history[-1][0]
    # numbers that are somebody's identifiers would leave the axis almost empty
    sparse = last - first > 20 * len(values)
    place = {n: i if sparse else n for i, (n, _) in enumerate(study.history)}
    x = scale(list(place.values()), start=left, end=right, pad=0.02)
    y = scale([low, high], start=bottom, end=top)
    canvas.y_axis(y, left=left, right=right, title=_metric(study))
    canvas.x_axis(
        x, bottom=bottom, title="trials, in the order of their numbers" if sparse else "trial number", most=10
    )
    better = max if study.direction == "maximize" else min
    best = better(values)
    sd = study.noise.sd
    if sd is not None:
        other = best - math.copysign(1.96 * math.sqrt(2) * sd.value, 1 if better is max else -1)
        ends = sorted((_within(y, best), _within(y, other)))
        canvas.rect(left, ends[0], right - left, ends[1] - ends[0], "band2")
    suspects = {suspect.number: suspect for suspect in study.suspects}
    beyond = 0
    for n, value in _thinned(study.history, MOST_DOTS):
        told = f"trial {n}: {number(value, _spread(study))}"
        if not low <= value <= high:
            beyond += 1
            canvas.triangle(x(place[n]), _within(y, value), "d2", up=value > high, title=told)
        elif n in suspects:
            canvas.cross(x(place[n]), y(value), "l2", title=f"{told}, {suspects[n].text}")
        else:
            canvas.dot(x(place[n]), y(value), 3.2 if len(values) < 300 else 2, "d1 faint", title=told)
    canvas.path(_staircase([(place[n], v) for n, v in study.history], better, x=x, y=y, end=right), "l1")
    within = "" if sd is None else f"{_within_noise(values, best, sd.value)} of {len(values)} trials lie in the band"
    alt = (
        f"Value of each of {len(values)} trials of {study.label} "
        f"by number; the best is {number(best, _spread(study))}, "
        f"first reached by trial {next(n for n, v in study.history if v == best)}. {within}"
    )
    band = (
        "The noise floor is unknown, so no band can be drawn."
        if sd is None
        else f"Band: values that noise alone ({study.noise.source}) does not tell from the best; {within}."
    )
    cut = f" {count(beyond, 'value')} beyond the axis: triangles at its edge." if beyond else ""
    crossed = " Crosses: trials to look at before they are believed." if suspects else ""
    return Figure(
        name=name,
        title=f"Values in the order of the trials: {study.label}",
        caption=f"Dots: complete trials. Line: best so far. {band}{cut}{crossed}",
        panels=(canvas.panel(alt),),
    )


def effects(
    found: Sequence[Effect], *, metric: str, spread: float | None, name: str, title: str, baseline: float | None = None
) -> Figure | None:
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
            canvas.dot(x - (0 if effect.curve else 4), _within(y, row.mean), 4, "hollow", title=told)
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
        [(x(p), _within(y, e.high)) for p, e in banded if e.high is not None],
        [(x(p), _within(y, e.low)) for p, e in banded if e.low is not None],
        "band1",
    )
    carried = effect.trend in FOUND
    canvas.path([(x(p), _within(y, e.value)) for p, e in effect.curve], "l1" if carried else "lq")
    # the plain means are those of intervals: their places are the middles of equal shares of the axis
    step = (right - left) / max(1, len(effect.rows))
    return [left + step * (i + 0.5) for i in range(len(effect.rows))]


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


def parallel(trials: Drawn, *, direction: str, metric: str, spread: float | None, name: str) -> Figure | None:
    """Parallel coordinates: one line per trial, the top quarter in colour."""
    axes = trials.axes[:12]
    if len(trials.numbers) < 2 or not axes:
        return None
    canvas = Canvas(width=max(680, min(1040, 130 * (len(axes) + 1))), height=330)
    left, right, top, bottom = 40, canvas.width - 64, 50, 296
    gap = (right - left) / len(axes)
    low, high = _inner_range(trials.values)
    y = scale([low, high], start=bottom, end=top, pad=0.02)
    chosen, best, quarter = _best_and_top(trials.values, direction)
    for i in chosen[::-1]:  # the better ones lie above the others
        points = [
            (left + gap * j, bottom - axis.positions[i] * (bottom - top))  # type: ignore[operator]
            for j, axis in enumerate(axes)
            if axis.positions[i] is not None
        ]
        points.append((right, _within(y, trials.values[i])))
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


def slices(trials: Drawn, *, direction: str, metric: str, spread: float | None, name: str) -> Figure | None:
    """Each parameter against the metric, trial by trial."""
    if not trials.values or not trials.axes:
        return None
    low, high = _inner_range(trials.values)
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
            canvas.dot(x(at) + aside, _within(y, trials.values[i]), 4.2 if i == best else 2.8, kind, title=told)
        panels.append(canvas.panel(f"{metric} of each trial by {axis.name}; best at {axis.values[best]}"))
    return Figure(
        name=name,
        title=f"Each parameter against {metric}: {trials.label}",
        caption="Dots: trials, moved a little aside so that they do not "
        "hide each other. Blue: the top quarter; orange: the best. "
        "How many there are shows where the sampler looked, not what is good.",
        panels=tuple(panels),
    )


def curves(study: StudyFindings, *, name: str) -> Figure | None:
    """Learning curves: the metric by step."""
    drawn = {n: points for n, points in study.curves.items() if len(points) > 1}
    if not drawn:
        return None
    best = study.summary.best.number if study.summary.best is not None else None
    chosen = [best] if best in drawn else []
    chosen += [n for n in drawn if n != best][: MOST_CURVES - len(chosen)]
    every = [value for n in chosen if n is not None for _, value in drawn[n] if math.isfinite(value)]
    if not every:
        return None
    canvas = Canvas(width=860, height=320)
    left, right, top, bottom = 62, 780, 34, 276
    steps = [step for n in chosen if n is not None for step, _ in drawn[n]]
    low, high = _inner_range(every)
    x, y = scale(steps, start=left, end=right, pad=0.0), scale([low, high], start=bottom, end=top)
    canvas.y_axis(y, left=left, right=right, title=_metric(study))
    canvas.x_axis(x, bottom=bottom, title="step as reported")
    for n in reversed(chosen):
        assert n is not None
        points = [(x(step), _within(y, value)) for step, value in drawn[n] if math.isfinite(value)]
        told = f"trial {n}: {number(drawn[n][-1][1], _spread(study))} after step {drawn[n][-1][0]}"
        canvas.path(points, "run best" if n == best else "run", title=told, data=told)
        if n == best:
            canvas.text(points[-1][0] + 6, points[-1][1] + 4, f"best: {n}", "t", most=10)
    more = f" {len(drawn) - len(chosen)} further ones are not drawn." if len(drawn) > len(chosen) else ""
    return Figure(
        name=name,
        title=f"Learning curves: {study.label}",
        caption=f"One line per trial, {len(chosen)} of {len(drawn)} that reported steps.{more} Orange: the best trial.",
        panels=(canvas.panel(f"Learning curves of {count(len(chosen), 'trial')}, steps {min(steps)} to {max(steps)}"),),
        tells="Point at a line, or tap it, to read its trial.",
    )


def budgets(found: Budgets, *, metric: str, name: str) -> Figure | None:
    rows = [row for row in found.rows if row.n]
    if len(rows) < 2:
        return None
    canvas = Canvas(width=680, height=64 + 42 * len(rows) + 20)
    longest = max(len(short(row.label, 24)) for row in rows)
    sized = max([0, *(len(_range_text(row.n_params)) for row in rows if row.n_params is not None)])
    left, right, top = 20 + max(longest * 1.1, sized) * CHARACTER, 560.0, 34
    bottom = top + 42 * len(rows)
    ends = [v for row in rows for v in (row.best.value, row.best.low, row.best.high, row.mean) if v is not None]
    x = scale(ends, start=left, end=right)
    spread = (x.high - x.low) / 20
    canvas.x_axis(x, bottom=bottom, title=metric)
    for i, row in enumerate(rows):
        y = top + 42 * i + 20
        canvas.line(left, y, right, y, "grid")
        canvas.text(left - 8, y + (-1 if row.n_params else 4), row.label, "t b", anchor="end", most=24)
        if row.n_params is not None:
            canvas.text(left - 8, y + 13, _range_text(row.n_params), "t m", anchor="end", most=40)
        canvas.dot(x(row.mean), y, 4, "hollow", title=f"mean {number(row.mean, spread)} of {row.n}")
        if row.best.low is not None and row.best.high is not None:
            canvas.line(x(row.best.low), y, x(row.best.high), y, "l1")
        canvas.dot(x(row.best.value), y, 5, "d1", title=f"best {number(row.best.value, spread)}")
        canvas.text(right + 10, y + 4, f"{number(row.best.value, spread)}, n = {row.n}", "t m", most=20)
    unknown = " Without an interval: the noise floor is unknown." if any(row.best.low is None for row in rows) else ""
    return Figure(
        name=name,
        title="Best value beside its interval",
        caption=f"Filled: best observed value (optimistic) with 95 % interval. Hollow: mean of the trials.{unknown} "
        f"Can they be ordered? {found.order.value}.",
        panels=(
            canvas.panel(
                "Best value by study: "
                + "; ".join(f"{row.label}: {number(row.best.value, spread)} of {count(row.n, 'trial')}" for row in rows)
            ),
        ),
    )


def gpu_hours(found: Efficiency, *, name: str, title: str) -> Figure | None:
    rows = [(outcome, spent, n) for outcome, spent, n in found.by_outcome if spent > 0]
    if not rows:
        return None
    nodes = [(node, spent, n, failed) for node, spent, n, failed in found.by_node if spent > 0][:MOST_LEVELS]
    word = "GPU hours" if found.gpu_hours is not None else "hours"
    panels = [
        _bars([(o, h, f"{hours(h)}, {count(n, 'attempt')}", o == "complete") for o, h, n in rows], f"{word} by outcome")
    ]
    if len(nodes) > 1:
        texts = [(node, h, f"{hours(h)}, {failed} of {n} failed", True) for node, h, n, failed in nodes]
        panels.append(_bars(texts, f"{word} by node"))
    return Figure(
        name=name, title=title, caption=f"{word} of attempts, as measured by the workers.", panels=tuple(panels)
    )


def _bars(rows: Sequence[tuple[str, float, str, bool]], title: str) -> Panel:
    canvas = Canvas(width=510, height=34 + 26 * len(rows))
    named = max(len(short(row[0], 18)) for row in rows)
    left, right = 16 + named * CHARACTER * 1.08, 330.0
    x = Scale(low=0.0, high=max(row[1] for row in rows), start=left, end=right)
    canvas.text(4, 15, title, "t b")
    for i, (name, spent, text, good) in enumerate(rows):
        y = 28 + 26 * i
        canvas.text(left - 8, y + 13, name, "t", anchor="end", most=18)
        canvas.rect(left, y, x(spent) - left, 17, "d1" if good else "d2")
        canvas.text(x(spent) + 6, y + 13, text, "t m", most=30)
    return canvas.panel(f"{title}: " + "; ".join(f"{name}: {text}" for name, _, text, _ in rows))


def shares(rows: Sequence[tuple[str, int, float]], *, k: int, name: str, title: str) -> Figure | None:
    """Who fills the top k, beside what they are of all."""
    if not rows:
        return None
    named = max(len(short(row[0], 26)) for row in rows)
    left, right = 16 + named * CHARACTER * 1.08, 520.0
    canvas = Canvas(width=680, height=34 + 30 * len(rows) + 40)
    bottom = 30 + 30 * len(rows)
    x = Scale(
        low=0.0, high=max([r[1] / max(1, k) for r in rows] + [r[2] for r in rows] + [1e-9]), start=left, end=right
    )
    for i, (study, n, base) in enumerate(rows):
        y = 28 + 30 * i
        share = n / max(1, k)
        canvas.text(left - 8, y + 13, study, "t", anchor="end", most=26)
        canvas.rect(left, y, x(share) - left, 17, "d1", title=f"{study}: {percent(share)} of the top {k}")
        canvas.line(x(base), y - 3, x(base), y + 20, "l2")
        canvas.text(max(x(share), x(base)) + 8, y + 13, f"{n} of {k}; {percent(base)} of all", "t m", most=30)
    canvas.text(left, bottom + 20, "bar: share of the top; line: share of all trials", "t m")
    told = "; ".join(f"{study}: {n} of {k}, base rate {percent(base)}" for study, n, base in rows)
    return Figure(
        name=name,
        title=title,
        caption="Without the base rate beside it a share says nothing.",
        panels=(canvas.panel(f"Share of the top {k}: {told}"),),
    )


def _metric(study: StudyFindings) -> str:
    return f"{study.metric} ({'higher' if study.direction == 'maximize' else 'lower'} is better)"


def _spread(study: StudyFindings) -> float | None:
    return study.summary.std


def _within(scale_: Scale, value: float | None) -> float:
    """The position of a value, at the axis' end if it lies beyond."""
    return scale_(min(max(value if value is not None else scale_.low, scale_.low), scale_.high))


def _inner_range(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(v for v in values if math.isfinite(v))
    if not ordered:
        return 0.0, 1.0
    first, last = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    room = REACH * (last - first)
    if room <= 0:
        return ordered[0], ordered[-1]
    inside = [v for v in ordered if first - room <= v <= last + room]
    return inside[0], inside[-1]


def _staircase(
    points: Sequence[tuple[int, float]], better: object, *, x: Scale, y: Scale, end: float
) -> list[tuple[float, float]]:
    steps: list[tuple[float, float]] = []
    best: float | None = None
    for n, value in points:
        improved = best is None or (value > best if better is max else value < best)
        if improved:
            if best is not None:
                steps.append((x(n), _within(y, best)))
            steps.append((x(n), _within(y, value)))
            best = value
    if best is not None:
        steps.append((end, _within(y, best)))
    return steps


def _within_noise(values: Sequence[float], best: float, sd: float) -> int:
    return sum(abs(value - best) <= 1.96 * math.sqrt(2) * sd for value in values)


def _thinned(points: Sequence[tuple[int, float]], most: int) -> Sequence[tuple[int, float]]:
    return points if len(points) <= most else points[:: math.ceil(len(points) / most)]


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


def _range_of(found: Sequence[Effect]) -> tuple[float, float]:
    means: list[float] = []
    for effect in found:
        means += [row.mean for row in effect.rows[:MOST_LEVELS] if row.mean is not None and row.n]
        estimates = [row.adjusted for row in effect.rows[:MOST_LEVELS]] + [e for _, e in effect.curve]
        for estimate in estimates:
            means += [v for v in _ends(estimate) if v is not None]
    return _inner_range(means)


def _ends(estimate: Estimate | None) -> tuple[float | None, ...]:
    return () if estimate is None else (estimate.value, estimate.low, estimate.high)


def _whisker(canvas: Canvas, x: float, estimate: Estimate, *, y: Scale, classes: str) -> None:
    if estimate.low is not None and estimate.high is not None:
        canvas.line(x, _within(y, estimate.low), x, _within(y, estimate.high), f"l{classes}")
    canvas.dot(x, _within(y, estimate.value), 4, f"d{classes}", title=f"adjusted mean {number(estimate.value)}")


def _best_mean(adjusted: Estimate | None, mean: float | None) -> float | None:
    return mean if adjusted is None else adjusted.value


def _range_text(n_params: tuple[int, int]) -> str:
    low, high = (_large(n) for n in n_params)
    return low if low == high else f"{low} to {high}"


def _large(n: int) -> str:
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if n >= size:
            return f"{n / size:.3g} {letter}"
    return str(n)


def _by_size(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def titled(params: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {label(value)}" for name, value in params.items())  # type: ignore[arg-type]
