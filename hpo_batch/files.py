"""Files that a killed process must not leave half-written: atomic replacement and JSON lines."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_atomic(path: Path, data: str | bytes, *, sync: bool = True, sync_folder: bool = True) -> None:
    """Replace ``path`` with ``data``: a reader sees the old content or the new one, never a part.

    The temporary file lies in the same folder, so that the rename cannot cross file systems.

    Args:
        sync: make the content durable before the rename; and the rename too, unless ``sync_folder`` is false.
    """
    content = data.encode() if isinstance(data, str) else data
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


def append_json_line(path: Path, record: dict[str, Any], *, sync: bool = True) -> None:
    """Append one record as one line in a single write. A torn line before it is closed with a newline first."""
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(fd, line)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


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
