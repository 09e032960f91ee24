"""The Optuna journal of a study as a file: reading new lines, and appending whole batches under the lock.

Knows lines and bytes. What the records mean is in ``scan``; who may write them is the study's business; what to do with
damaged bytes is in ``damage``.
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
from hpo_batch.store.damage import Stretch, is_sound, mend, salvage, still_the_same
from hpo_batch.store.format import Record
from hpo_batch.store.locks import journal_lock

PIECE = 1 << 22
"""bytes that are read at once without the lock: 64 workers of one node may open the same large journal"""
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
        self.before = (self.before + data[-KEPT_BYTES:])[-KEPT_BYTES:]


@dataclass(kw_only=True)
class Transaction:
    """What one holder of the lock sees and does."""

    path: Path
    new: bytes
    """whole lines that were appended since the cursor"""
    _cursor: Cursor
    _fd: int | None
    """None before the first line of a new journal"""
    _unsynced: bool = False

    def append(self, records: Sequence[Record], *, sync: bool) -> bytes:
        """Append all records in one write and return their lines; on failure the file is as it was before.

        Raises:
            StorageError: the file system refused (full disk, quota, read-only), or somebody wrote without the lock.
        """
        return self.append_lines([_encoder.encode(record) for record in records], sync=sync)

    def append_lines(self, lines: Sequence[bytes], *, sync: bool) -> bytes:
        """The same with records that are encoded already, each without its newline."""
        data = b"\n".join(lines) + b"\n" if lines else b""
        end = self._cursor.offset
        try:
            if self._fd is None:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if os.fstat(self._fd).st_size != end:
                raise StorageError(f"'{self.path}' was written by a program that does not hold its lock")
            _write(self._fd, data, end)
        except OSError as error:
            raise StorageError(f"cannot write '{self.path}': {error.strerror}") from error
        self._unsynced = self._unsynced or sync
        self._cursor.advance(data)
        return data


class Journal:
    """One process's view of a journal file. No descriptor is kept between calls (network file systems)."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.cursor = Cursor()
        self.damage: list[Stretch] = []
        """what was read and is no record: the next transaction mends the file"""

    def read_new(self) -> bytes:
        """Whole lines appended since the last call, without a lock: a torn last line is left for later.

        At most some megabytes: a large journal is read by calling until there is nothing more. Lines that are no
        records are left out; a whole record behind a torn one is read.

        Raises:
            JournalCorrupt: the file is not the one read before.
        """
        fd = self._open(os.O_RDONLY)
        if fd is None:
            return b""
        try:
            lines, size = self._read(fd, most=PIECE)
            if not lines and size - self.cursor.offset > PIECE:  # a line longer than that, or so much damage
                lines, _ = self._read(fd)
            return lines
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def transaction(self, *, timeout_s: float = 120.0) -> Iterator[Transaction]:
        """Hold the lock, mend what is damaged, and show the lines that are new to this reader.

        Lines appended in the transaction count as read: ``append`` returns them, ``read_new`` will not.
        """
        transaction = Transaction(path=self.path, new=b"", _cursor=self.cursor, _fd=None)
        try:
            with journal_lock(self.path, timeout_s=timeout_s):
                transaction._fd = self._open(os.O_RDWR)
                if transaction._fd is not None:
                    transaction.new, size = self._read(transaction._fd)
                    self._mend(transaction._fd, size)
                was_empty = self.cursor.offset == 0
                yield transaction
            if transaction._unsynced and transaction._fd is not None:
                # after the lock: several workers' syncs become one commit of the file system, and nobody waits for a
                # disk under the lock. Nothing is acknowledged before: whoever called us comes back only now.
                self._sync(transaction._fd, with_folder=was_empty)
        finally:
            if transaction._fd is not None:
                os.close(transaction._fd)

    def _open(self, flags: int) -> int | None:
        """The journal's descriptor; None if there is no journal yet."""
        try:
            return os.open(self.path, flags | os.O_CLOEXEC)
        except FileNotFoundError:
            if self.cursor.offset:
                raise JournalCorrupt(f"the journal '{self.path}' has disappeared") from None
            return None
        except OSError as error:
            what = "read" if flags == os.O_RDONLY else "write"
            raise StorageError(f"cannot {what} '{self.path}': {error.strerror}") from error

    def _read(self, fd: int, *, most: int | None = None) -> tuple[bytes, int]:
        """New lines, and the size of the file, a torn last line included."""
        offset, before = self.cursor.offset, self.cursor.before
        try:
            size = os.fstat(fd).st_size
            new = max(0, size - offset)
            data = _pread(fd, len(before) + (new if most is None else min(new, most)), offset - len(before))
        except OSError as error:
            raise StorageError(f"cannot read '{self.path}': {error.strerror}") from error
        if not data.startswith(before) and not still_the_same(before, data[: len(before)]):
            raise JournalCorrupt(f"the journal '{self.path}' was replaced while it was in use; start the worker again")
        whole = data[len(before) : data.rfind(b"\n") + 1]
        lines = whole
        if not is_sound(whole):
            lines, damage = salvage(whole, offset)
            if damage and damage[-1].end == offset + len(whole):
                whole = whole[: damage.pop().start - offset]  # nothing good follows it: a torn tail like any other
            self.damage += damage
        self.cursor.advance(whole)
        return lines, size

    def _mend(self, fd: int, size: int) -> None:
        try:
            if self.damage:
                mend(fd, self.damage, keep=self.path.with_suffix(".bad"))
                self.damage.clear()
            if size > self.cursor.offset:
                # a last line without its newline was never acknowledged to anybody: its writer died or failed
                os.ftruncate(fd, self.cursor.offset)
        except OSError as error:
            raise StorageError(f"cannot repair '{self.path}': {error.strerror}") from error

    def _sync(self, fd: int, *, with_folder: bool) -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            raise StorageError(f"cannot sync '{self.path}': {error.strerror}") from error
        if with_folder:
            sync_directory(self.path.parent)


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
