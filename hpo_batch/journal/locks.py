"""The lock around every change of a journal: exclusive among our workers, and against plain Optuna writers.

A kernel lock on a file of its own gives order and is freed by the kernel when its holder dies. Inside it Optuna's own
``<journal>.lock`` is held too, because only that excludes plain Optuna (the dashboard, a script), and because on a
network file system a kernel lock may order the processes of one host alone.

Nothing here grows with the number of hosts: a process looks at left-overs of its own host only, and before it waits.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import itertools
import json
import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from hpo_batch import mounts, processes
from hpo_batch.errors import LockTimeout, StorageError
from hpo_batch.files import loads, read_regular
from hpo_batch.journal.kernel_lock import kernel_lock, open_lock
from hpo_batch.processes import is_dead_here

FOREIGN_GRACE_S = 30.0
"""Optuna's own grace: a lock that has not changed for so long while we watched it is taken for abandoned"""
LONGEST_BLINK_S = 1.0
"""what the time between two looks counts for at most: in a longer one we, or the file server, stood still, and so may
the lock's holder have done"""
HOLDER_BYTES = 1 << 16
"""what says who holds a lock is a line"""
IsHeld: TypeAlias = Callable[[], bool]
NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextlib.contextmanager
def journal_lock(
    journal: Path, *, timeout_s: float = 120.0, waiters: int = 1, is_local: bool | None = None
) -> Iterator[IsHeld]:
    """Hold the journal's lock, and give what tells whether it is held still.

    That asks the file server. A process that was suspended for longer than ``FOREIGN_GRACE_S`` may have lost the lock
    without being told.

    Args:
        waiters: how many processes may want it at once, as far as is known.
        is_local: whether the journal lies on a disk of this host; looked up if it is not given.

    Raises:
        LockTimeout: it could not be acquired within ``timeout_s`` seconds.
        StorageError: the file system refused to make the lock's files.
    """
    deadline = time.monotonic() + timeout_s
    lock = f"{journal}.lock"
    with contextlib.ExitStack() as stack:
        try:
            # before the kernel lock: each is a round trip to a file server for which nobody has to wait
            _freshen(_card(lock), lock)
            if is_local is None:
                is_local = mounts.is_local(journal.parent)
            flock = kernel_lock(f"{journal}.flock", deadline=deadline, is_local=is_local, waiters=waiters)
            in_order = stack.enter_context(flock)
            is_held = stack.enter_context(_optuna_lock(lock, deadline=deadline, in_order=in_order, is_local=is_local))
        except OSError as error:
            raise StorageError.because(f"cannot lock '{journal}'", error) from error
        yield is_held


def _freshen(card: str, lock: str) -> None:
    """A new time for our card, and so for the lock: by that Optuna's waiters see that it changes hands."""
    try:
        os.utime(card)
    except FileNotFoundError:
        _cards.pop((os.getpid(), lock), None)  # somebody cleaned up: the next lock makes another


def _card(lock: str) -> str:
    """A file that names this process. It becomes the lock by a link, so that no lock is ever without its holder's name.

    One for the life of the process: to make and remove a file for each lock takes longer than to hold it. Its name
    begins with the host, so that nobody reads the cards of other hosts, about which nobody here can tell anything.
    """
    me = os.getpid()
    card = _cards.get((me, lock))
    if card is None:
        for left in _cards_of(lock, processes.host_name(), "*"):
            if _holder_is_dead(left):
                _unlink(left)
        card = f"{_card_prefix(lock, processes.host_name())}.{me}.{secrets.token_hex(4)}"
        fd = open_lock(card, os.O_EXCL)  # it becomes the lock: with the modes of one
        try:
            os.write(fd, _holder(me).encode())
        finally:
            os.close(fd)
        _cards[me, lock] = card
    return card


def _card_prefix(lock: str, host: str) -> str:
    return str(Path(lock).with_name(f".{Path(lock).name}.{re.sub('[^A-Za-z0-9_-]', '_', host)}"))


def _cards_of(lock: str, host: str, pid: int | str) -> list[Path]:
    return list(Path(lock).parent.glob(f"{Path(_card_prefix(lock, host)).name}.{pid}.*"))


def remove_cards(journal: Path, facts: Mapping[str, Any]) -> None:
    """Remove what a worker that is dead, as ``facts`` of its attempt name it, has left of the journal's lock.

    Should it live after all, it makes another card.
    """
    if not processes.is_number(facts["pid"]):  # as a journal from elsewhere may say
        return
    with contextlib.suppress(OSError):
        for card in _cards_of(f"{journal}.lock", str(facts["host"]), facts["pid"]):
            _unlink(card)


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
    return json.dumps(processes.identity())


