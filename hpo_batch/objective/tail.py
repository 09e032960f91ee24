"""Read what a running command writes: complete lines of a growing file, and the metrics in them.

Nothing a command writes can hurt us: torn, huge or binary lines are left out, and counted where they should be metrics.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hpo_batch.objective.metrics import as_number

CHUNK: Final = 1 << 20
MOST_AT_ONCE: Final = 16 * CHUNK
"""read per poll: who writes faster than we read must not keep us from looking at the clock"""
_LONGEST_LINE: Final = CHUNK

RESULT: Final = (b"RESULT", b"esult")
"""a line with a result contains the first, one that was meant as such one of them"""
_MOST_SHOWN: Final = 160
"""characters of a line"""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
"""colours, cursor movements and links, as terminals read them"""
_RESULT = re.compile(r"(?<!\w)RESULT:")
_ALMOST = re.compile(r"(?<!\w)(?:RESULT|(?i:(?:final |test |best )?result)\s*[:=])")
_LEVEL = r"(?:TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARN|WARNING|ERROR|CRITICAL|FATAL|[DIWEF])"
_PREFIX = re.compile(rf"(?:.*[^\w\s\"'`=,({{<$%&/\\]|(?:.*\W)?(?:{_LEVEL}|\d+:\d+[\d.,:Z]*))?\s*\Z", re.DOTALL)
"""what loggers, launchers and progress bars put before a message: it ends in a sign, a level or a time; not in a
word, as a sentence does, nor in a quote, as source code does"""
_LOGGED = re.compile(rf"\W*(?:{_LEVEL}\b|\d{{2,4}}[-/:]\d\d[-/:]\d\d)")
"""how the lines of loggers begin"""
_MOST_PREFIX: Final = 200
_MOST_RESULT: Final = 10_000
"""characters: who writes more does not mean a result"""
_TOKEN = re.compile(r"[^\s=,]+|=|,|\s+")


class Tail:
    """The complete lines added to a file since this was made. Lines end in a newline or a carriage return.

    With ``having``, lines without any of these texts may be left out, which makes gigabytes of other output cheap.
    """

    def __init__(self, path: Path, *, having: bytes | Sequence[bytes] = ()) -> None:
        self._path = path
        self._having = (having,) if isinstance(having, bytes) else tuple(having)
        self._offset = size_of(path)
        self._rest = b""
        self._is_skipping = False
        self.dropped = 0
        """lines too long to be kept"""
        self.dropped_having = 0
        """those of them in which the first of ``having`` was seen"""

    def read(self, *, to_end: bool = False, unended: bool = True) -> Iterator[bytes]:
        """New lines; with ``to_end`` all of them, and with ``unended`` a last one without its newline too."""
        size = size_of(self._path)
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
            if unended:
                yield last

    def _cut(self, chunk: bytes) -> list[bytes]:
        text = (self._rest + chunk).replace(b"\r", b"\n")
        if self._is_skipping:
            end = text.find(b"\n")
            self._note_having(text if end < 0 else text[:end])
            if end < 0:
                return []
            text = text[end + 1 :]
            self._is_skipping = False
        cut = text.rfind(b"\n") + 1
        complete, self._rest = text[:cut], text[cut:]
        if len(self._rest) > _LONGEST_LINE:
            self._note_having(self._rest)
            self._rest = b""
            self._is_skipping = True
            self.dropped += 1
        if self._having and not any(text in complete for text in self._having):
            return []
        return complete.splitlines()

    def _note_having(self, text: bytes) -> None:
        self.dropped_having += bool(self._having) and self._having[0] in text


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if it cannot be looked at."""
    try:
        return path.stat().st_size
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
    """What RESULT lines have said so far; of one metric, the last line counts."""

    metrics: dict[str, float] = field(default_factory=dict)
    number: float | None = None
    unread: str = ""
    """the last RESULT line that could not be read whole: it gives no value"""
    almost: str = ""
    """the last line that is none, but may have been meant as one"""

    def take(self, line: bytes) -> None:
        """``RESULT: loss=0.31 acc=0.9`` or ``RESULT: 0.31``, also coloured, and behind what a logger puts before it.

        Other lines are none of our business.
        """
        if not any(text in line for text in RESULT):
            return
        shown = _ESCAPES.sub("", line.decode(errors="replace")).replace("\ufeff", "").strip()
        found = _RESULT.search(shown)
        prefix = "" if found is None else shown[: found.start()]
        is_meant = found is not None and _PREFIX.match(prefix[-_MOST_PREFIX:]) is not None
        if found is None or not (is_meant or _LOGGED.match(prefix)):
            self.almost = _shortened(shown) if _ALMOST.search(shown[-_MOST_RESULT:]) else self.almost
            return
        read = _read_result(shown[found.end() :].strip())
        if isinstance(read, float):
            self.number = read
        elif read is not None:
            self.metrics.update(read)
        elif is_meant:
            self.unread = _shortened(shown)
        else:  # a word about results in somebody's log
            self.almost = _shortened(shown)


def _read_result(text: str) -> float | dict[str, float] | None:
    """``0.31`` or ``loss=0.31 acc=0.9``; None if that is not all of the text."""
    if len(text) > _MOST_RESULT:
        return None
    number = _float(text)
    if number is not None:
        return number
    pairs = _pairs(text)
    values = {name: value for name, given in pairs if (value := _float(given)) is not None}
    is_whole = len(values) == len(pairs) > 0
    is_text = "\ufffd" not in text  # else a name in another encoding would become another name
    return values if is_whole and is_text else None


def _pairs(text: str) -> list[tuple[str, str]]:
    """``a = 1, b=2`` as pairs; none if that is not all of the text.

    Word by word: a pattern for pairs tries each letter of a word as the beginning of one, which for a line of 40 kB
    took seconds, under Python's lock, in which no lease was renewed.
    """
    pairs = []
    words = [word for word in _TOKEN.findall(text) if not word.isspace() or word.strip(" \t")]
    at = 0
    while at < len(words):
        if words[at] == ",":
            at += 1
            continue
        name, equals, value = (*words[at : at + 3], "", "", "")[:3]
        if equals != "=" or "=" in (name, value) or value in (",", ""):
            return []
        pairs.append((name, value))
        at += 3
    return pairs


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN // 2]} ... {text[-_MOST_SHOWN // 2 :]}"


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
