"""Trials per combination, drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from hpo_batch.document.drawing import Figure
from hpo_batch.document.svg import CHARACTER, Canvas, Panel
from hpo_batch.findings.coverage.numbers import Coverage
from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count

MOST_PAIRS: Final = 6


def coverage_figure(matrices: Sequence[Coverage], *, name: str, title: str) -> Figure | None:
    """Heat maps of pairs of parameters: trials per combination."""
    pairs = [m for m in matrices if m.counts and len(m.parameters) == 2]
    shown = pairs[:MOST_PAIRS]
    if not shown:
        return None
    return Figure(
        name=name,
        title=title,
        caption="Trials per combination; the darker the more. 0 in a "
        "dashed frame: nobody tried it. No frame: not valid."
        + (f" {len(pairs) - len(shown)} further pairs are in report.json." if len(pairs) > len(shown) else ""),
        panels=tuple(_matrix(matrix) for matrix in shown),
    )


def _matrix(matrix: Coverage) -> Panel:
    rows = list(dict.fromkeys(labels[0] for labels, _ in matrix.counts))
    columns = list(dict.fromkeys(labels[1] for labels, _ in matrix.counts))
    columns.sort(key=_by_size)
    counts = dict(matrix.counts)
    most = max([1, *counts.values()])
    longest = max(len(str(column)) for column in columns)
    size = max(36, min(72, int(CHARACTER * longest) + 10)) if len(columns) <= 8 else 26
    left = 18 + CHARACTER * min(10, max(len(short(row, 10)) for row in rows))
    width = max(int(left + size * len(columns) + 8), 250)
    canvas = Canvas(width=width, height=58 + 26 * len(rows) + 14)
    letters = int(width / CHARACTER) - 2
    each = int((width / 7.4 - 7) / 2)
    down, across = (short(name, each) for name in matrix.parameters)
    canvas.text(4, 15, f"{down} \N{DOWNWARDS ARROW}  {across} \N{RIGHTWARDS ARROW}", "t b", most=99)
    canvas.text(4, 32, f"{matrix.found} of {matrix.cells} tried", "t m", most=letters)
    for j, column in enumerate(columns):
        canvas.text(left + size * (j + 0.5), 52, column, "t m", anchor="middle", most=max(2, int(size / CHARACTER)))
    for i, row in enumerate(rows):
        y = 58 + 26 * i
        canvas.text(left - 6, y + 17, row, "t m", anchor="end", most=10)
        for j, column in enumerate(columns):
            n = counts.get((row, column))
            if n is None:
                continue
            text = f"{matrix.parameters[0]} = {row}, {matrix.parameters[1]} = {column}: {count(n, 'trial')}"
            shade = f"cell k{min(4, math.ceil(4 * n / most))}" if n else "none"
            inset = 0 if n else 2
            canvas.rect(left + size * j + inset, y + inset, size - 2 * inset, 26 - 2 * inset, shade, title=text)
            canvas.text(left + size * (j + 0.5), y + 17, n, "t" if n else "t m", anchor="middle", most=4)
    empty = [" and ".join(labels) for labels, n in matrix.counts if n == 0]
    return canvas.panel(
        f"Trials per combination of {' and '.join(matrix.parameters)}: {matrix.found} of {matrix.cells} tried; "
        + (f"not tried: {'; '.join(empty[:8])}" if empty else "none is empty")
    )


def _by_size(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