@contextlib.contextmanager
def _optuna_lock(path: str, *, deadline: float, in_order: bool, is_local: bool) -> Iterator[IsHeld]:
    """Hold ``<journal>.lock``, as a regular file: both of Optuna's file locks respect it.

    Args:
        in_order: whether we hold the kernel lock: then no other of our workers on this host holds this one, or breaks
            it at the same time. Of other hosts it is not believed to say anything.
    """
    seen, watched, looked, pause = None, 0.0, time.monotonic(), 0.001
    while (taken := _take(path)) is None:
        state, now = _identity_at_server(path), time.monotonic()
        watched = watched + min(now - looked, LONGEST_BLINK_S) if state == seen else 0.0
        seen, looked = state, now
        if state is not None and (
            _is_abandoned(path, in_order=in_order, is_local=is_local) or watched > FOREIGN_GRACE_S
        ):
            if in_order and is_local:
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
        yield lambda: _is_still(path, taken, look=_identity_at_server)
    finally:
        # after a stop of the whole process somebody else may have broken it: theirs is not ours to remove. A file
        # system that refuses now must not make a failure of what was done under the lock: others will break it
        with contextlib.suppress(OSError):
            if _is_still(path, taken, look=_identity):
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
            return  # another process is breaking it
    try:
        if _identity_at_server(path) == state:
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
        os.link(card, lock)
    except FileExistsError:
        # a server that did it, and whose answer was lost, says this to the second try (man 2 open, O_EXCL on NFS)
        return os.lstat(card).st_ino if _is_same_file(card, lock) else None
    except FileNotFoundError:
        _cards.pop((os.getpid(), path), None)  # somebody cleaned up
        return None
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        try:
            fd = open_lock(lock, os.O_EXCL)
        except FileExistsError:
            return None
        text = json.dumps({**json.loads(_holder(os.getpid())), "token": secrets.token_hex(8)})
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        return text
    return os.lstat(card).st_ino


def _is_same_file(card: str, lock: str) -> bool:
    """Whether a lock is a link to our card, and nobody else's: we never try to take what we hold."""
    with contextlib.suppress(FileNotFoundError):
        return os.lstat(card).st_nlink > 1 and os.lstat(lock).st_ino == os.lstat(card).st_ino
    return False


def _is_still(path: str, taken: int | str, *, look: Callable[[str], Identity | None]) -> bool:
    """Whether the lock is the one that ``_take`` took."""
    if isinstance(taken, str):
        with contextlib.suppress(FileNotFoundError):
            return read_regular(Path(path), most=HOLDER_BYTES) == taken.encode()
        return False
    now = look(path)
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


def _identity_at_server(path: str) -> Identity | None:
    """The same as the file server has it now. An NFS client answers ``lstat`` from a cache for up to a minute, in which
    the lock may have changed hands a thousand times: it asks the server when a file is opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # it may be a pipe
    except FileNotFoundError:
        return None
    except OSError:  # a symbolic link: plain Optuna's other lock. Or it may not be read
        return _identity(path)
    try:
        stat = os.fstat(fd)
    finally:
        os.close(fd)
    return Identity(stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _is_abandoned(path: str, *, in_order: bool, is_local: bool) -> bool:
    """Whether the lock is one of ours and its process is proven gone from this host.

    Or alive: with the kernel lock held, it can only be one that could not be removed when it was given up. On a disk of
    this host that goes for containers too, and for this host before it was rebooted.
    """
    dead = _is_dead(path)
    return dead is True or (in_order and (dead is False or (is_local and _names_this_host(path))))


def _holder_is_dead(path: str | Path) -> bool:
    """Whether the lock is one of ours and its process is proven gone from this host."""
    return _is_dead(path) is True


def _names_this_host(path: str) -> bool:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return bool(read_holder(Path(path))["host"] == processes.host_name())
    return False


def _is_dead(path: str | Path) -> bool | None:
    """Whether the holder of a lock of ours is; None if nobody here can tell, or it is none of ours."""
    try:
        return is_dead_here(read_holder(Path(path)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_holder(path: Path) -> Any:
    """Who a lock of ours says that it is held by. Anything may lie there: plain Optuna's is a link, or empty.

    Raises:
        OSError: it is no file, or cannot be read.
        ValueError: it is no JSON.
    """
    return loads(read_regular(path, most=HOLDER_BYTES))
