"""Where the hours went, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.document.drawing import MOST_LEVELS, Figure
from hpo_batch.document.svg import CHARACTER, Canvas, Panel, Scale
from hpo_batch.findings.hours.numbers import Efficiency
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count, hours


def gpu_hours_figure(efficiency: Efficiency, *, name: str, title: str) -> Figure | None:
    rows = [(outcome, spent, n) for outcome, spent, n in efficiency.by_outcome if spent > 0]
    if not rows:
        return None
    nodes = [(node, spent, n, failed) for node, spent, n, failed in efficiency.by_node if spent > 0][:MOST_LEVELS]
    word = "GPU hours" if efficiency.gpu_hours is not None else "hours"
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
    canvas = Canvas(width=400, height=34 + 26 * len(rows))
    named = max(len(short(row[0], 14)) for row in rows)
    left, right = 16 + named * CHARACTER * 1.08, 250.0
    x = Scale(low=0.0, high=max(row[1] for row in rows), start=left, end=right)
    canvas.text(4, 15, title, "t b")
    for i, (name, spent, text, good) in enumerate(rows):
        y = 28 + 26 * i
        canvas.text(left - 8, y + 13, name, "t", anchor="end", most=14)
        canvas.rect(left, y, x(spent) - left, 17, "d1" if good else "d2")
        canvas.text(x(spent) + 6, y + 13, text, "t m", most=24)
    return canvas.panel(f"{title}: " + "; ".join(f"{name}: {text}" for name, _, text, _ in rows))
