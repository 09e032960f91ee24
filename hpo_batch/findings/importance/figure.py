"""Importances, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.document.drawing import MOST_LEVELS, NARROW, Figure
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, Scale
from hpo_batch.findings.importance.numbers import Importance, ImportanceRow
from hpo_batch.records import Answer
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count, number


def importance_figure(importance: Importance, *, name: str, title: str) -> Figure | None:
    if not importance.rows:
        return None
    rows = sorted(importance.rows, key=lambda row: -row.value)[:MOST_LEVELS]
    above = [row.parameter for row in rows if row.above_null]
    alt = (
        f"Importance of {count(len(rows), 'parameter')}: "
        + ", ".join(f"{row.parameter} {number(row.value, 0.05)}" for row in rows)
        + f"; above the null line: {', '.join(above) or 'none'}"
    )
    fit = importance.surrogate_r2
    return Figure(
        name=name,
        title=title,
        caption=f"{importance.method or 'fANOVA'}, n = {importance.n}"
        + ("" if fit is None else f", cross-validated R squared {number(fit, 0.05)}")
        + ". Whiskers: range over resamples and forest seeds. Grey: below the dashed line, which parameters reach "
        "that do nothing.",
        panels=(_bars(importance, rows, 680, alt),),
        narrow=(_bars(importance, rows, NARROW, alt),),
    )


def _bars(importance: Importance, rows: Sequence[ImportanceRow], width: int, alt: str) -> Panel:
    most = 26 if width > NARROW else 18
    named = min(most, max(len(short(row.parameter, most)) for row in rows))
    left, right, top = 14 + named * CHARACTER * 1.08, width - 24.0, 14
    canvas = Canvas(width=width, height=top + 26 * len(rows) + 44)
    bottom = top + 26 * len(rows)
    top_value = max([row.high or row.value for row in rows] + [importance.null_line or 0.0, 1e-9])
    x = Scale(low=0.0, high=min(1.0, top_value * 1.12), start=left, end=right)
    readable = importance.interpretable is Answer.YES
    canvas.x_axis(x, bottom=bottom, title="share of the variance", most=max(3, width // 110))
    for i, row in enumerate(rows):
        middle = top + 26 * i + 13
        canvas.text(left - 8, middle + 4, row.parameter, "t" if row.above_null else "t m", anchor="end", most=most)
        text = f"{row.parameter}: {number(row.value, 0.05)}" + ("" if row.above_null else ", below the null line")
        canvas.rect(
            left, middle - 8, x(row.value) - left, 16, "d1" if row.above_null and readable else "dq", title=text
        )
        if row.low is not None and row.high is not None:
            canvas.line(x(row.low), middle, x(row.high), middle, "axis")
            for end in (row.low, row.high):
                canvas.line(x(end), middle - 4, x(end), middle + 4, "axis")
    if importance.null_line is not None:
        at = x(importance.null_line)
        canvas.line(at, top - 8, at, bottom, "l2 dash thin")
    return canvas.panel(alt)
