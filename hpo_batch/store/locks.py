"""The lock around every change of a journal: exclusive among our workers, and against plain Optuna writers.

A kernel lock on a file of its own gives order and is freed by the kernel when its holder dies. Inside it Optuna's own
``<journal>.lock`` is held too, because only that excludes plain Optuna (the dashboard, a script).
"""

from __future__ import annotations

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
from typing import TypeAlias

import filelock

from hpo_batch import processes
from hpo_batch.errors import LockTimeout, StorageError
from hpo_batch.store.leases import is_dead_here

FOREIGN_GRACE_S = 30.0
"""Optuna's own grace: a lock that has not changed for so long while we watched it is taken for abandoned"""
NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})

Identity: TypeAlias = tuple[int, int, int]


@contextlib.contextmanager
def journal_lock(journal: Path, *, timeout_s: float = 120.0) -> Iterator[None]:
    """Hold the journal's lock.

    Raises:
        LockTimeout: it was not to be had within ``timeout_s`` seconds.
        StorageError: the file system refused to make the lock's files.
    """
    deadline = time.monotonic() + timeout_s
    path = Path(f"{journal}.lock")
    kernel = filelock.FileLock(journal.with_name(f"{journal.name}.flock"), timeout=timeout_s, poll_interval=0.005)
    with contextlib.ExitStack() as stack:
        try:
            card = stack.enter_context(_card(path))
            stack.enter_context(kernel)
            stack.enter_context(_optuna_lock(path, card, deadline=deadline))
        except filelock.Timeout as error:
            raise LockTimeout(f"the lock of '{journal}' was not to be had within {timeout_s:g} s") from error
        except OSError as error:
            raise StorageError(f"cannot lock '{journal}': {error.strerror or error}") from error
        yield


@contextlib.contextmanager
def _card(path: Path) -> Iterator[Path]:
    """A file that names this process. It becomes the lock by a link, so that no lock is ever without its holder's name.

    A new one for each lock: Optuna's waiters tell by its time that the lock changes hands.
    """
    card = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        card.write_text(_holder(os.getpid()))
        yield card
    finally:
        with contextlib.suppress(OSError):
            card.unlink()


@lru_cache(maxsize=1)
def _holder(pid: int) -> str:
    facts = {"host": processes.host_name(), "boot": processes.boot_id(), "pid": pid}
    return json.dumps({**facts, "start": processes.started_at(pid)})


@contextlib.contextmanager
def _optuna_lock(path: Path, card: Path, *, deadline: float) -> Iterator[None]:
    """Hold ``<journal>.lock``, as a regular file: both of Optuna's file locks respect it."""
    seen, since, pause = None, time.monotonic(), 0.001
    while not _take(path, card):
        state = _identity(path)
        if state != seen:
            seen, since = state, time.monotonic()
        if state is not None and (_holder_is_dead(path) or time.monotonic() - since > FOREIGN_GRACE_S):
            # we hold the kernel lock: none of our workers can be breaking it at the same time
            path.unlink(missing_ok=True)
            continue
        if time.monotonic() > deadline:
            raise LockTimeout(f"'{path}' is held by another program; delete it if none is running")
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 0.05)
    taken = _identity(path)
    try:
        yield
    finally:
        # after a stop of the whole process somebody else may have broken it: theirs is not ours to remove
        if taken is not None and _identity(path) == taken:
            path.unlink(missing_ok=True)


def _take(path: Path, card: Path) -> bool:
    try:
        os.link(card, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        try:
            os.write(fd, card.read_bytes())
        finally:
            os.close(fd)
    return True


def _identity(path: Path) -> Identity | None:
    try:
        stat = path.lstat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _holder_is_dead(path: Path) -> bool:
    """Whether the lock is one of ours and its process is proven gone from this host."""
    try:
        return not path.is_symlink() and is_dead_here(json.loads(path.read_text())) is True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
