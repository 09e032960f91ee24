"""Files that a killed process must not leave half-written: atomic replacement and JSON lines.

And files that somebody else may have put there: a study may lie where others write. What we write goes into regular
files without following a link, and what we read is a regular file of a bounded size.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import json
import math
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import msgspec

T = TypeVar("T")
DOCUMENT_BYTES: Final = 64 << 20
"""no claim, result, card or frozen sweep comes near it; a sparse file of a terabyte costs its maker nothing"""
LINES_BYTES: Final = 1 << 30
"""the same of files that grow by a line for each step"""
_COPIED_AT_ONCE: Final = 1 << 20


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
            _refuse(error.errno, "is a link", path)
        if error.errno in (errno.ENXIO, errno.EISDIR, errno.ENODEV):  # a pipe that nobody reads, a socket, a folder
            _refuse(error.errno, "is no regular file", path)
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        _refuse(errno.EINVAL, "is no regular file", path)
    return fd


def _refuse(number: int, why: str, path: Path | str) -> NoReturn:
    raise OddFile(number, f"'{os.path.basename(path)}' {why}", str(path)) from None  # noqa: PTH119


def read_regular(path: Path, *, most: int = DOCUMENT_BYTES) -> bytes:
    """All of a regular file.

    Raises:
        OddFile: it is none, or has more than ``most`` bytes.
        OSError: it cannot be read.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            _refuse(errno.EFBIG, f"has more than {most} bytes", path)
        return file.read()


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


@contextlib.contextmanager
def folder_below(base: Path, folder: Path) -> Iterator[int]:
    """A descriptor of ``folder``, to name files by: no link on the way from ``base`` has led elsewhere, nor can later.

    A link of this user's own in a folder that nobody else may write to is followed: it is a choice, no trap.

    Raises:
        OddFile: there is another link on the way.
        OSError: the folder is not there, or may not be entered.
    """
    relative = _relative(str(folder), str(base))
    try:
        fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        fd = _walk(base, relative)
    else:
        # One look in /proc, which asks no file server, instead of a round trip for each folder on the way.
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
        found = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115  # for each claim
    except OSError:
        return False
    end = "" if relative == "." else f"/{relative}"
    return found == f"{_real(str(base))}{end}" or found == f"{os.path.realpath(base)}{end}"


@functools.lru_cache(maxsize=64)
def _real(base: str) -> str:
    return os.path.realpath(base)


def _walk(base: Path, relative: str) -> int:
    """The folder's descriptor, one folder after the other: the sure way, where the quick one sees another path."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    fd = os.open(base, flags)
    for name in Path(relative).parts:
        above = fd
        try:
            fd = os.open(name, flags | (0 if _is_own_link(above, name) else os.O_NOFOLLOW), dir_fd=above)
        except NotADirectoryError:
            if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                _refuse(errno.ELOOP, "is a link, which somebody else may have put there", name)
            raise
        finally:
            os.close(above)
    return fd


def _is_own_link(above: int, name: str) -> bool:
    folder, facts = os.fstat(above), os.stat(name, dir_fd=above, follow_symlinks=False)
    closed = folder.st_uid in (0, os.geteuid()) and not folder.st_mode & 0o022
    return closed and facts.st_uid in (0, os.geteuid()) and stat.S_ISLNK(facts.st_mode)


def make_real_folder(folder: Path) -> None:
    """Make a folder, or see that it is one and no link to one.

    Raises:
        OddFile: something else lies there.
        OSError: the file system refuses.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            _refuse(errno.ENOTDIR, "is no folder of its own, but a link or a file", folder)


def copy_folder(source: int, target: int) -> None:
    """Copy what lies in one folder into another, both given as descriptors: files with their modes and times.

    Links stay links: what they lead to is not ours to copy, may be gone, or may be the folder itself. Those that name
    a place in ``source`` by its absolute path name it in the copy. Pipes, sockets and devices are left out.

    Raises:
        OSError: something went away meanwhile, or the file system refuses.
    """
    _copy_into(source, target, os.readlink(f"/proc/self/fd/{source}"), ".")  # noqa: PTH115


def _copy_into(source: int, target: int, top: str, where: str) -> None:
    reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)  # O_PATH lists nothing
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


def unlink_if_empty(path: Path | str, *, dir_fd: int | None = None) -> None:
    """Remove a file that nothing was written into; one that is not there, or cannot be removed, is no error."""
    with contextlib.suppress(OSError):
        facts = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if facts.st_size == 0 and stat.S_ISREG(facts.st_mode):
            os.unlink(path, dir_fd=dir_fd)


def remove_if_bare(path: Path) -> None:
    """Remove a folder in which no file lies, however deep; one that is not there, or cannot be removed, is no error."""
    try:
        path.rmdir()  # it refuses a folder that has something in it
    except FileNotFoundError:
        return
    except OSError:
        found = [] if path.is_symlink() else list(os.walk(path, topdown=False))
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


def append_text(path: Path, text: str) -> None:
    """Raises OSError if the file system refuses, ``OddFile`` if something else than a regular file lies there."""
    fd = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)


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
