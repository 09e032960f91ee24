"""What each parameter does, drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from hpo_batch.document.drawing import MOST_LEVELS, MOST_PANELS, NARROW, Figure, clamped, inner_range
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, Scale, scale
from hpo_batch.findings.effects.direction import Direction
from hpo_batch.findings.effects.numbers import TRENDS, Effect
from hpo_batch.findings.effects.words import chance, compared_values, confirmed, graded, short_labels, would_tell
from hpo_batch.findings.phrases import spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.records import Estimate
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, interval, number

MOST_DIRECTIONS: Final = 10
"""parameters of the picture of directions; of several studies fewer each"""
MOST_LEFT_OUT: Final = 4
"""parameters that a caption names"""
ROW: Final = 46
"""pixels down for each parameter"""
NARROW_ROW: Final = 62
BESIDE: Final = 326
"""pixels across, of one of several studies"""
ACROSS: Final = 860
"""pixels, of a page's whole width"""
"""letters of a number that is shown as it is"""


def directions_figure(studies: Sequence[StudyFindings], *, name: str) -> Figure | None:
    """Which value of each parameter is better, how likely that is and by how much: what is at stake most comes first.

    None where no parameter has a direction.
    """
    shown = [study for study in studies if directed(study)]
    if not shown:
        return None
    most = MOST_DIRECTIONS if len(shown) == 1 else max(3, MOST_DIRECTIONS // len(shown))
    one = len(studies) == 1
    wide = ACROSS if one else BESIDE
    hidden = sum(max(0, len(directed(study)) - most) for study in shown)
    return Figure(
        name=name,
        title="Which value is better" if one else "Which value is better, by study",
        caption="How likely the first value is better, and by how much (95 % interval), averaged over the settings "
        "that were tried. Blue: confirmed."
        + "".join(f" {'' if one else f'{study.label}: '}{text}" for study in shown if (text := _at_step(study)))
        + (f" {hidden} more under Effects." if hidden else "")
        + "".join(f" {'' if one else f'{study.label}: '}{text}" for study in shown if (text := not_directed(study))),
        lines=tuple(
            f"{'' if one else f'{study.label}: '}{direction_text(*pair, study)}"
            f"{'' if confirmed(pair[0]) else ' (not confirmed)'}"
            for study in shown
            for pair in directed(study)[:most]
        ),
        panels=tuple(_directions(study, width=wide, most=most, titled=not one) for study in shown),
        narrow=tuple(_directions(study, width=NARROW, most=most, titled=not one) for study in shown),
    )


def directed(study: StudyFindings) -> list[tuple[Effect, Direction]]:
    """The parameters that have a direction, what is at stake most first; one of those that always changed together."""
    known = {
        effect.claim: (effect, effect.direction)
        for effect in reversed(study.effects)
        if effect.direction is not None and not _hangs_on_one(effect)
    }
    return sorted(known.values(), key=lambda pair: (-pair[1].gain, -pair[1].probability))


def _hangs_on_one(effect: Effect) -> bool:
    """Whether a single trial has another value: whatever that one was like would be the parameter's doing."""
    trials = [row.n for row in effect.rows]
    return effect.p is None and sum(trials) - max(trials, default=0) <= 1


def not_directed(study: StudyFindings) -> str:
    """``Nothing is said of width (computed from depth).``; empty if each parameter that varied has a direction."""
    left_out: dict[str, list[str]] = {}
    for effect in study.effects:
        if effect.varied and effect.why and (effect.direction is None or _hangs_on_one(effect)):
            left_out.setdefault(re.split("[:,]", effect.why)[0], []).append(effect.parameter)
    parts = [f"{_some(names)} ({why})" for why, names in left_out.items()]
    return f"Nothing is said of {listed(parts)}." if parts else ""


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_LEFT_OUT
    return listed(names) if more <= 0 else f"{', '.join(names[:MOST_LEFT_OUT])} and {more} more"


def _at_step(study: StudyFindings) -> str:
    """At which step trials are compared, where it is not their end."""
    steps = {effect.step for effect in study.effects if effect.step is not None}
    at = study.equal_steps
    if not steps or at is None:
        return ""
    return f"Of {count(at.n, 'trial')}, pruned ones too, by {study.metric} at step {max(steps)}."


def joint_name(effect: Effect) -> str:
    """A parameter with those that always changed together with it, which share its test."""
    others = [name for name in effect.together if name != effect.parameter]
    return f"{effect.parameter} (with {listed(others)})" if others else effect.parameter


def direction_text(effect: Effect, direction: Direction, study: StudyFindings) -> str:
    """``depth: 8 rather than 32: 97 %, about 0.07 [0.03, 0.11] better``."""
    more = would_tell(effect, study)
    return f"{joint_name(effect)}: {graded(direction)}{f'; {more}' if more else ''}"


def _directions(study: StudyFindings, *, width: int, most: int, titled: bool) -> Panel:
    rows = directed(study)[:most]
    wide = width > 2 * NARROW
    top, row = 36 if titled else 10, ROW if wide else NARROW_ROW
    canvas = Canvas(width=width, height=top + row * len(rows) + 34)
    if titled:
        canvas.text(4, 15, study.label, "t b", most=int(width / 7.5))
    left, right = (280.0, 600.0) if wide else (16.0, width - 16.0)
    ends = [v for _, d in rows for v in (0.0, d.difference.low, d.difference.high, d.difference.value) if v is not None]
    low, high = inner_range(ends)
    x = scale([min(low, 0.0), max(high, 0.0)], start=left, end=right)
    bottom = top + row * len(rows)
    canvas.x_axis(x, bottom=bottom, most=max(3, int((right - left) / 70)))
    for i, (effect, direction) in enumerate(rows):
        y = top + row * i
        sure = confirmed(effect)
        (_words_beside if wide else _words_above)(canvas, effect, direction, y=y, study=study)
        middle = y + (22 if wide else 44)
        canvas.line(x(0.0), middle - (row / 2 if wide else 9), x(0.0), middle + (row / 2 if wide else 9), "axis")
        told = direction_text(effect, direction, study)
        difference = direction.difference
        if difference.low is not None and difference.high is not None:
            canvas.line(clamped(x, difference.low), middle, clamped(x, difference.high), middle, "l1" if sure else "lq")
        canvas.dot(clamped(x, difference.value), middle, 5, "d1" if sure else "dq", title=told)
    return canvas.panel(". ".join(direction_text(effect, direction, study) for effect, direction in rows))


def _words_beside(canvas: Canvas, effect: Effect, direction: Direction, *, y: float, study: StudyFindings) -> None:
    kind = "t" if confirmed(effect) else "t m"
    canvas.text(4, y + 18, joint_name(effect), f"{kind} b", most=38)
    canvas.text(4, y + 34, compared_values(direction), kind, most=42)
    more = would_tell(effect, study)
    canvas.text(618, y + (18 if more else 26), chance(direction.probability), f"{kind} b")
    canvas.text(674, y + (18 if more else 26), _size(direction, spread_of(study)), kind, most=30)
    canvas.text(618, y + 34, more, "t m", most=40)


def _words_above(canvas: Canvas, effect: Effect, direction: Direction, *, y: float, study: StudyFindings) -> None:
    kind, right = "t" if confirmed(effect) else "t m", canvas.width - 4
    letters = int(canvas.width / CHARACTER)
    more, size = would_tell(effect, study), _size(direction, spread_of(study))
    above = f"{chance(direction.probability)}{f'; {more}' if more else ''}"
    canvas.text(4, y + 13, joint_name(effect), f"{kind} b", most=letters - len(above) - 6)
    canvas.text(right, y + 13, above, kind, anchor="end")
    canvas.text(4, y + 29, compared_values(direction), kind, most=letters - len(size) - 4)
    canvas.text(right, y + 29, size, kind, anchor="end")


def _size(direction: Direction, spread: float | None) -> str:
    sign = "+" if direction.difference.value >= 0 else ""
    return f"{sign}{interval(direction.difference, spread)}"


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
        caption="Filled: mean with the other parameters held equal, 95 % interval. Hollow: plain mean of the trials, "
        "which the sampler's choices bias. Grey numbers: trials. All panels share one scale."
        + (f" {count(more, 'further parameter is', 'further parameters are')} in the table only." if more else ""),
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
    names = short_labels([row.label for row in rows[:8]])
    means = ", ".join(
        f"{name}: {number(_best_mean(row.adjusted, row.mean), spread)}" for name, row in zip(names, rows, strict=False)
    )
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
