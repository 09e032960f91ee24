"""What all figures have in common: what a figure is, and how values lie on its axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hpo_batch.document.svg import Panel, Scale

MOST_LEVELS: Final = 16
MOST_DOTS: Final = 2000
MOST_PANELS: Final = 24
WIDE: Final = 860
NARROW: Final = 356
"""pixels across: of a page, and of a phone's screen less its margins"""
REACH: Final = 8.0
"""axes of the metric end so many interquartile ranges beyond the middle half, lest one divergent trial flatten all"""


@dataclass(frozen=True, kw_only=True)
class Figure:
    name: str
    """of its file, without suffix"""
    title: str
    caption: str
    """how to read it"""
    panels: tuple[Panel, ...]
    lines: tuple[str, ...] = ()
    """what it shows, where there is no picture; empty: the words of its panels"""
    narrow: tuple[Panel, ...] = ()
    """the same for a screen of a hand's width, where ``panels`` would have to shrink"""


def trial_key(study: str, number: int) -> str:
    """Which trial a mark of a figure, or a row of a table, stands for. ``study``: a short name without spaces."""
    return f"{study}-{number}"


def clamped(scale_: Scale, value: float | None) -> float:
    """The position of a value, at the axis' end if it lies beyond."""
    return scale_(min(max(value if value is not None else scale_.low, scale_.low), scale_.high))


def inner_range(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(v for v in values if math.isfinite(v))
    if not ordered:
        return 0.0, 1.0
    first, last = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    room = REACH * (last - first)
    if room <= 0:
        return ordered[0], ordered[-1]
    inside = [v for v in ordered if first - room <= v <= last + room]
    return inside[0], inside[-1]
