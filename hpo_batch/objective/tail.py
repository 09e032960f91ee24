"""Reads lines that a running command appends to files, and parses metrics in them.

The command may write anything: torn, huge and binary lines are skipped, and counted where metrics are expected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hpo_batch.reported import as_number

CHUNK: Final = 1 << 20
MOST_AT_ONCE: Final = 16 * CHUNK
"""bytes per poll: a command that writes faster than we read must not delay stopping it"""
_LONGEST_LINE: Final = CHUNK

RESULT: Final = (b"RESULT", b"esult")
"""a result line contains the first text; a line that may have been meant as one contains either"""
# characters of a line quoted in messages
_MOST_SHOWN: Final = 160

# ANSI escape sequences (ECMA-48): colours, cursor movements and links
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_RESULT = re.compile(r"(?<!\w)RESULT:")
_ALMOST = re.compile(r"(?<!\w)(?:RESULT|(?i:(?:final |test |best )?result)\s*[:=])")
_LEVEL = r"(?:TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARN|WARNING|ERROR|CRITICAL|FATAL|[DIWEF])"
# prefix of loggers, launchers and progress bars: it ends with punctuation, a level or a time, but not with a word (as
# in a sentence) or a quote (as in source code)
_PREFIX = re.compile(rf"(?:.*[^\w\s\"'`=,({{<$%&/\\]|(?:.*\W)?(?:{_LEVEL}|\d+:\d+[\d.,:Z]*))?\s*\Z", re.DOTALL)
# start of a logger's line
_LOGGED = re.compile(rf"\W*(?:{_LEVEL}\b|\d{{2,4}}[-/:]\d\d[-/:]\d\d)")
_MOST_PREFIX: Final = 200
# longest result, in characters
_MOST_RESULT: Final = 10_000
_TOKEN = re.compile(r"[^\s=,]+|=|,|\s+")


class Tail:
    """Reads lines appended to a file after creation of this object. Lines end with a newline or carriage return.

    Args:
        path: of the file.
        having: if not empty, chunks without any of these texts are skipped, which makes gigabytes of output cheap.
    """

    def __init__(self, path: Path, *, having: bytes | Sequence[bytes] = ()) -> None:
        self._path = path
        self._having = (having,) if isinstance(having, bytes) else tuple(having)
        self._offset = size_of(path)
        self._rest = b""
        self._is_skipping = False
        self.dropped = 0
        """number of lines skipped because of their length"""
        self.dropped_having = 0
        """number of those that contain the first text of ``having``"""

    def read(self, *, to_end: bool = False, unended: bool = True) -> Iterator[bytes]:
        """Yield new lines; with ``to_end``, up to the end of the file, and with ``unended``, a last line without
        newline."""
        size = size_of(self._path)
        if size < self._offset:
            self._offset, self._rest = 0, b""  # truncated by its writer
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
        # progress bars end their lines with a carriage return
        text = (self._rest + chunk).replace(b"\r", b"\n")
        if self._is_skipping:
            end = text.find(b"\n")
            self._note_having(text if end < 0 else text[:end])
            if end < 0:
                return []
            text = text[end + 1 :]
            self._is_skipping = False
        # the rest is an incomplete line
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


def shown_text(line: bytes) -> str:
    """A line of output as a terminal shows it, without colours."""
    return _ESCAPES.sub("", line.decode(errors="replace")).replace("\ufeff", "").strip()


def size_of(path: Path) -> int:
    """Size of a file in bytes; 0 if it does not exist or is not accessible."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the metrics file: the metrics of a step, or the result if there is no step."""

    step: int | None
    metrics: dict[str, float]
    others: dict[str, Any] = field(default_factory=dict)
    """values that are not numbers"""


def parse_metrics(line: bytes) -> Line | None:
    """Parse ``{"step": 3, "val_auc": 0.71}``; None for anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    step = record.pop("step", None)
    # JSON of other languages has 3.0 for 3
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
    """The RESULT lines so far. For each metric, the last line counts."""

    metrics: dict[str, float] = field(default_factory=dict)
    number: float | None = None
    unread: str = ""
    """the last RESULT line that could not be parsed completely; it is ignored"""
    almost: str = ""
    """the last line that may have been meant as a RESULT line"""

    def take(self, line: bytes) -> None:
        """Parse ``RESULT: loss=0.31 acc=0.9`` or ``RESULT: 0.31``, possibly coloured and after a logger's prefix.

        Other lines are ignored.
        """
        if not any(text in line for text in RESULT):
            return
        shown = shown_text(line)
        match = _RESULT.search(shown)
        prefix = "" if match is None else shown[: match.start()]
        is_meant = match is not None and _PREFIX.match(prefix[-_MOST_PREFIX:]) is not None
        if match is None or not (is_meant or _LOGGED.match(prefix)):
            self.almost = _shortened(shown) if _ALMOST.search(shown[-_MOST_RESULT:]) else self.almost
            return
        result = _read_result(shown[match.end() :].strip())
        if isinstance(result, float):
            self.number = result
        elif result is not None:
            self.metrics.update(result)
        elif is_meant:
            self.unread = _shortened(shown)
        else:  # a log message about results
            self.almost = _shortened(shown)


def _read_result(text: str) -> float | dict[str, float] | None:
    """Parse ``0.31`` or ``loss=0.31 acc=0.9``; None if there is other text."""
    if len(text) > _MOST_RESULT:
        return None
    number = _float(text)
    if number is not None:
        return number
    pairs = _pairs(text)
    values = {name: value for name, word in pairs if (value := _float(word)) is not None}
    is_whole = len(values) == len(pairs) > 0
    is_text = "\ufffd" not in text  # a name in another encoding would silently change
    return values if is_whole and is_text else None


def _pairs(text: str) -> list[tuple[str, str]]:
    """Parse ``a = 1, b=2`` into pairs; none if there is other text.

    Token by token: a regular expression for pairs backtracked for seconds on a line of 40 kB, holding the GIL, so that
    the lease was not refreshed.
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
