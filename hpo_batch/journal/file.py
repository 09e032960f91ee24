"""The Optuna journal of a study as a file: reading new lines, and appending whole batches under the lock.

Knows lines and bytes. What the records mean is in ``scan``; who may write them is the study's business; what to do with
damaged bytes is in ``damage``.

On a file system that several hosts write to, what is written reaches the server before the lock is free: NFS shows it
to other clients only once it is synced or the file is closed, and flushes at an unlock only the file that was locked
(docs/decisions/007-network-file-systems.md).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import msgspec

from hpo_batch import mounts
from hpo_batch.errors import JournalCorrupt, StorageError
from hpo_batch.files import open_regular, sync_directory
from hpo_batch.journal.damage import Stretch, is_sound, mend, salvage, sound_lines, still_the_same
from hpo_batch.journal.encode import Record
from hpo_batch.journal.locks import FOREIGN_GRACE_S, IsHeld, journal_lock

PIECE = 1 << 22
"""bytes that are read at once without the lock: 64 workers of one node may open the same large journal"""
KEPT_BYTES = 256
"""of what was read last: enough to hold a time or a token, which no other journal has at that place"""
SETTLE_PAUSES_S = (0.1, 0.2, 0.4, 0.8)
"""how long damage that is seen without the lock is given to go away on a network file system: a write may be on its
way, and its pages may arrive in any order"""
SURE_S = FOREIGN_GRACE_S / 3
"""a lock that was taken less than this ago is still ours: nobody breaks it so early"""

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
    _is_held: IsHeld
    _fd: int | None = None
    """None before the first line of a new journal"""
    _wrote: bool = False
    _unsynced: bool = False
    _since: float = field(default_factory=lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    """when the lock was acquired, by a clock that goes on while the machine sleeps"""

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
            if time.clock_gettime(time.CLOCK_BOOTTIME) - self._since > SURE_S and not self._is_held():
                raise StorageError(f"lost the lock of '{self.path}' while this process was suspended: try again")
            if self._fd is None:
                self._fd = open_regular(self.path, os.O_RDWR | os.O_CREAT)
            if os.fstat(self._fd).st_size != end:
                raise StorageError(f"'{self.path}' was written by a program that does not hold its lock")
            self._wrote = True
            _write(self._fd, data, end)
        except OSError as error:
            raise StorageError.because(f"cannot write '{self.path}'", error) from error
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
        self.was_undone = False
        """whether records that were read, or that ``append`` returned, were taken back: they did not reach the disk"""
        self._sure = Cursor()
        """how far this process has read under the lock: what is before it stays"""

    @cached_property
    def is_local(self) -> bool:
        """Whether it lies on a disk of this host, where a write is seen by all at once."""
        try:
            return mounts.is_local(self.path.parent)
        except OSError as error:
            raise StorageError.because(f"cannot read '{self.path.parent}'", error) from error

    def read_new(self, *, judge: bool = True) -> bytes:
        """Whole lines appended since the last call, without a lock: a torn last line is left for later.

        At most some megabytes: a large journal is read by calling until there is nothing more. Lines that are no
        records are left out; a whole record behind a torn one is read.

        Args:
            judge: say what is damage, after waiting for it to go away. A worker does not: what is behind it is read in
                its next transaction, under the lock, where it cannot be a write on its way. On a local disk there is
                nothing to wait for.

        Raises:
            JournalCorrupt: the file is not the one read before, or a record may have been destroyed.
        """
        for pause in (*SETTLE_PAUSES_S, None):
            fd = self._open(os.O_RDONLY)
            if fd is None:
                return b""
            try:
                data, size = self._pread(fd, most=PIECE)
                whole = self._whole(data)
                if not whole and size - self.cursor.offset > PIECE:  # a line longer than that, or so much damage
                    data, size = self._pread(fd)
                    whole = self._whole(data)
            finally:
                _close(fd)
            if is_sound(whole) or self.is_local or pause is None:
                break
            if not judge:
                return self._take(sound_lines(whole))
            time.sleep(pause)
        return self._take(whole)

    def pieces(self, *, judge: bool = True) -> Iterator[bytes]:
        """``read_new`` until there is nothing more."""
        while lines := self.read_new(judge=judge):
            yield lines

    @contextlib.contextmanager
    def transaction(self, *, timeout_s: float = 120.0, waiters: int = 1) -> Iterator[Transaction]:
        """Hold the lock, mend what is damaged, and show the lines that are new to this reader.

        Lines appended in the transaction count as read: ``append`` returns them, ``read_new`` will not. If it ends in a
        StorageError and ``was_undone`` is set, they did not get into the journal: read it anew.

        Args:
            waiters: how many processes may want the lock at once, as far as is known.

        Raises:
            LockTimeout: the lock could not be acquired.
            StorageError: the journal could not be read, written or synced.
        """
        transaction: Transaction | None = None
        try:
            with journal_lock(self.path, timeout_s=timeout_s, waiters=waiters, is_local=self.is_local) as is_held:
                transaction = Transaction(path=self.path, new=b"", _cursor=self.cursor, _is_held=is_held)
                transaction._fd = self._open(os.O_RDWR)
                if transaction._fd is not None:
                    data, size = self._pread(transaction._fd)
                    transaction.new = self._take(self._whole(data))
                    self._mend(transaction._fd, size)
                start = self._sure = replace(self.cursor)
                try:
                    yield transaction
                finally:
                    if transaction._wrote and not self.is_local:
                        self._publish(transaction, start)
            if transaction._unsynced and transaction._fd is not None:
                # after the lock: several workers' syncs become one commit of the file system, and nobody waits for a
                # disk under the lock. Nothing is acknowledged before: whoever called us comes back only now.
                self._sync(transaction._fd, with_folder=start.offset == 0)
        finally:
            if transaction is not None and transaction._fd is not None:
                _close(transaction._fd)

    def _publish(self, transaction: Transaction, start: Cursor) -> None:
        """Bring what was written to the file server, under the lock, so that its next holder reads it on any host.

        A write error of NFS shows here. What was written is taken back then, as after a write that fails at once: the
        next holder must not find the half of a batch, or read as the end of the file what is about to grow.
        """
        fd, transaction._fd = transaction._fd, None
        if fd is None:
            return
        try:
            try:
                os.fsync(fd)
            except OSError:
                self._undo(fd, start)
                raise
            finally:
                _close(fd)
        except OSError as error:
            raise StorageError.because(f"cannot sync '{self.path}'", error) from error
        if start.offset == 0:
            sync_directory(self.path.parent)
        transaction._unsynced = False

    def _undo(self, fd: int, start: Cursor) -> None:
        self.was_undone = True
        self.cursor.offset, self.cursor.before = start.offset, start.before
        # if that fails too, what is there is a torn tail or whole records: both are what the next reader reads
        with contextlib.suppress(OSError):
            os.ftruncate(fd, start.offset)
            os.fsync(fd)

    def _open(self, flags: int) -> int | None:
        """The journal's descriptor; None if there is no journal yet."""
        try:
            return open_regular(self.path, flags)
        except FileNotFoundError:
            if self.cursor.offset:
                raise JournalCorrupt(f"the journal '{self.path}' has disappeared") from None
            return None
        except OSError as error:
            what = "read" if flags == os.O_RDONLY else "write"
            raise StorageError.because(f"cannot {what} '{self.path}'", error) from error

    def _pread(self, fd: int, *, most: int | None = None) -> tuple[bytes, int]:
        """The bytes behind the cursor, and the size of the file.

        Raises:
            JournalCorrupt: the file is not the one read before.
        """
        offset, before = self.cursor.offset, self.cursor.before
        try:
            size = os.fstat(fd).st_size
            new = max(0, size - offset)
            data = _pread(fd, len(before) + (new if most is None else min(new, most)), offset - len(before))
        except OSError as error:
            raise StorageError.because(f"cannot read '{self.path}'", error) from error
        if not _is_before(before, data):
            if 0 < self._sure.offset < offset and _is_before(self._sure.before, _pread_before(fd, self._sure)):
                self.was_undone = True
                raise StorageError(f"records at the end of '{self.path}' were taken back by their writer: try again")
            raise JournalCorrupt(f"the journal '{self.path}' was replaced while it was in use; start the worker again")
        return data[len(before) :], size

    def _whole(self, data: bytes) -> bytes:
        return data[: data.rfind(b"\n") + 1]

    def _take(self, whole: bytes) -> bytes:
        """The records in whole lines; the cursor moves behind them."""
        offset, lines = self.cursor.offset, whole
        if not is_sound(whole):
            lines, damage = salvage(whole, offset)
            if damage and damage[-1].end == offset + len(whole):
                whole = whole[: damage.pop().start - offset]  # nothing good follows it: a torn tail like any other
            self.damage += damage
        self.cursor.advance(whole)
        return lines

    def _mend(self, fd: int, size: int) -> None:
        try:
            if self.damage:
                mend(fd, self.damage, keep=self.path.with_suffix(".bad"))
                self.damage.clear()
            if size > self.cursor.offset:
                # a last line without its newline was never acknowledged to anybody: its writer died or failed
                os.ftruncate(fd, self.cursor.offset)
        except OSError as error:
            raise StorageError.because(f"cannot repair '{self.path}'", error) from error

    def _sync(self, fd: int, *, with_folder: bool) -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            raise StorageError.because(f"cannot sync '{self.path}'", error) from error
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


def _close(fd: int) -> None:
    """Close what was synced, or only read: what an NFS client may say of it now changes nothing."""
    with contextlib.suppress(OSError):
        os.close(fd)


def _is_before(before: bytes, data: bytes) -> bool:
    return data.startswith(before) or still_the_same(before, data[: len(before)])


def _pread_before(fd: int, cursor: Cursor) -> bytes:
    return _pread(fd, len(cursor.before), cursor.offset - len(cursor.before))


def _pread(fd: int, count: int, offset: int) -> bytes:
    """``count`` bytes, or less at the end of the file."""
    data = os.pread(fd, count, offset)
    while len(data) < count:
        more = os.pread(fd, count - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
