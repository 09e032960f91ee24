"""Open Optuna storages read-only: SQLite files, database URLs, journals.

No tables are created and no schemas upgraded.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import sqlite3
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hpo_batch.errors import StorageError, UserError
from hpo_batch.sources import place as places

# time limit for reading a SQLite file: a crafted one may contain queries that never end
MOST_S: Final = 300.0
# https://www.sqlite.org/fileformat.html#the_database_header
SQLITE: Final = b"SQLite format 3\0"


class Changed(Exception):
    """A process started to write to a database that no process had open."""


@contextlib.contextmanager
def opened(place: str, called: str, *, without_lock: bool) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """The storage, and notes on how it was opened.

    Args:
        called: the source without passwords.
        without_lock: read a SQLite database that nobody has open without a lock.

    Raises:
        Changed: another process opened it meanwhile.
        UserError: there is no such file, or it cannot be a storage.
    """

    path = places.file_of(place)
    if path is None:
        if place.lower().startswith("sqlite"):
            raise UserError(
                f"'{called}' names no file: a database in memory exists only in the program that created it"
            )
        yield from _database(place)
        return
    if not path.is_file():
        raise UserError(f"no Optuna storage '{path.absolute()}'")
    with path.open("rb") as file:
        head = file.read(32)
    if not head.startswith(SQLITE) and not places.is_url(place):
        yield read_only_journal(path), ()
        return
    if places.is_url(place) and not place.lower().startswith(("sqlite://", "sqlite+pysqlite://")):
        yield from _database(place)  # with another driver, which may be able to read an encrypted file
        return
    with _sqlite(path, head, without_lock=without_lock) as (uri, notes):
        # not by a SQLAlchemy URL: it and SQLite would both decode a # or % in the path
        connect = functools.partial(_connected, uri, called)
        for storage, _ in _database("sqlite:///", creator=connect):
            yield storage, notes


def read_only_journal(path: Path) -> Any:
    """The storage of a journal file, which may grow meanwhile."""
    import optuna

    return optuna.storages.JournalStorage(_ReadOnlyJournal(path))


def _database(url: str, **engine: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    import optuna

    storage = optuna.storages.RDBStorage(url, engine_kwargs=engine or None, skip_table_creation=True)
    try:
        yield storage, ()
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _connected(uri: str, called: str) -> sqlite3.Connection:
    """A connection with a time limit. Views in place of Optuna's tables are rejected: they can run code.

    https://www.sqlite.org/security.html
    """
    connection = sqlite3.connect(uri, uri=True, timeout=10, check_same_thread=False)
    end = time.monotonic() + MOST_S
    connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
    connection.execute("PRAGMA trusted_schema = OFF")
    if views := connection.execute("SELECT name FROM sqlite_master WHERE type = 'view' LIMIT 1").fetchone():
        raise UserError(f"'{called}' is not an Optuna storage: it has a view, '{views[0]}'")
    return connection


@contextlib.contextmanager
def _sqlite(path: Path, head: bytes, *, without_lock: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The URI by which SQLite reads a file without creating files next to it.

    SQLite creates files even for readers if there is a write-ahead log, and rolls back the last transaction of a killed
    writer. So a database that no process has open is read as immutable, and one that needs a rollback in a read-only
    folder is read from a copy (https://www.sqlite.org/wal.html#read_only_databases).
    """
    path = path.resolve()
    uri = f"file:{urllib.parse.quote(str(path))}"
    is_wal = head[18:20] == b"\2\2"
    unfinished = [one for one in _beside(path, "-wal", "-journal") if one.stat().st_size]
    is_writable = os.access(path.parent, os.W_OK, effective_ids=True)
    if is_wal and not unfinished and (not is_writable or (without_lock and not _beside(path, "-wal", "-shm"))):
        before = _stamp(path)
        try:
            yield f"{uri}?mode=ro&immutable=1", ()
        except Exception:
            if _stamp(path) == before or not is_writable:
                raise
        if is_writable and _stamp(path) != before:
            raise Changed
    elif is_writable or not unfinished:
        yield f"{uri}?mode=ro", ()
    else:
        with tempfile.TemporaryDirectory(prefix="hpo-batch-") as folder:
            for one in (path, *unfinished):
                shutil.copyfile(one, Path(folder) / one.name)
            note = f"read from a copy, with '{unfinished[0].name}': its folder is not writable"
            yield f"file:{urllib.parse.quote(str(Path(folder) / path.name))}?mode=rw", (note,)


def _beside(path: Path, *ends: str) -> list[Path]:
    return [one for end in ends if (one := Path(f"{path}{end}")).is_file()]


def _stamp(path: Path) -> tuple[object, ...]:
    """Facts that change when a process writes, or opens the database to write."""
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino, tuple(_beside(path, "-wal", "-shm"))


def _ReadOnlyJournal(path: Path) -> Any:  # noqa: N802 - a class, but Optuna is imported late
    from optuna.storages.journal import BaseJournalBackend

    class Backend(BaseJournalBackend):
        """Reads the complete lines of a journal; a last line without an end is just being written."""

        def __init__(self) -> None:
            self._records = self._lines = self._offset = 0  # read so far: a page asks for what is new, again and again

        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            if log_number_from != self._records or path.stat().st_size < self._offset:
                self._records = self._lines = self._offset = 0
            first = self._records
            with path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
            records: list[dict[str, Any]] = []
            whole = text[: text.rfind(b"\n") + 1]
            for number, line in enumerate(whole.split(b"\n")[:-1], start=self._lines + 1):
                try:
                    records += [json.loads(line)] if line.strip() else []
                except ValueError as error:
                    raise StorageError(f"'{path}': line {number} is not a journal record: {error}") from error
            self._records, self._lines = first + len(records), self._lines + whole.count(b"\n")
            self._offset += len(whole)
            return records[log_number_from - first :]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            raise StorageError(f"'{path}' is open read-only")

    return Backend()


def explained(place: str, error: Exception) -> str:
    """A message with advice for an error of SQLAlchemy, a driver, Alembic or Optuna."""
    text = " ".join(_chain(error).split())
    if "no longer compatible" in text or "storage upgrade" in text or "revision" in text:
        return (
            f"'{place}' was written by another version of Optuna: upgrade a copy of it with 'optuna storage "
            f"upgrade --storage sqlite:///COPY' (Optuna says: {text[:200]})"
        )
    if "interrupted" in text:
        return f"reading '{place}' took more than {MOST_S:g} s"
    if "no such table" in text or "not a database" in text:
        return f"'{place}' is a database, but not an Optuna storage ({text[:120]})"
    if "No module named" in text or "Can't load plugin" in text:
        return f"'{place}' needs a database driver that is not installed ({text[:120]})"
    return f"cannot read the Optuna storage '{place}': {text[:300]}"


def _chain(error: BaseException) -> str:
    """An error and its causes, the innermost first: Optuna's message hides that of the database."""
    texts: list[str] = []
    at: BaseException | None = error
    while at is not None and len(texts) < 10:
        texts.insert(0, str(at))
        at = at.__cause__ or at.__context__
    return "; ".join(dict.fromkeys(texts))
