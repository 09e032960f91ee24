"""The Optuna journal of a study as a file: reading new lines, and appending whole batches under the lock.

Knows lines and bytes. What the records mean is in ``scan``; who may write them is the study's business.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hpo_batch.errors import JournalCorrupt, StorageError
from hpo_batch.files import sync_directory
from hpo_batch.store.format import Record
from hpo_batch.store.locks import journal_lock

KEPT_BYTES = 256
"""of what was read last: enough to hold a time or a token, which no other journal has at that place"""

_encoder = msgspec.json.Encoder()


@dataclass(kw_only=True)
class Cursor:
    """How far a reader has come. The bytes before it bind it to one file: a replaced journal is noticed."""

    offset: int = 0
    before: bytes = b""

    def advance(self, data: bytes) -> None:
        self.offset += len(data)
        self.before = (self.before + data)[-KEPT_BYTES:]


@dataclass(kw_only=True)
class Transaction:
    """What one holder of the lock sees and does."""

    path: Path
    new: list[bytes]
    """lines that were appended since the cursor, without their newlines"""
    _cursor: Cursor
    _unsynced: bool = False

    def append(self, records: Sequence[Record], *, sync: bool) -> list[bytes]:
        """Append all records in one write and return their lines; on failure the file is as it was before.

        Raises:
            StorageError: the file system refused (full disk, quota, read-only), or somebody wrote without the lock.
        """
        return self.append_lines([_encoder.encode(record) for record in records], sync=sync)

    def append_lines(self, lines: Sequence[bytes], *, sync: bool) -> list[bytes]:
        """The same with records that are encoded already, each without its newline."""
        data = b"".join(line + b"\n" for line in lines)
        end = self._cursor.offset
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666)
        except OSError as error:
            raise StorageError(f"cannot write '{self.path}': {error.strerror}") from error
        try:
            if os.fstat(fd).st_size != end:
                raise StorageError(f"'{self.path}' was written by a program that does not hold its lock")
            _write(fd, data, end)
        except OSError as error:
            raise StorageError(f"cannot write '{self.path}': {error.strerror}") from error
        finally:
            os.close(fd)
        self._unsynced = self._unsynced or sync
        self._cursor.advance(data)
        return list(lines)


class Journal:
    """One process's view of a journal file. No descriptor is kept between calls (network file systems)."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.cursor = Cursor()

    def read_new(self) -> list[bytes]:
        """Whole lines appended since the last call, without a lock: a torn last line is left for later.

        Raises:
            JournalCorrupt: the file is not the one read before.
        """
        return self._read()[0]

    @contextlib.contextmanager
    def transaction(self, *, timeout_s: float = 120.0) -> Iterator[Transaction]:
        """Hold the lock, cut a torn tail, and show the lines that are new to this reader.

        Lines appended in the transaction count as read: ``append`` returns them, ``read_new`` will not.
        """
        with journal_lock(self.path, timeout_s=timeout_s):
            lines, size = self._read()
            if size > self.cursor.offset:
                self._cut(self.cursor.offset)
            was_empty = self.cursor.offset == 0
            transaction = Transaction(path=self.path, new=lines, _cursor=self.cursor)
            yield transaction
        if transaction._unsynced:
            # after the lock: several workers' syncs become one commit of the file system, and nobody waits for a disk
            # under the lock. Nothing is acknowledged before: whoever called us comes back only now.
            self._sync(with_folder=was_empty)

    def _read(self) -> tuple[list[bytes], int]:
        """New lines, and the size of the file, a torn last line included."""
        offset, before = self.cursor.offset, self.cursor.before
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            if offset:
                raise JournalCorrupt(f"the journal '{self.path}' has disappeared") from None
            return [], 0
        except OSError as error:
            raise StorageError(f"cannot read '{self.path}': {error.strerror}") from error
        try:
            size = os.fstat(fd).st_size
            if _pread(fd, len(before), offset - len(before)) != before:
                raise JournalCorrupt(
                    f"the journal '{self.path}' was replaced while it was in use; start the worker again"
                )
            data = _pread(fd, size - offset, offset)
        except OSError as error:
            raise StorageError(f"cannot read '{self.path}': {error.strerror}") from error
        finally:
            os.close(fd)
        whole = data[: data.rfind(b"\n") + 1]
        self.cursor.advance(whole)
        return whole.split(b"\n")[:-1], size

    def _sync(self, *, with_folder: bool) -> None:
        try:
            fd = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise StorageError(f"cannot sync '{self.path}': {error.strerror}") from error
        if with_folder:
            sync_directory(self.path.parent)

    def _cut(self, end: int) -> None:
        """A last line without its newline was never acknowledged to anybody: its writer died or failed."""
        try:
            os.truncate(self.path, end)
        except OSError as error:
            raise StorageError(f"cannot repair '{self.path}': {error.strerror}") from error


def _write(fd: int, data: bytes, end: int) -> None:
    """All of it or nothing."""
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(fd, data[written:], end + written)
    except BaseException:  # also a second Ctrl-C
        with contextlib.suppress(OSError):
            os.ftruncate(fd, end)
        raise


def _pread(fd: int, count: int, offset: int) -> bytes:
    """``count`` bytes, or less at the end of the file."""
    data = os.pread(fd, count, offset)
    while len(data) < count:
        more = os.pread(fd, count - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
