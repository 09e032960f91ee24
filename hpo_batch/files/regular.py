"""Files that somebody else may have put there: a study may lie where others write.

What we write goes into regular files without following a link; what we read is a regular file of a bounded size.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Final, NoReturn

DOCUMENT_BYTES: Final = 64 << 20
"""no claim, result, card or frozen sweep comes near it; a sparse file of a terabyte costs its maker nothing"""
LINES_BYTES: Final = 1 << 30
"""the same of files that grow by a line for each step"""


class OddFile(OSError):
    """What lies at a path is none of our files: a link, a pipe, a device, a folder, or larger than any of them."""


def open_regular(path: Path | str, flags: int, *, dir_fd: int | None = None) -> int:
    """``os.open`` for a regular file: neither a link is followed nor a pipe waited for.

    Raises:
        OddFile: something else lies there.
        OSError: as of ``os.open``.
    """
    try:
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(path, flags, 0o666) if dir_fd is None else os.open(path, flags, 0o666, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            refuse(error.errno, "is a link", path)
        if error.errno in (errno.ENXIO, errno.EISDIR, errno.ENODEV):  # a pipe that nobody reads, a socket, a folder
            refuse(error.errno, "is no regular file", path)
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        refuse(errno.EINVAL, "is no regular file", path)
    return fd


def refuse(number: int, why: str, path: Path | str) -> NoReturn:
    raise OddFile(number, f"'{os.path.basename(path)}' {why}", str(path)) from None  # noqa: PTH119


def read_regular(path: Path, *, most: int = DOCUMENT_BYTES) -> bytes:
    """All of a regular file.

    Raises:
        OddFile: it is none, or has more than ``most`` bytes.
        OSError: it cannot be read.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            refuse(errno.EFBIG, f"has more than {most} bytes", path)
        return file.read()


def append_text(path: Path, text: str) -> None:
    """Raises OSError if the file system refuses, ``OddFile`` if something else than a regular file lies there."""
    fd = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)


def unlink_if_empty(path: Path | str, *, dir_fd: int | None = None) -> None:
    """Remove a file that nothing was written into; one that is not there, or cannot be removed, is no error."""
    with contextlib.suppress(OSError):
        facts = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if facts.st_size == 0 and stat.S_ISREG(facts.st_mode):
            os.unlink(path, dir_fd=dir_fd)
