"""Who fills the top, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.document.drawing import Figure
from hpo_batch.document.svg import CHARACTER, Canvas, Scale
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import percent


def shares_figure(rows: Sequence[tuple[str, int, float]], *, k: int, name: str, title: str) -> Figure | None:
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
    text = "; ".join(f"{study}: {n} of {k}, base rate {percent(base)}" for study, n, base in rows)
    return Figure(
        name=name,
        title=title,
        caption="Without the base rate beside it a share says nothing.",
        panels=(canvas.panel(f"Share of the top {k}: {text}"),),
    )
