"""Who fills the top, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.document.drawing import NARROW, Figure
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, Scale
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import percent


def shares_figure(rows: Sequence[tuple[str, int, float]], *, k: int, name: str, title: str) -> Figure | None:
    """Who fills the top k, beside what they are of all."""
    if not rows:
        return None
    return Figure(
        name=name,
        title=title,
        caption="Bar: share of the top; line: share of all trials, without which it says nothing.",
        panels=(_shares(rows, k, 680),),
        narrow=(_shares(rows, k, NARROW),),
    )


def _shares(rows: Sequence[tuple[str, int, float]], k: int, width: int) -> Panel:
    wide = width > NARROW
    most = 26 if wide else 13
    named = max(len(short(row[0], most)) for row in rows)
    left, right = 16 + named * CHARACTER * 1.08, width - (160.0 if wide else 132.0)
    canvas = Canvas(width=width, height=20 + 30 * len(rows))
    x = Scale(
        low=0.0, high=max([r[1] / max(1, k) for r in rows] + [r[2] for r in rows] + [1e-9]), start=left, end=right
    )
    for i, (study, n, base) in enumerate(rows):
        y = 8 + 30 * i
        share = n / max(1, k)
        canvas.text(left - 8, y + 13, study, "t", anchor="end", most=most)
        canvas.rect(left, y, x(share) - left, 17, "d1", title=f"{study}: {percent(share)} of the top {k}")
        canvas.line(x(base), y - 3, x(base), y + 20, "l2")
        told = f"{n} of {k}; {percent(base)} of all" if wide else f"{n} of {k}; {base:.0%} of all"
        canvas.text(max(x(share), x(base)) + 8, y + 13, told, "t m", most=30)
    text = "; ".join(f"{study}: {n} of {k}, base rate {percent(base)}" for study, n, base in rows)
    return canvas.panel(f"Share of the top {k}: {text}")
