"""Importances, drawn."""

from __future__ import annotations

from hpo_batch.document.drawing import MOST_LEVELS, Figure
from hpo_batch.document.svg import CHARACTER, Canvas, Scale
from hpo_batch.findings.importance.numbers import Importance
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count, number


def importance_figure(importance: Importance, *, name: str, title: str) -> Figure | None:
    if not importance.rows:
        return None
    rows = sorted(importance.rows, key=lambda row: -row.value)[:MOST_LEVELS]
    named = min(26, max(len(short(row.parameter, 26)) for row in rows))
    left, right, top = 14 + named * CHARACTER * 1.08, 640.0, 34
    canvas = Canvas(width=680, height=top + 26 * len(rows) + 44)
    bottom = top + 26 * len(rows)
    top_value = max([row.high or row.value for row in rows] + [importance.null_line or 0.0, 1e-9])
    x = Scale(low=0.0, high=min(1.0, top_value * 1.12), start=left, end=right)
    canvas.x_axis(x, bottom=bottom, title="share of the variance explained (fANOVA)")
    for i, row in enumerate(rows):
        middle = top + 26 * i + 13
        canvas.text(left - 8, middle + 4, row.parameter, "t" if row.above_null else "t m", anchor="end", most=26)
        text = f"{row.parameter}: {number(row.value, 0.05)}" + ("" if row.above_null else ", below the null line")
        canvas.rect(left, middle - 8, x(row.value) - left, 16, "d1" if row.above_null else "dq", title=text)
        if row.low is not None and row.high is not None:
            canvas.line(x(row.low), middle, x(row.high), middle, "axis")
            for end in (row.low, row.high):
                canvas.line(x(end), middle - 4, x(end), middle + 4, "axis")
    if importance.null_line is not None:
        at = x(importance.null_line)
        canvas.line(at, top - 8, at, bottom, "l2 dash thin")
        canvas.text(at + 5, top - 12, "null line: parameters that do nothing end left of it", "t m")
    above = [row.parameter for row in rows if row.above_null]
    return Figure(
        name=name,
        title=title,
        caption=f"Bars: {importance.method or 'fANOVA'}, n = {importance.n}. "
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
