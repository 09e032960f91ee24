"""JSON of anybody, read; JSON as we write it for people and for programs; files of JSON lines."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hpo_batch.files.regular import LINES_BYTES, open_regular, read_regular

T = TypeVar("T")


def loads(text: bytes | str) -> Any:
    """JSON of anybody, as Python reads it.

    Raises:
        ValueError: it is none, or is nested deeper than Python goes.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode(content: bytes, kind: type[T]) -> T:
    """JSON of anybody, of one type.

    Raises:
        ValueError: it is no JSON, or of another type: msgspec tells where.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump_json(value: object) -> str:
    """JSON as we write it for people: indented, keys in the order given, NaN refused."""
    pieces = json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False).iterencode(value)
    # joined some thousands at a time: as a list they take several times the memory of the text
    return "".join(iter(lambda: "".join(itertools.islice(pieces, 4096)), "")) + "\n"


def shown_json(value: object, *, indent: int | None = 2) -> str:
    """JSON for other programs, as commands print it: what is no number (NaN, infinite) is null, as JSON has none."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


class JsonLines:
    """A JSON lines file, open for a writer: each record is one line in a single write.

    A torn line that the file ends with is closed with a newline first. To open and close the file for each record is
    two round trips on a network file system; but readers on other hosts see only what was synced, or closed.

    Args:
        sync_every_s: a record is synced unless that was done less than so many seconds before; None: never.

    Raises:
        OSError: the file cannot be opened or written; ``append`` and ``close`` raise it too.
    """

    def __init__(self, path: Path, *, sync_every_s: float | None = None) -> None:
        self._fd = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        size = os.fstat(self._fd).st_size
        self._is_torn = bool(size) and os.pread(self._fd, 1, size - 1) != b"\n"
        self._sync_every_s = sync_every_s
        self._synced = -math.inf

    def append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace") + b"\n"
        line = b"\n" + line if self._is_torn else line
        self._is_torn = os.write(self._fd, line) < len(line)
        if self._sync_every_s is not None and time.monotonic() - self._synced >= self._sync_every_s:
            os.fsync(self._fd)
            self._synced = time.monotonic()

    def close(self) -> None:
        """May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            with contextlib.suppress(OSError):
                self.close()


def append_json_line(path: Path, record: dict[str, Any]) -> None:
    """Append one record as a line, and make it durable."""
    lines = JsonLines(path, sync_every_s=0.0)
    try:
        lines.append(record)
    finally:
        lines.close()


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON lines file; a line that is not a JSON object (torn by a crash) is skipped.

    Raises:
        OSError: the file cannot be read; ``OddFile`` if it is none of ours.
    """
    try:
        lines = read_regular(path, most=LINES_BYTES).splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with contextlib.suppress(ValueError):
            record = loads(line)
            if isinstance(record, dict):
                yield record
