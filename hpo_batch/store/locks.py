"""The lock around every change of a journal: exclusive among our workers, and against plain Optuna writers.

A kernel lock on a file of its own gives order and is freed by the kernel when its holder dies. Inside it Optuna's own
``<journal>.lock`` is held too, because only that excludes plain Optuna (the dashboard, a script).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import random
import secrets
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from hpo_batch import processes
from hpo_batch.errors import LockTimeout, StorageError
from hpo_batch.store.leases import is_dead_here

FOREIGN_GRACE_S = 30.0
"""Optuna's own grace: a lock that has not changed for so long while we watched it is taken for abandoned"""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.0002, 0.004
"""between two tries; the longest bounds what a waiting worker costs, and what a hand-over takes"""
NO_KERNEL_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
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
    with contextlib.ExitStack() as stack:
        try:
            card = stack.enter_context(_card(path))
            flock = journal.with_name(f"{journal.name}.flock")
            in_order = stack.enter_context(_kernel_lock(flock, deadline=deadline))
            stack.enter_context(_optuna_lock(path, card, deadline=deadline, in_order=in_order))
        except OSError as error:
            raise StorageError(f"cannot lock '{journal}': {error.strerror or error}") from error
        yield


@contextlib.contextmanager
def _kernel_lock(path: Path, *, deadline: float) -> Iterator[bool]:
    """Hold a kernel lock on a file of its own; the kernel frees it when we die. Gives whether there are such locks.

    Polled, because a blocking ``flock`` could not be given up; on one descriptor instead of opening the file for each
    try, which gives a sixth more throughput with 32 workers (docs/benchmarks.md).
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _open_locks.add(fd)
    try:
        pause = FIRST_PAUSE_S
        while (locked := _flock(fd)) is False:
            if time.monotonic() > deadline:
                raise LockTimeout(f"the lock '{path}' was not to be had within the time; is its holder stopped?")
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE_S)
        yield locked is True
    finally:
        _open_locks.discard(fd)
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)  # before the close: a forked child may hold the descriptor too
        os.close(fd)


_open_locks: set[int] = set()


def _close_in_child() -> None:
    """A child forked while we hold the lock (a data loader) must not keep it when we die."""
    for fd in _open_locks:
        with contextlib.suppress(OSError):
            os.close(fd)
    _open_locks.clear()


os.register_at_fork(after_in_child=_close_in_child)


def _flock(fd: int) -> bool | None:
    """Whether the lock is ours now; None where the file system has no such locks: ``.lock`` alone is the lock then."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_KERNEL_LOCKS:
            raise
        return None
    return True


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
def _optuna_lock(path: Path, card: Path, *, deadline: float, in_order: bool) -> Iterator[None]:
    """Hold ``<journal>.lock``, as a regular file: both of Optuna's file locks respect it.

    Args:
        in_order: whether we hold the kernel lock: then no other of our workers on this host holds this one, or breaks
            it at the same time.
    """
    seen, since, pause = None, time.monotonic(), 0.001
    while not _take(path, card):
        state = _identity(path)
        if state != seen:
            seen, since = state, time.monotonic()
        watched = time.monotonic() - since
        if state is not None and (_is_abandoned(path, in_order=in_order) or watched > FOREIGN_GRACE_S):
            if in_order:
                path.unlink(missing_ok=True)
                continue
            _break_alone(path, card, state, watched=watched)
        if time.monotonic() > deadline:
            raise LockTimeout(f"'{path}' is held by another program; delete it if none is running")
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 0.05)
    taken = _identity(path)
    try:
        yield
    finally:
        # after a stop of the whole process somebody else may have broken it: theirs is not ours to remove. A file
        # system that refuses now must not make a failure of what was done under the lock: others will break it
        with contextlib.suppress(OSError):
            if taken is not None and _identity(path) == taken:
                path.unlink(missing_ok=True)


def _break_alone(path: Path, card: Path, state: Identity, *, watched: float) -> None:
    """Remove an abandoned lock where no kernel lock orders us: of all who found it, only one may.

    Otherwise the second would remove the lock that the first has taken in the meantime. Who may is who takes the file
    named after this one lock; if that breaker dies, who takes the next one. What it removes must still be that lock.
    """
    for number in itertools.count(1):
        right = path.with_name(f".{path.name}.{state[0]:x}-{state[1]:x}.{number}")
        if _take(right, card):
            break
        if not _is_abandoned(right, in_order=False) and watched < FOREIGN_GRACE_S * (number + 1):
            return  # somebody is at it
    try:
        if _identity(path) == state:
            path.unlink(missing_ok=True)
    finally:
        for gone in range(1, number + 1):
            right.with_suffix(f".{gone}").unlink(missing_ok=True)


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


def _is_abandoned(path: Path, *, in_order: bool) -> bool:
    """Whether the lock is one of ours and its process is proven gone from this host.

    Or alive: with the kernel lock held, it can only be one that could not be removed when it was given up.
    """
    try:
        if path.is_symlink():
            return False
        facts = json.loads(path.read_text())
        dead = is_dead_here(facts)
        return dead is True or (in_order and dead is False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
