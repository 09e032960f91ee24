"""Reads new lines of a study's journal, and appends batches of lines under its lock.

This module handles bytes and lines. ``state`` interprets the records and ``damage`` repairs the file.

On a shared file system, writes are synced before the lock is released. NFS shows them to other clients only after a
sync or close, and an unlock flushes only the locked file, which is not the journal:
https://man7.org/linux/man-pages/man5/nfs.5.html and docs/decisions/007-network-file-systems.md.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
from msgspec.structs import replace

from hpo_batch import mounts
from hpo_batch.errors import JournalCorrupt, StorageError
from hpo_batch.files import open_regular, sync_directory
from hpo_batch.journal.damage import Stretch, is_sound, mend, salvage, sound_lines, still_the_same
from hpo_batch.journal.encode import Record
from hpo_batch.journal.locks import FOREIGN_GRACE_S, IsHeld, journal_lock

PIECE = 1 << 22
"""bytes read at once without the lock: bounds memory when 64 workers of a node open the same large journal"""
KEPT_BYTES = 256
"""bytes before the cursor that identify the file: enough to contain a time or token, unique to this journal"""
SETTLE_PAUSES_S = (0.1, 0.2, 0.4, 0.8)
"""waits before damage seen without the lock is believed, on a network file system: pages of a write in progress may
arrive in any order"""
SURE_S = FOREIGN_GRACE_S / 3
"""for this long after acquiring the lock we still hold it: nobody breaks a lock this young"""

_encoder = msgspec.json.Encoder()


class Cursor(msgspec.Struct, kw_only=True):
    """Position of a reader. The bytes before it identify the file, so that a replaced journal is noticed."""

    offset: int = 0
    before: bytes = b""

    def advance(self, data: bytes) -> None:
        self.offset += len(data)
        self.before = (self.before + data[-KEPT_BYTES:])[-KEPT_BYTES:]


class Transaction(msgspec.Struct, kw_only=True):
    """Access to the journal for the holder of its lock."""

    path: Path
    new: bytes
    """whole lines appended since the cursor"""
    _cursor: Cursor
    _is_held: IsHeld
    _fd: int | None = None
    """None until the first line of a new journal"""
    _wrote: bool = False
    _unsynced: bool = False
    _since: float = msgspec.field(default_factory=lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    """when the lock was acquired; CLOCK_BOOTTIME also counts time suspended, unlike the monotonic clock"""

    def append(self, records: Sequence[Record], *, sync: bool) -> bytes:
        """Append all records in one write and return their lines. On failure the file is left as it was.

        Args:
            records: to append.
            sync: make them durable before the transaction ends.

        Raises:
            StorageError: from the file system (full disk, quota, read-only), or a program wrote without the lock.
        """
        return self.append_lines([_encoder.encode(record) for record in records], sync=sync)

    def append_lines(self, lines: Sequence[bytes], *, sync: bool) -> bytes:
        """The same for encoded records, each without its newline."""
        data = b"\n".join(lines) + b"\n" if lines else b""
        end = self._cursor.offset
        try:
            if time.clock_gettime(time.CLOCK_BOOTTIME) - self._since > SURE_S and not self._is_held():
                raise StorageError(f"lost the lock of '{self.path}' while this process was suspended; try again")
            if self._fd is None:
                self._fd = open_regular(self.path, os.O_RDWR | os.O_CREAT)
            if os.fstat(self._fd).st_size != end:
                raise StorageError(f"'{self.path}' was modified by a program that does not hold its lock")
            self._wrote = True
            _write(self._fd, data, end)
        except OSError as error:
            raise StorageError.because(f"cannot write '{self.path}'", error) from error
        self._unsynced = self._unsynced or sync
        self._cursor.advance(data)
        return data


class Journal:
    """One process's view of a journal file. Reopened for each call: NFS revalidates its cache on open only."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.cursor = Cursor()
        self.damage: list[Stretch] = []
        """damaged bytes seen so far; the next transaction repairs them in the file"""
        self.was_undone = False
        """whether records that were read, or returned by ``append``, were rolled back because they did not reach the
        disk"""
        self._committed = Cursor()
        """how far this process has read under the lock; nothing before it is ever rolled back"""

    @cached_property
    def is_local(self) -> bool:
        """Whether it is on a local disk, where all processes see a write at once."""
        try:
            return mounts.is_local(self.path.parent)
        except OSError as error:
            raise StorageError.because(f"cannot read '{self.path.parent}'", error) from error

    def read_new(self, *, judge: bool = True) -> bytes:
        """Whole lines appended since the last call, without the lock. A torn last line is left for the next call.

        Returns a few megabytes at most: call until it returns nothing. Damaged bytes are skipped, and a whole record
        after a torn one is returned.

        Args:
            judge: decide what is damage, after waiting for it to disappear. Workers pass False and read the rest in
                their next transaction, where no write can be in progress. On a local disk there is nothing to wait for.

        Raises:
            JournalCorrupt: the file was replaced since the last call, or a record may have been lost.
        """
        for pause in (*SETTLE_PAUSES_S, None):
            fd = self._open(os.O_RDONLY)
            if fd is None:
                return b""
            try:
                data, size = self._pread(fd, most=PIECE)
                whole = self._whole(data)
                if not whole and size - self.cursor.offset > PIECE:  # a longer line, or as much damage
                    data, size = self._pread(fd)
                    whole = self._whole(data)
            finally:
                _close(fd)
            if (sound := is_sound(whole)) or self.is_local or pause is None:
                break
            if not judge:
                return self._take(sound_lines(whole))
            time.sleep(pause)
        return self._take(whole, is_known_sound=sound)

    def pieces(self, *, judge: bool = True) -> Iterator[bytes]:
        """Call ``read_new`` until there is nothing more."""
        while lines := self.read_new(judge=judge):
            yield lines

    @contextlib.contextmanager
    def transaction(self, *, timeout_s: float = 120.0, waiters: int = 1) -> Iterator[Transaction]:
        """Hold the lock, repair damage, and yield the lines that are new to this reader.

        Lines appended in the transaction count as read: ``append`` returns them and ``read_new`` does not. If it raises
        StorageError and sets ``was_undone``, they are not in the journal; read it again from the start.

        Args:
            timeout_s: seconds to wait for the lock.
            waiters: estimate of how many processes want the lock at once.

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
                start = self._committed = replace(self.cursor)
                try:
                    yield transaction
                finally:
                    if transaction._wrote and not self.is_local:
                        self._publish(transaction, start)
            if transaction._unsynced and transaction._fd is not None:
                # after releasing the lock, so that nobody waits for a disk while holding it, and the file system can
                # commit the syncs of several workers together. Still before we return: nothing unsynced is
                # acknowledged.
                self._sync(transaction._fd, with_folder=start.offset == 0)
        finally:
            if transaction is not None and transaction._fd is not None:
                _close(transaction._fd)

    def _publish(self, transaction: Transaction, start: Cursor) -> None:
        """Sync the writes to the file server while the lock is held, so that its next holder sees them on any host.

        NFS reports write errors only now. The writes are then rolled back, as after a failed write: the next holder
        must not find half a batch, or take the current size for the end of a file that is about to grow.
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
        # if this fails too, a torn tail or whole records are left, and the next reader copes with both
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
        """The bytes after the cursor, and the size of the file.

        Raises:
            JournalCorrupt: the file was replaced since the last call.
        """
        offset, before = self.cursor.offset, self.cursor.before
        try:
            size = os.fstat(fd).st_size
            new = max(0, size - offset)
            data = _pread(fd, len(before) + (new if most is None else min(new, most)), offset - len(before))
        except OSError as error:
            raise StorageError.because(f"cannot read '{self.path}'", error) from error
        if not _is_before(before, data):
            committed = self._committed
            if 0 < committed.offset < offset and _is_before(committed.before, _pread_before(fd, committed)):
                self.was_undone = True
                raise StorageError(f"the last records of '{self.path}' were rolled back by their writer; try again")
            raise JournalCorrupt(f"the journal '{self.path}' was replaced while in use; restart the worker")
        return data[len(before) :], size

    def _whole(self, data: bytes) -> bytes:
        return data[: data.rfind(b"\n") + 1]

    def _take(self, whole: bytes, *, is_known_sound: bool = False) -> bytes:
        """The records in whole lines; moves the cursor past them."""
        offset, lines = self.cursor.offset, whole
        if not (is_known_sound or is_sound(whole)):
            lines, damage = salvage(whole, offset)
            if damage and damage[-1].end == offset + len(whole):
                whole = whole[: damage.pop().start - offset]  # nothing follows it: a torn tail
            self.damage += damage
        self.cursor.advance(whole)
        return lines

    def _mend(self, fd: int, size: int) -> None:
        try:
            if self.damage:
                mend(fd, self.damage, keep=self.path.with_suffix(".bad"))
                self.damage.clear()
            if size > self.cursor.offset:
                # a last line without a newline was never acknowledged: its writer died or failed
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
    except BaseException:  # including KeyboardInterrupt: half a line must not stay
        with contextlib.suppress(OSError):
            os.ftruncate(fd, end)
        raise


def _close(fd: int) -> None:
    """Close a file that was synced or only read, so that errors of close(2) on NFS do not matter."""
    with contextlib.suppress(OSError):
        os.close(fd)


def _is_before(before: bytes, data: bytes) -> bool:
    return data.startswith(before) or still_the_same(before, data[: len(before)])


def _pread_before(fd: int, cursor: Cursor) -> bytes:
    return _pread(fd, len(cursor.before), cursor.offset - len(cursor.before))


def _pread(fd: int, count: int, offset: int) -> bytes:
    """``count`` bytes, or fewer at the end of the file. One pread(2) returns at most 2 GiB."""
    data = os.pread(fd, count, offset)
    while len(data) < count:
        more = os.pread(fd, count - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
