"""Figures of whole studies: budgets side by side, who fills the top, where the hours went."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.document.drawing import MOST_LEVELS, Figure
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, Scale, scale
from hpo_batch.findings.budgets.numbers import Budgets
from hpo_batch.findings.hours.numbers import Efficiency
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count, hours, number, percent, size_range


def budgets(found: Budgets, *, metric: str, name: str) -> Figure | None:
    rows = [row for row in found.rows if row.n]
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
        caption=f"Filled: best observed value (optimistic) with 95 % interval. Hollow: mean of the trials.{unknown} "
        f"Can they be ordered? {found.order.value}.",
        panels=(
            canvas.panel(
                "Best value by study: "
                + "; ".join(f"{row.label}: {number(row.best.value, spread)} of {count(row.n, 'trial')}" for row in rows)
            ),
        ),
    )


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
