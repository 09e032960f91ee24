"""Read what a running command writes: complete lines of a growing file, and the metrics in them.

Nothing a command writes can hurt us: torn, huge or binary lines are left out, and counted where they should be metrics.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hpo_batch.objective.metrics import as_number

CHUNK: Final = 1 << 20
MOST_AT_ONCE: Final = 16 * CHUNK
"""read per poll: who writes faster than we read must not keep us from looking at the clock"""
_LONGEST_LINE: Final = CHUNK

_RESULT = re.compile(rb"[ \t]*RESULT:(.*)")
_PAIR = re.compile(r"([^\s=,]+)\s*=\s*([^\s=,]+)")


class Tail:
    """The complete lines added to a file since this was made. Lines end in a newline or a carriage return.

    With ``having``, lines without that text may be left out, which makes gigabytes of other output cheap.
    """

    def __init__(self, path: Path, *, having: bytes = b"") -> None:
        self._path = path
        self._having = having
        self._offset = self._size()
        self._rest = b""
        self._is_skipping = False
        self.dropped = 0
        """lines too long to be kept"""

    def read(self, *, to_end: bool = False) -> Iterator[bytes]:
        """New lines; with ``to_end`` all of them, a last one without its newline included."""
        size = self._size()
        if size < self._offset:
            self._offset, self._rest = 0, b""  # emptied by its writer
        if size > self._offset:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                most = None if to_end else self._offset + MOST_AT_ONCE
                while (most is None or self._offset < most) and (chunk := file.read(CHUNK)):
                    self._offset += len(chunk)
                    yield from self._cut(chunk)
        if to_end and self._rest and not self._is_skipping:
            last, self._rest = self._rest, b""
            yield last

    def _cut(self, chunk: bytes) -> list[bytes]:
        text = (self._rest + chunk).replace(b"\r", b"\n")
        if self._is_skipping:
            end = text.find(b"\n")
            if end < 0:
                return []
            text = text[end + 1 :]
            self._is_skipping = False
        cut = text.rfind(b"\n") + 1
        complete, self._rest = text[:cut], text[cut:]
        if len(self._rest) > _LONGEST_LINE:
            self._rest = b""
            self._is_skipping = True
            self.dropped += 1
        return complete.splitlines() if self._having in complete else []

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the metrics file: a step's metrics, or without a step the final ones."""

    step: int | None
    metrics: dict[str, float]
    others: dict[str, Any] = field(default_factory=dict)
    """what it holds beside numbers"""


def parse_metrics(line: bytes) -> Line | None:
    """``{"step": 3, "val_auc": 0.71}``; None for anything else. Values that are no numbers are set apart."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    step = record.pop("step", None)
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if step is not None and (isinstance(step, bool) or not isinstance(step, int) or step < 0):
        return None
    metrics: dict[str, float] = {}
    others: dict[str, Any] = {}
    for name, value in record.items():
        try:
            metrics[name] = as_number(value)
        except TypeError:
            others[name] = value
    if not metrics and (step is not None or not others):
        return None
    return Line(step=step, metrics=metrics, others=others)


@dataclass(kw_only=True)
class Printed:
    """What RESULT lines on stdout have said so far; of one metric, the last line counts."""

    metrics: dict[str, float] = field(default_factory=dict)
    number: float | None = None
    unread: str = ""
    """the last RESULT line that could not be read"""

    def take(self, line: bytes) -> None:
        """``RESULT: loss=0.31 acc=0.9`` or ``RESULT: 0.31``; other lines are none of our business."""
        found = _RESULT.match(line)
        if found is None:
            return
        text = found[1].decode(errors="replace").strip()
        number = _float(text)
        if number is not None:
            self.number = number
            return
        pairs = _PAIR.findall(text)
        values = {name: _float(value) for name, value in pairs}
        if not pairs or None in values.values() or _PAIR.sub("", text).strip(" \t,"):
            self.unread = f"RESULT: {text[:100]}"
        self.metrics.update({name: value for name, value in values.items() if value is not None})


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
