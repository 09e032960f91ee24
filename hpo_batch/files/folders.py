"""Opens folders without following other users' links, and creates, copies and removes folders."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpo_batch.files.regular import open_regular, refuse

_COPIED_AT_ONCE: Final = 1 << 20


@contextlib.contextmanager
def folder_below(base: Path, folder: Path) -> Iterator[int]:
    """Open ``folder`` without following links on the way from ``base``, and yield its descriptor.

    Files opened relative to the descriptor stay in this folder, even if its path is replaced meanwhile. A link that
    belongs to this user, in a folder that nobody else may write to, is followed.

    Raises:
        OddFile: there is another link on the way.
        OSError: the folder does not exist, or may not be entered.
    """
    relative = _relative(str(folder), str(base))
    try:
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        fd = _walk(base, relative)
    else:
        # /proc tells the path without asking the file server, instead of one round trip per folder on the way
        if not _lies_at(fd, base, relative):
            os.close(fd)
            fd = _walk(base, relative)
    try:
        yield fd
    finally:
        os.close(fd)


def _relative(folder: str, base: str) -> str:
    return folder[len(base) + 1 :] if folder.startswith(f"{base}/") else os.path.relpath(folder, base)


def _lies_at(fd: int, base: Path, relative: str) -> bool:
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115  # called for each claim
    except OSError:
        return False
    end = "" if relative == "." else f"/{relative}"
    # first the cached path, which is nearly always still right
    return path == f"{_real(str(base))}{end}" or path == f"{os.path.realpath(base)}{end}"


@functools.lru_cache(maxsize=64)
def _real(base: str) -> str:
    return os.path.realpath(base)


def _walk(base: Path, relative: str) -> int:
    """Open the folder one component at a time: slower, but decides where the path in /proc differs."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    fd = os.open(base, flags)
    for name in Path(relative).parts:
        above = fd
        try:
            fd = os.open(name, flags | (0 if _is_own_link(above, name) else os.O_NOFOLLOW), dir_fd=above)
        except NotADirectoryError:
            if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                refuse(errno.ELOOP, "is a link that another user may have created", name)
            raise
        finally:
            os.close(above)
    return fd


def _is_own_link(above: int, name: str) -> bool:
    folder, facts = os.fstat(above), os.stat(name, dir_fd=above, follow_symlinks=False)
    closed = folder.st_uid in (0, os.geteuid()) and not folder.st_mode & 0o022
    return closed and facts.st_uid in (0, os.geteuid()) and stat.S_ISLNK(facts.st_mode)


def make_real_folder(folder: Path) -> None:
    """Create a folder; one that exists must be a folder, not a link to one.

    Raises:
        OddFile: there is something else at this path.
        OSError: from the file system.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            refuse(errno.ENOTDIR, "is not a folder, but a link or a file", folder)


def remove_if_bare(path: Path) -> None:
    """Remove a folder that contains no files at any depth. Errors are ignored."""
    try:
        path.rmdir()  # one call for an empty folder; fails if there is anything in it
    except FileNotFoundError:
        return
    except OSError:
        tree = [] if path.is_symlink() else list(os.walk(path, topdown=False))
        if any(names for _, _, names in tree):
            return
        for folder, _, _ in tree:
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def copy_folder(source: int, target: int) -> None:
    """Copy the contents of one folder into another, with modes and times. Both are descriptors.

    Links are copied as links, since their target may belong to others, be missing, or be the folder itself. Absolute
    links into ``source`` become relative, so that they lead into the copy. Pipes, sockets and devices are skipped.

    Raises:
        OSError: a file disappeared meanwhile, or another error.
    """
    _copy_into(source, target, os.readlink(f"/proc/self/fd/{source}"), ".")  # noqa: PTH115


def _copy_into(source: int, target: int, top: str, where: str) -> None:
    reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)  # O_PATH cannot be listed
    try:
        names = os.listdir(reading)  # noqa: PTH208
    finally:
        os.close(reading)
    for name in names:
        facts = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISLNK(facts.st_mode):
            leads = os.readlink(name, dir_fd=source)
            if leads.startswith(f"{top}/"):
                leads = os.path.relpath(os.path.relpath(leads, top), where)
            os.symlink(leads, name, dir_fd=target)
        elif stat.S_ISDIR(facts.st_mode):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(name, flags, dir_fd=source)
            try:
                os.mkdir(name, dir_fd=target)
                made = os.open(name, flags, dir_fd=target)
                try:
                    _copy_into(inner, made, top, f"{where}/{name}")
                    # the mode last: a read-only folder could not be filled
                    os.fchmod(made, stat.S_IMODE(facts.st_mode) | 0o700)
                finally:
                    os.close(made)
            finally:
                os.close(inner)
        elif stat.S_ISREG(facts.st_mode):
            _copy_file(source, target, name)
            os.utime(name, ns=(facts.st_atime_ns, facts.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _copy_file(source: int, target: int, name: str) -> None:
    with os.fdopen(open_regular(name, os.O_RDONLY, dir_fd=source), "rb") as one:
        fd = open_regular(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=target)
        with os.fdopen(fd, "wb") as other:
            shutil.copyfileobj(one, other, _COPIED_AT_ONCE)
            os.fchmod(other.fileno(), stat.S_IMODE(os.fstat(one.fileno()).st_mode) & 0o777)
