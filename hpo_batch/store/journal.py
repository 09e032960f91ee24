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
from hpo_batch.store.format import Record
from hpo_batch.store.locks import journal_lock

_encoder = msgspec.json.Encoder()


@dataclass(kw_only=True)
class Cursor:
    """How far a reader has come. ``first`` binds it to one file: a replaced journal is noticed."""

    offset: int = 0
    first: bytes = b""


@dataclass(kw_only=True)
class Transaction:
    """What one holder of the lock sees and does."""

    path: Path
    new: list[bytes]
    """lines that were appended since the cursor, without their newlines"""
    _end: int

    def append(self, records: Sequence[Record], *, sync: bool) -> list[bytes]:
        """Append all records in one write and return their lines; on failure the file is as it was before.

        Raises:
            StorageError: the file system refused (full disk, quota, read-only).
        """
        data = b"".join(_encode(record) + b"\n" for record in records)
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o666)
        except OSError as error:
            raise StorageError(f"cannot write '{self.path}': {error.strerror}") from error
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(fd, data[written:], self._end + written)
            if sync:
                os.fsync(fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, self._end)
            raise StorageError(f"cannot write '{self.path}': {error.strerror}") from error
        finally:
            os.close(fd)
        self._end += len(data)
        return data.split(b"\n")[:-1]


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
            lines, end, size = self._read()
            if size > end:
                self._cut(end)
            transaction = Transaction(path=self.path, new=lines, _end=end)
            try:
                yield transaction
            finally:
                self.cursor.offset = transaction._end

    def _read(self) -> tuple[list[bytes], int, int]:
        """New lines, the offset after the last whole one, the size of the file."""
        try:
            fd = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            if self.cursor.offset:
                raise JournalCorrupt(f"the journal '{self.path}' has disappeared") from None
            return [], 0, 0
        except OSError as error:
            raise StorageError(f"cannot read '{self.path}': {error.strerror}") from error
        try:
            size = os.fstat(fd).st_size
            offset, first = self.cursor.offset, self.cursor.first
            if size < offset or (first and os.pread(fd, len(first), 0) != first):
                raise JournalCorrupt(
                    f"the journal '{self.path}' was replaced while it was in use; start the worker again"
                )
            data = b""
            while offset + len(data) < size:
                chunk = os.pread(fd, size - offset - len(data), offset + len(data))
                if not chunk:
                    break
                data += chunk
        finally:
            os.close(fd)
        end = data.rfind(b"\n") + 1
        lines = data[:end].split(b"\n")[:-1]
        if not first and lines:
            self.cursor.first = lines[0]
        self.cursor.offset = offset + end
        return lines, offset + end, size

    def _cut(self, end: int) -> None:
        """A last line without its newline was never acknowledged to anybody: its writer died or failed."""
        try:
            os.truncate(self.path, end)
        except OSError as error:
            raise StorageError(f"cannot repair '{self.path}': {error.strerror}") from error


def _encode(record: Record) -> bytes:
    return _encoder.encode(record)
