"""Opens only regular files of bounded size and never follows links, since others may write to a study's directory."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final, NoReturn

DOCUMENT_BYTES: Final = 64 << 20
"""limit for claims, results, cards and frozen sweeps, which are far smaller: a sparse file of 1 TB costs nothing to
make"""
LINES_BYTES: Final = 1 << 30
"""limit for files that grow by a line per step"""


class OddFile(OSError):
    """Not a regular file of acceptable size: a link, a pipe, a device, a folder, or too large."""


def open_regular(path: Path | str, flags: int, *, dir_fd: int | None = None) -> int:
    """``os.open`` for regular files: does not follow links, and does not block on a pipe (O_NONBLOCK).

    Raises:
        OddFile: there is something else at this path.
        OSError: see ``os.open``.
    """
    try:
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(path, flags, 0o666) if dir_fd is None else os.open(path, flags, 0o666, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            refuse(error.errno, "is a link", path)
        if error.errno in (errno.ENXIO, errno.EISDIR, errno.ENODEV):  # a pipe without reader or a socket, a folder
            refuse(error.errno, "is not a regular file", path)
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        refuse(errno.EINVAL, "is not a regular file", path)
    return fd


def refuse(number: int, why: str, path: Path | str) -> NoReturn:
    raise OddFile(number, f"'{os.path.basename(path)}' {why}", str(path)) from None  # noqa: PTH119


def read_regular(path: Path, *, most: int = DOCUMENT_BYTES) -> bytes:
    """The contents of a regular file.

    Raises:
        OddFile: not a regular file, or larger than ``most`` bytes.
        OSError: it cannot be read.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            refuse(errno.EFBIG, f"has more than {most} bytes", path)
        return file.read()


def append_text(path: Path, text: str) -> None:
    """Append to a file. Raises OSError on failure, ``OddFile`` if it is not a regular file."""
    fd = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)


def unlink_if_empty(path: Path | str, *, dir_fd: int | None = None) -> None:
    """Remove an empty file. Errors are ignored."""
    with contextlib.suppress(OSError):
        facts = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if facts.st_size == 0 and stat.S_ISREG(facts.st_mode):
            os.unlink(path, dir_fd=dir_fd)
