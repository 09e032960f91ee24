"""The bests of several studies, drawn."""

from __future__ import annotations

from hpo_batch.document.drawing import Figure
from hpo_batch.document.svg import CHARACTER, Canvas, scale
from hpo_batch.findings.budgets.numbers import Budgets
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count, number, size_range


def budgets_figure(budgets: Budgets, *, metric: str, name: str) -> Figure | None:
    rows = [row for row in budgets.rows if row.n]
    if len(rows) < 2:
        return None
    canvas = Canvas(width=680, height=64 + 42 * len(rows) + 20)
    longest = max(len(short(row.label, 24)) for row in rows)
    sized = max([0, *(len(size_range(row.n_params)) for row in rows if row.n_params is not None)])
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
            canvas.text(left - 8, y + 13, size_range(row.n_params), "t m", anchor="end", most=40)
        canvas.dot(x(row.mean), y, 4, "hollow", title=f"mean {number(row.mean, spread)} of {row.n}")
        if row.best.low is not None and row.best.high is not None:
            canvas.line(x(row.best.low), y, x(row.best.high), y, "l1")
        canvas.dot(x(row.best.value), y, 5, "d1", title=f"best {number(row.best.value, spread)}")
        canvas.text(right + 10, y + 4, f"{number(row.best.value, spread)}, n = {row.n}", "t m", most=20)
    unknown = " Without an interval: the noise floor is unknown." if any(row.best.low is None for row in rows) else ""
    return Figure(
        name=name,
        title="Best value beside its interval",
        caption="Filled: best observed value (inflated by selection) with 95 % interval. Hollow: mean of the trials."
        f"{unknown} Can they be ordered? {budgets.order.value}.",
        panels=(
            canvas.panel(
                "Best value by study: "
                + "; ".join(f"{row.label}: {number(row.best.value, spread)} of {count(row.n, 'trial')}" for row in rows)
            ),
        ),
    )
