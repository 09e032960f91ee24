"""Reads untrusted JSON, writes JSON for people and programs, and reads and writes JSON lines."""

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
    """Decode untrusted JSON with Python's decoder, which accepts NaN and Infinity.

    Raises:
        ValueError: not JSON, or nested deeper than Python's recursion limit.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode(content: bytes, kind: type[T]) -> T:
    """Decode and validate untrusted JSON.

    Raises:
        ValueError: not JSON, or of another type; the message has the path, from msgspec.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump_json(value: object) -> str:
    """JSON for people: indented, keys in the given order. Raises ValueError for NaN."""
    pieces = json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False).iterencode(value)
    # joined in batches: a list of all pieces takes several times the memory of the text
    return "".join(iter(lambda: "".join(itertools.islice(pieces, 4096)), "")) + "\n"


def shown_json(value: object, *, indent: int | None = 2) -> str:
    """JSON for other programs, as printed by commands: NaN and infinity become null, since JSON has neither."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


class JsonLines:
    """A JSON lines file open for appending. Each record is one line, in a single write.

    A torn last line is terminated with a newline first. The file stays open, which saves two round trips per record on
    a network file system; readers on other hosts then see only what was synced.

    Args:
        path: of the file, created if missing.
        sync_every_s: seconds between two syncs; None: never sync.

    Raises:
        OSError: the file cannot be opened or written; also raised by ``append`` and ``close``.
    """

    def __init__(self, path: Path, *, sync_every_s: float | None = None) -> None:
        self._fd = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        size = os.fstat(self._fd).st_size
        self._is_torn = bool(size) and os.pread(self._fd, 1, size - 1) != b"\n"
        self._sync_every_s = sync_every_s
        self._synced = -math.inf

    def append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace") + b"\n"
        # O_APPEND and one write(2): lines of several processes do not mix on a local disk
        line = b"\n" + line if self._is_torn else line
        self._is_torn = os.write(self._fd, line) < len(line)
        if self._sync_every_s is not None and time.monotonic() - self._synced >= self._sync_every_s:
            os.fsync(self._fd)
            self._synced = time.monotonic()

    def close(self) -> None:
        """Close the file; may be called more than once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            with contextlib.suppress(OSError):
                self.close()


def append_json_line(path: Path, record: dict[str, Any]) -> None:
    """Append one record as a line and sync it."""
    lines = JsonLines(path, sync_every_s=0.0)
    try:
        lines.append(record)
    finally:
        lines.close()


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSON lines file. Lines that are not JSON objects (torn by a crash) are skipped.

    Raises:
        OSError: the file cannot be read; ``OddFile`` if it is not a regular file, or too large.
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
