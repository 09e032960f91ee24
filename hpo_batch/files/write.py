"""Files that a killed process must not leave half-written: atomic replacement, and durable new ones."""

from __future__ import annotations

import contextlib
import os
import secrets
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

    The temporary file lies in the same folder, so that the rename cannot cross file systems.

    Args:
        dir_fd: ``path`` is a name in this folder, which is not synced.
        sync: make the content durable before the rename; and the rename too, unless ``sync_folder`` is false.
        mode: of the file, less what the umask takes away.
    """
    content = data.encode(errors="backslashreplace") if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
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
    """Make ``path`` with ``data``, durable. One round trip to a file server less than to replace it: for readers that
    can tell a part from the whole.

    Raises:
        FileExistsError: it is there, and was left as it is.
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
    """Make a rename in ``path`` durable. File systems that cannot sync a directory are left as they are."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
