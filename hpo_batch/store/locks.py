"""The lock around every change of a journal: exclusive among our workers, and against plain Optuna writers.

A kernel lock on a file of its own gives order and is freed by the kernel when its holder dies. Inside it Optuna's own
``<journal>.lock`` is held too, because only that excludes plain Optuna (the dashboard, a script).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import random
import secrets
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hpo_batch import processes
from hpo_batch.errors import LockTimeout, StorageError
from hpo_batch.store.kernel_lock import kernel_lock
from hpo_batch.store.leases import is_dead_here

FOREIGN_GRACE_S = 30.0
"""Optuna's own grace: a lock that has not changed for so long while we watched it is taken for abandoned"""
NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextlib.contextmanager
def journal_lock(journal: Path, *, timeout_s: float = 120.0) -> Iterator[None]:
    """Hold the journal's lock.

    Raises:
        LockTimeout: it was not to be had within ``timeout_s`` seconds.
        StorageError: the file system refused to make the lock's files.
    """
    deadline = time.monotonic() + timeout_s
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(kernel_lock(f"{journal}.flock", deadline=deadline))
            stack.enter_context(_optuna_lock(f"{journal}.lock", deadline=deadline))
        except OSError as error:
            raise StorageError(f"cannot lock '{journal}': {error.strerror or error}") from error
        yield


def _card(lock: str) -> str:
    """A file that names this process. It becomes the lock by a link, so that no lock is ever without its holder's name.

    One for the life of the process: to make and remove a file for each lock takes longer than to hold it.
    """
    me = os.getpid()
    card = _cards.get((me, lock))
    if card is None:
        for left in Path(lock).parent.glob(f".{Path(lock).name}.*"):
            if _holder_is_dead(left):
                _unlink(left)
        card = str(Path(lock).with_name(f".{Path(lock).name}.{secrets.token_hex(4)}"))
        Path(card).write_text(_holder(me))
        _cards[me, lock] = card
    return card


_cards: dict[tuple[int, str], str] = {}
"""by process, since a forked child must not lock in its parent's name, and lock"""


@atexit.register
def _remove_cards() -> None:
    for (pid, _), card in _cards.items():
        if pid == os.getpid():
            with contextlib.suppress(OSError):
                Path(card).unlink()


@lru_cache(maxsize=1)
def _holder(pid: int) -> str:
    facts = {"host": processes.host_name(), "boot": processes.boot_id(), "pid": pid}
    return json.dumps({**facts, "start": processes.started_at(pid)})


@contextlib.contextmanager
def _optuna_lock(path: str, *, deadline: float) -> Iterator[None]:
    """Hold ``<journal>.lock``, as a regular file: both of Optuna's file locks respect it."""
    seen, since, pause = None, time.monotonic(), 0.001
    while (taken := _take(path)) is None:
        state = _identity(path)
        if state != seen:
            seen, since = state, time.monotonic()
        if state is not None and (_holder_is_dead(path) or time.monotonic() - since > FOREIGN_GRACE_S):
            # we hold the kernel lock: none of our workers can be breaking it at the same time
            _unlink(path)
            continue
        if time.monotonic() > deadline:
            raise LockTimeout(f"'{path}' is held by another program; delete it if none is running")
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 0.05)
    try:
        yield
    finally:
        # after a stop of the whole process somebody else may have broken it: theirs is not ours to remove
        now = _identity(path)
        if now is not None and now.inode == taken:
            _unlink(path)


def _take(path: str) -> int | None:
    """The inode of the lock if it is ours now."""
    card = _card(path)
    try:
        os.utime(card)  # Optuna's waiters tell by its time that the lock changes hands
        os.link(card, path)
    except FileExistsError:
        return None
    except FileNotFoundError:
        _cards.pop((os.getpid(), path), None)  # somebody cleaned up
        return None
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return None
        try:
            os.write(fd, _holder(os.getpid()).encode())
            return os.fstat(fd).st_ino
        finally:
            os.close(fd)
    return os.lstat(card).st_ino


def _unlink(path: str | Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()


class Identity(NamedTuple):
    inode: int
    changed_ns: int
    size: int


def _identity(path: str) -> Identity | None:
    try:
        stat = os.lstat(path)
    except FileNotFoundError:
        return None
    return Identity(stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _holder_is_dead(path: str | Path) -> bool:
    """Whether the lock is one of ours and its process is proven gone from this host."""
    try:
        return not Path(path).is_symlink() and is_dead_here(json.loads(Path(path).read_text())) is True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
