"""The text around a number that a script prints, for ``[objective] printed``. Nothing of the script runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Final

from hpo_batch.errors import UserError
from hpo_batch.init.printed import Shown
from hpo_batch.objective.labels import HOLE, STEP, Label

_OF_WHAT_CAME_BEFORE: Final = " ,;:|/)]}>%-"
_MOST: Final = 40
"""characters of a text; what matters is near its number"""


def printed_labels(name: str, value: ast.expr, step: str, prints: Sequence[Sequence[Shown]]) -> dict[str, str]:
    """The texts by which a metric, and the step, are found in the output; empty if the metric's number is not alone.

    Args:
        name: of the metric.
        value: what is printed, in one of the calls.
        step: the variable that counts; empty if there is none.
        prints: of each call that prints: its values, each with the text before it.
    """
    own = next((shown for shown in prints if any(one is value for _, one in shown)), ())
    text = _text(next((before for before, one in own if one is value), ""))
    if text is None:
        return {}
    label = Label.parse(text)
    others = [before for shown in prints for before, one in shown if one is not value]
    if any(label.find(f"{before} 1") is not None for before in others):
        return {}
    counts = (_text(before) for before, one in own if step and step in _names(one))
    count = next((one for one in counts if one is not None and one != text), None)
    return {name: text} | ({STEP: count} if count is not None else {})


def _text(before: str) -> str | None:
    """``val loss: {}``; None if there is nothing to go by."""
    line = before.split("\n")[-1]
    words = " ".join(line.split()).lstrip(_OF_WHAT_CAME_BEFORE)
    if len(words) > _MOST:
        words = words[-_MOST:].partition(" ")[2] or words[-_MOST:]
    if HOLE in words or not re.search(r"[A-Za-z]", words) or not words.isprintable():
        return None
    text = f"{words}{' ' if line[-1:].isspace() or words[-1].isalnum() else ''}{HOLE}"
    try:
        return Label.parse(text).text
    except UserError:
        return None


def _names(node: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
