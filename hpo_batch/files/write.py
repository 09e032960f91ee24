"""Writes files so that a killed process never leaves them incomplete."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_atomic(
    path: Path,
    data: str | bytes,
    *,
    sync: bool = True,
    sync_folder: bool = True,
    mode: int = 0o666,
    dir_fd: int | None = None,
) -> None:
    """Replace ``path`` with ``data``: a reader sees the old content or the new one, never a part.

    Args:
        path: of the file; with ``dir_fd``, a name in that folder, which is not synced.
        data: its new content; text as UTF-8.
        sync: sync the content before the rename.
        sync_folder: with ``sync``, also sync the folder, which makes the rename durable.
        mode: of the file, reduced by the umask.
    """
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data
    # in the same folder: rename(2) does not work across file systems
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=dir_fd)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=dir_fd)
        raise
    if sync and sync_folder and dir_fd is None:
        sync_directory(path.parent)


def write_new(path: Path | str, data: bytes, *, dir_fd: int | None = None) -> None:
    """Create ``path`` with ``data`` and sync it. One round trip to a file server less than ``write_atomic``, but
    readers may see an incomplete file.

    Raises:
        FileExistsError: it exists, and was not changed.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=dir_fd)
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
            os.unlink(path, dir_fd=dir_fd)
        raise


def sync_directory(path: Path) -> None:
    """Make renames in a folder durable, where the file system supports it.

    fsync(2) of a file does not include its directory entry: https://man7.org/linux/man-pages/man2/fsync.2.html
    """
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
