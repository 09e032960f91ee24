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
    own = next((shown for shown in prints if any(one.value is value for one in shown)), ())
    itself = next((one for one in own if one.value is value), None)
    text = _text(itself, own) if itself is not None and _is_one_number(itself) else None
    if text is None:
        return {}
    label = Label.parse(text)
    others = [f"{one.before} 1{one.after}" for shown in prints for one in shown if one.value is not value]
    if any(label.find(line) is not None for other in others for line in other.split("\n")):
        return {}
    counts = (_text(one, own) for one in own if step and step in _names(one.value))
    count = next((one for one in counts if one is not None and one != text), None)
    return {name: text} | ({STEP: count} if count is not None else {})


def _is_one_number(shown: Shown) -> bool:
    """Whether a value is written as one number: not ``9000/10000``, nor ``1,530.2``."""
    return not re.match(r"\s*/", shown.after) and not re.search(r"[,_]", shown.spec)


def _text(shown: Shown, own: Sequence[Shown]) -> str | None:
    """``val loss: {}``; None if there is nothing to go by."""
    line = shown.before.split("\n")[-1].split("\r")[-1]
    if line == shown.before and any(one.after == line for one in own if one is not shown):
        line = re.sub(r"\A\w+", "", line)  # the unit of the number before it: "took {}s, loss {}"
    words = " ".join(line.split()).lstrip(_OF_WHAT_CAME_BEFORE)
    if len(words) > _MOST:
        words = words[-_MOST:].partition(" ")[2] or words[-_MOST:]
    if HOLE in words or not re.search(r"[A-Za-z]", words) or not words.isprintable():
        return None
    unit = re.match(r"\w*,?", shown.after)  # "12ms" is no number without it, nor "3,4"
    after = unit[0] if unit is not None and (unit[0] != "," or shown.after == ",") else ""
    text = f"{words}{' ' if line[-1:].isspace() or words[-1].isalnum() else ''}{HOLE}{after}"
    try:
        return Label.parse(text).text
    except UserError:
        return None


def _names(node: ast.expr) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
