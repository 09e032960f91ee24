"""The lock around every change of a journal: exclusive among our workers, and against plain Optuna writers.

A kernel lock on a file of its own gives order and is freed by the kernel when its holder dies. Inside it Optuna's own
``<journal>.lock`` is held too, because only that excludes plain Optuna (the dashboard, a script).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import itertools
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
from hpo_batch.store.kernel_lock import is_on_local_disk, kernel_lock
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
            in_order = stack.enter_context(kernel_lock(f"{journal}.flock", deadline=deadline))
            stack.enter_context(_optuna_lock(f"{journal}.lock", deadline=deadline, in_order=in_order))
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
def _optuna_lock(path: str, *, deadline: float, in_order: bool) -> Iterator[None]:
    """Hold ``<journal>.lock``, as a regular file: both of Optuna's file locks respect it.

    Args:
        in_order: whether we hold the kernel lock: then no other of our workers on this host holds this one, or breaks
            it at the same time. Of other hosts it is not believed to say anything.
    """
    seen, since, pause = None, time.monotonic(), 0.001
    while (taken := _take(path)) is None:
        state = _identity(path)
        if state != seen:
            seen, since = state, time.monotonic()
        watched = time.monotonic() - since
        if state is not None and (_is_abandoned(path, in_order=in_order) or watched > FOREIGN_GRACE_S):
            if in_order and is_on_local_disk(path):
                _unlink(path)
                continue
            # a kernel lock of a network file system may order this host alone (NFS with local_lock, Lustre with
            # localflock): another one may be breaking the same lock
            _break_alone(path, state, watched=watched)
        if time.monotonic() > deadline:
            raise LockTimeout(f"'{path}' is held by another program; delete it if none is running")
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 0.05)
    try:
        yield
    finally:
        # after a stop of the whole process somebody else may have broken it: theirs is not ours to remove. A file
        # system that refuses now must not make a failure of what was done under the lock: others will break it
        with contextlib.suppress(OSError):
            if _is_still(path, taken):
                _unlink(path)


def _break_alone(path: str, state: Identity, *, watched: float) -> None:
    """Remove an abandoned lock where no kernel lock orders us: of all who found it, only one may.

    Otherwise the second would remove the lock that the first has taken in the meantime. Who may is who takes the file
    named after this one lock; if that breaker dies, who takes the next one. What it removes must still be that lock.
    """
    folder, name = Path(path).parent, f".{Path(path).name}-{state.inode:x}-{state.changed_ns:x}"
    for number in itertools.count(1):
        right = folder / f"{name}.{number}"
        if _take(path, at=str(right)) is not None:
            break
        if not _holder_is_dead(right) and watched < FOREIGN_GRACE_S * (number + 1):
            return  # somebody is at it
    try:
        if _identity(path) == state:
            _unlink(path)
    finally:
        for gone in range(1, number + 1):
            _unlink(folder / f"{name}.{gone}")


def _take(path: str, *, at: str | None = None) -> int | str | None:
    """What tells the lock (or the file ``at``, taken alike) from others, if it is ours now.

    The inode of our card, which nobody else can get while the card is there. Without hard links what is written in it:
    where the lock is a file of its own, the next one may get the inode of ours.
    """
    card, lock = _card(path), at or path
    try:
        os.utime(card)  # Optuna's waiters tell by its time that the lock changes hands
        os.link(card, lock)
    except FileExistsError:
        return None
    except FileNotFoundError:
        _cards.pop((os.getpid(), path), None)  # somebody cleaned up
        return None
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        try:
            fd = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return None
        text = json.dumps({**json.loads(_holder(os.getpid())), "token": secrets.token_hex(8)})
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        return text
    return os.lstat(card).st_ino


def _is_still(path: str, taken: int | str) -> bool:
    """Whether the lock is the one that ``_take`` took."""
    if isinstance(taken, str):
        with contextlib.suppress(FileNotFoundError):
            return Path(path).read_bytes() == taken.encode()
        return False
    now = _identity(path)
    return now is not None and now.inode == taken


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


def _is_abandoned(path: str, *, in_order: bool) -> bool:
    """Whether the lock is one of ours and its process is proven gone from this host.

    Or alive: with the kernel lock held, it can only be one that could not be removed when it was given up.
    """
    dead = _is_dead(path)
    return dead is True or (in_order and dead is False)


def _holder_is_dead(path: str | Path) -> bool:
    """Whether the lock is one of ours and its process is proven gone from this host."""
    return _is_dead(path) is True


def _is_dead(path: str | Path) -> bool | None:
    """Whether the holder of a lock of ours is; None if nobody here can tell, or it is none of ours."""
    try:
        return None if Path(path).is_symlink() else is_dead_here(json.loads(Path(path).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
