"""Learning curves, drawn."""

from __future__ import annotations

import math
from typing import Final

from hpo_batch.document.drawing import Figure, clamped, inner_range
from hpo_batch.document.svg import Canvas, scale
from hpo_batch.findings.phrases import metric_title
from hpo_batch.findings.records import StudyFindings
from hpo_batch.text.numbers import count, number

MOST_CURVES: Final = 60


def curves_figure(study: StudyFindings, *, name: str) -> Figure | None:
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
        text = f"trial {n}: {number(curve[n][-1][1], study.summary.std)} after step {curve[n][-1][0]}"
        canvas.path(points, "run best" if n == best else "run", title=text, data=text)
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
