"""Learning curves, drawn."""

from __future__ import annotations

import math
from typing import Final

from hpo_batch.document.drawing import NARROW, WIDE, Figure, clamped, inner_range, trial_key
from hpo_batch.document.svg import Canvas, Panel, scale
from hpo_batch.findings.phrases import metric_title, spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.text.numbers import count, number

MOST_CURVES: Final = 60


def curves_figure(study: StudyFindings, *, name: str, key: str) -> Figure | None:
    """Learning curves: the metric by step, those of trials that did not complete dashed."""
    drawn = [n for n, points in study.curves.items() if len(points) > 1]
    if not drawn:
        return None
    best = study.summary.best.number if study.summary.best is not None else None
    chosen = [best] if best is not None and best in drawn else []
    chosen += [n for n in drawn if n != best][: MOST_CURVES - len(chosen)]
    curve = {n: [(s, v) for s, v in study.curves[n] if math.isfinite(v)] for n in chosen}
    curve = {n: points for n, points in curve.items() if points}
    if not curve:
        return None
    complete = {n for n, _ in study.history}
    steps = [step for points in curve.values() for step, _ in points]
    low, high = inner_range([value for points in curve.values() for _, value in points])

    def panel(width: int) -> Panel:
        canvas = Canvas(width=width, height=320 if width > NARROW else 260)
        left, right, top, bottom = 62, width - 14, 34, canvas.height - 44
        x, y = scale(steps, start=left, end=right, pad=0.0), scale([low, high], start=bottom, end=top)
        canvas.y_axis(y, left=left, right=right, title=metric_title(study))
        canvas.x_axis(x, bottom=bottom, title="step", most=max(3, (width - 80) // 90))
        for n in reversed(curve):
            points = [(x(step), clamped(y, value)) for step, value in curve[n]]
            text = f"trial {n}: {number(curve[n][-1][1], spread_of(study))} after step {curve[n][-1][0]}"
            kind = "run best" if n == best else "run" if n in complete else "run dash"
            canvas.path(points, kind, title=text, trial=trial_key(key, n))
        return canvas.panel(f"Learning curves of {count(len(curve), 'trial')}, steps {min(steps)} to {max(steps)}")

    more = f" {len(curve)} of {len(drawn)} trials." if len(drawn) > len(curve) else ""
    return Figure(
        name=name,
        title=f"Learning curves: {study.label}",
        caption=f"One line per trial.{more} Orange: the best."
        + (" Dashed: trials that did not complete." if set(curve) - complete else ""),
        panels=(panel(WIDE),),
        narrow=(panel(NARROW),),
    )
