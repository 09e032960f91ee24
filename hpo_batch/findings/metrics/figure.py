"""Other reported numbers against the metric, drawn."""

from __future__ import annotations

import math
from typing import Final

from hpo_batch.document.drawing import Figure, clamped, inner_range, trial_key
from hpo_batch.document.svg import Canvas, Panel, scale
from hpo_batch.findings.metrics.numbers import OtherMetric
from hpo_batch.findings.phrases import spread_of
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.trials.rows import Reported
from hpo_batch.text.numbers import count, number

MOST_SHOWN: Final = 8
MOST_DOTS: Final = 800
WIDE_SPAN: Final = 100.0
"""from where on positive numbers are drawn by their logarithm"""


def metrics_figure(study: StudyFindings, reported: Reported, key: str, *, name: str) -> Figure | None:
    """A panel for each of the most closely related ones."""
    values = dict(study.history)
    panels = []
    for one in [one for one in study.others if one.rank_correlation is not None][:MOST_SHOWN]:
        points = [(n, x, values[n]) for n, x in reported.others.get(one.name, {}).items() if n in values]
        if len(points) > 1:
            panels.append(_panel(study, one, points[:: math.ceil(len(points) / MOST_DOTS)], key))
    if not panels:
        return None
    more = sum(one.rank_correlation is not None for one in study.others) - len(panels)
    return Figure(
        name=name,
        title=f"Other reported numbers against {study.metric}: {study.label}",
        caption="Dots: complete trials. In brackets: rank correlation, 95 % interval."
        + (f" {more} further ones are in report.json." if more > 0 else ""),
        panels=tuple(panels),
    )


def _panel(study: StudyFindings, one: OtherMetric, points: list[tuple[int, float, float]], key: str) -> Panel:
    canvas = Canvas(width=328, height=216)
    left, right, top, bottom = 58, 316, 42, 180
    rho = one.rank_correlation
    told = "" if rho is None else number(rho.value, 0.1)
    wide = "" if rho is None or rho.low is None else f" [{number(rho.low, 0.1)}, {number(rho.high, 0.1)}]"
    canvas.text(4, 15, one.name, "t b", most=30)
    canvas.text(right, 15, f"{told}{wide}", "t m", anchor="end")
    xs, ys = [x for _, x, _ in points], [y for *_, y in points]
    low, high = inner_range(xs)
    x = scale([low, high], start=left, end=right, log=low > 0 and high / low >= WIDE_SPAN)
    y = scale(inner_range(ys), start=bottom, end=top)
    canvas.y_axis(y, left=left, right=right)
    canvas.x_axis(x, bottom=bottom, most=4)
    for n, at, value in points:
        text = f"trial {n}: {one.name} {number(at)}, {study.metric} {number(value, spread_of(study))}"
        canvas.dot(clamped(x, at), clamped(y, value), 2.6, "d1 faint", title=text, trial=trial_key(key, n))
    return canvas.panel(f"{study.metric} by {one.name}, rank correlation {told}{wide}, {count(len(points), 'trial')}")
