"""The bests of several studies, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.document.drawing import NARROW, Figure
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, scale
from hpo_batch.findings.budgets.numbers import BudgetRow, Budgets
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count, number, size_range


def budgets_figure(budgets: Budgets, *, metric: str, name: str) -> Figure | None:
    rows = [row for row in budgets.rows if row.n]
    if len(rows) < 2:
        return None
    unknown = " Without an interval: the noise floor is unknown." if any(row.best.low is None for row in rows) else ""
    return Figure(
        name=name,
        title="Best value beside its interval",
        caption="Filled: best observed value (inflated by selection) with 95 % interval. Hollow: mean of the trials."
        f"{unknown} Can they be ordered? {budgets.order.value}.",
        panels=(_bests(rows, metric, 680),),
        narrow=(_bests(rows, metric, NARROW),),
    )


def _bests(rows: Sequence[BudgetRow], metric: str, width: int) -> Panel:
    wide = width > NARROW
    canvas = Canvas(width=width, height=64 + 42 * len(rows) + 20)
    most = 24 if wide else 14
    longest = max(len(short(row.label, most)) for row in rows)
    sized = max([0, *(len(size_range(row.n_params)) for row in rows if row.n_params is not None)])
    left, right, top = 20 + max(longest * 1.1, sized if wide else 0) * CHARACTER, width - (120.0 if wide else 24.0), 34
    bottom = top + 42 * len(rows)
    ends = [v for row in rows for v in (row.best.value, row.best.low, row.best.high, row.mean) if v is not None]
    x = scale(ends, start=left, end=right)
    spread = (x.high - x.low) / 20
    canvas.x_axis(x, bottom=bottom, title=metric, most=max(3, int((right - left) / 80)))
    for i, row in enumerate(rows):
        y = top + 42 * i + 20
        canvas.line(left, y, right, y, "grid")
        canvas.text(left - 8, y + (-1 if row.n_params else 4), row.label, "t b", anchor="end", most=most)
        if row.n_params is not None:
            canvas.text(left - 8, y + 13, size_range(row.n_params), "t m", anchor="end", most=40 if wide else most)
        canvas.dot(x(row.mean), y, 4, "hollow", title=f"mean {number(row.mean, spread)} of {row.n}")
        if row.best.low is not None and row.best.high is not None:
            canvas.line(x(row.best.low), y, x(row.best.high), y, "l1")
        canvas.dot(x(row.best.value), y, 5, "d1", title=f"best {number(row.best.value, spread)}")
        if wide:
            canvas.text(right + 10, y + 4, f"{number(row.best.value, spread)}, n = {row.n}", "t m", most=20)
    return canvas.panel(
        "Best value by study: "
        + "; ".join(f"{row.label}: {number(row.best.value, spread)} of {count(row.n, 'trial')}" for row in rows)
    )
