"""A kernel lock (``flock``) on a file of its own, with a bounded wait: freed by the kernel when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import stat
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

from hpo_batch.errors import LockTimeout

NO_KERNEL_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.0002, 0.004
"""between two tries of a polling waiter; the longest bounds what it costs, and what a hand-over takes"""
PAUSE_PER_WAITER_S = 0.0006
"""what each further waiter adds to the longest pause. All of them together then try about 2,000 times a second however
many they are, so that the server is not kept busy with being asked, and a lock that is free is found within a
millisecond by one of them. With 64 waiters at 2 ms a round trip: 510 tries a trial without it, under 50 with it
(docs/benchmarks.md)"""


@contextlib.contextmanager
def kernel_lock(path: str, *, deadline: float, is_local: bool, waiters: int = 1) -> Iterator[bool]:
    """Hold the lock of a file, and say whether it is held: where the file system has no kernel locks, nothing is.

    Args:
        deadline: of the monotonic clock.
        is_local: whether the file lies on a disk of this host (``mounts.is_local``).
        waiters: how many may want it at once, as far as is known: where we poll, each polls the less.

    Raises:
        LockTimeout: it was not to be had until the deadline.
        OSError: the file cannot be made.
    """
    fd = open_lock(path)
    _open_locks.add(fd)
    try:
        held = try_lock(fd)
        began = time.monotonic()
        if held is False and not _wait(fd, deadline, is_local, waiters):
            waited = f"{time.monotonic() - began:.2g} s"
            raise LockTimeout(f"could not acquire '{path}' in {waited}; its holder may be suspended")
        yield held is not None
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)  # before the close: a forked child may hold the descriptor too
        _close(fd)


def open_lock(path: str, flags: int = 0) -> int:
    """Open the file of a lock, made if need be, so that nobody can hold it who may not write beside it.

    Who may read a file can lock it, exclusively too, and so stop all who wait for it. So it is for its owner alone,
    and for the group where the group may write in its directory: those could remove it as well. One that is open to
    others, since it was made by an earlier version, is closed by its owner.

    Args:
        flags: further ones of ``os.open``.

    Raises:
        OSError: it cannot be opened, or is a symbolic link.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        facts = os.fstat(fd)  # the open has brought it, on a network file system too
        if facts.st_uid == os.geteuid() and (_looked_at.get(path) != facts.st_ino or facts.st_mode & 0o117):
            _looked_at[path] = facts.st_ino
            folder = os.stat(os.path.dirname(path) or ".")  # noqa: PTH116, PTH120  # a text: this is on the way to a lock
            is_groups = folder.st_mode & stat.S_IWGRP and folder.st_gid == facts.st_gid
            wanted = 0o660 if is_groups else 0o600
            if stat.S_IMODE(facts.st_mode) != wanted:
                with contextlib.suppress(OSError):  # a file system without modes
                    os.fchmod(fd, wanted)
    except BaseException:
        os.close(fd)
        raise
    return fd


_looked_at: dict[str, int] = {}
"""inodes of locks whose modes this process has seen to, by path"""


def try_lock(fd: int) -> bool | None:
    """Whether the lock is ours now; None if there are no such locks here: ``.lock`` alone is the lock then."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_KERNEL_LOCKS:
            raise
        return None
    return True


def _wait(fd: int, deadline: float, is_local: bool, waiters: int) -> bool:
    """Whether the lock was to be had until the deadline.

    On a local disk we wait in the kernel's queue, which is first come, first served: polling with 64 workers, the
    slowest claims took twice as long (docs/benchmarks.md). Not on a network file system: its clients poll too, with
    pauses of many seconds.
    """
    return _wait_in_queue(fd, deadline) if is_local else _poll(fd, deadline, waiters)


def _poll(fd: int, deadline: float, waiters: int) -> bool:
    pause, longest = FIRST_PAUSE_S, max(LONGEST_PAUSE_S, waiters * PAUSE_PER_WAITER_S)
    while try_lock(fd) is False:
        if time.monotonic() > deadline:
            return False
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, longest)
    return True


def _wait_in_queue(fd: int, deadline: float) -> bool:
    """A waiting ``flock`` cannot be given up: a thread waits in our place, and hands on or gives back what it gets."""
    wish = _Wish(fd)
    me = os.getpid()
    if me not in _wishes:
        _wishes[me] = SimpleQueue()
        threading.Thread(target=_grant_all, args=(_wishes[me],), name="hpo-batch-lock", daemon=True).start()
    _wishes[me].put(wish)
    if wish.answered.acquire(timeout=max(0.0, deadline - time.monotonic())) or not wish.give_up():
        if wish.error is not None:
            raise wish.error
        return True
    del _wishes[me]  # that thread waits on; the next wish gets another one
    return False


_wishes: dict[int, SimpleQueue[_Wish]] = {}
"""by process: threads do not survive a fork"""


def _grant_all(wishes: SimpleQueue[_Wish]) -> None:
    while True:
        wishes.get().grant()


class _Wish:
    """A lock that one thread wants and another waits for."""

    def __init__(self, fd: int) -> None:
        self.error: OSError | None = None
        self.answered = threading.Lock()
        self.answered.acquire()
        self._fd = os.dup(fd)  # the same lock: it lasts until we are granted it, also if the other descriptor is closed
        _open_locks.add(self._fd)
        self._given_up = False
        self._deciding = threading.Lock()

    def grant(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError as error:
            self.error = error
        with self._deciding:
            if self._given_up:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            else:
                self.answered.release()
        _close(self._fd)

    def give_up(self) -> bool:
        """False if it has just been answered."""
        with self._deciding:
            self._given_up = not self.answered.acquire(blocking=False)
        return self._given_up


_open_locks: set[int] = set()


def _close(fd: int) -> None:
    _open_locks.discard(fd)
    with contextlib.suppress(OSError):  # an NFS client's: the lock is given up, and nothing was written
        os.close(fd)


def _close_in_child() -> None:
    """A child forked while we hold the lock (a data loader) must not keep it when we die."""
    for fd in _open_locks:
        with contextlib.suppress(OSError):
            os.close(fd)
    _open_locks.clear()


os.register_at_fork(after_in_child=_close_in_child)
