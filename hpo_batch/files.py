"""Files that a killed process must not leave half-written: atomic replacement and JSON lines."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_atomic(path: Path, data: str | bytes, *, sync: bool = True, sync_folder: bool = True) -> None:
    """Replace ``path`` with ``data``: a reader sees the old content or the new one, never a part.

    The temporary file lies in the same folder, so that the rename cannot cross file systems.

    Args:
        sync: make the content durable before the rename; and the rename too, unless ``sync_folder`` is false.
    """
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if sync and sync_folder:
        sync_directory(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Make ``path`` with ``data``, durable. One round trip to a file server less than to replace it: for readers that
    can tell a part from the whole.

    Raises:
        FileExistsError: it is there, and was left as it is.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            written = 0
            while written < len(data):
                written += os.write(fd, data[written:])
            os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def unlink_if_empty(path: Path) -> None:
    """Remove a file that nothing was written into; one that is not there, or cannot be removed, is no error."""
    with contextlib.suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def remove_if_bare(path: Path) -> None:
    """Remove a folder in which no file lies, however deep; one that is not there, or cannot be removed, is no error."""
    try:
        path.rmdir()  # it refuses a folder that has something in it
    except FileNotFoundError:
        return
    except OSError:
        found = list(os.walk(path, topdown=False))
        if any(names for _, _, names in found):
            return
        for folder, _, _ in found:
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def sync_directory(path: Path) -> None:
    """Make a rename in ``path`` durable. File systems that cannot sync a directory are left as they are."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


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
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
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
    """The records of a JSON lines file; a line that is not a JSON object (torn by a crash) is skipped."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record
