"""A kernel lock (``flock``) on a separate file, with a timeout. The kernel releases it when its holder dies.

https://man7.org/linux/man-pages/man2/flock.2.html
"""

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
"""between two attempts of a polling waiter; the upper bound limits the delay of a hand-over"""
PAUSE_PER_WAITER_S = 0.0006
"""added to the longest pause per waiter. All waiters together then poll about 2,000 times a second, however many they
are, and a free lock is still found within a millisecond. With 64 waiters and 2 ms per round trip to the server: 510
attempts per trial without it, under 50 with it (docs/benchmarks.md)"""


@contextlib.contextmanager
def kernel_lock(path: str, *, deadline: float, is_local: bool, waiters: int = 1) -> Iterator[bool]:
    """Hold the lock of a file while the block runs; yields False if the file system has no kernel locks.

    Args:
        path: of the lock file, created if missing.
        deadline: on the monotonic clock.
        is_local: whether the file is on a local disk (``mounts.is_local``).
        waiters: estimate of how many processes want it at once; polling slows down with their number.

    Raises:
        LockTimeout: not acquired by the deadline.
        OSError: the file cannot be created.
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
            fcntl.flock(fd, fcntl.LOCK_UN)  # explicitly: a forked child may keep the descriptor, and so the lock, open
        _close(fd)


def open_lock(path: str, flags: int = 0) -> int:
    """Open a lock file, created if missing, with a mode that lets only those lock it who may write to its directory.

    Read permission is enough to hold an exclusive ``flock``, and so to block all workers. The mode is therefore 0600,
    or 0660 where the group may write to the directory (and could remove the file anyway). A file with a wider mode,
    made by an earlier version, is restricted by its owner.

    Args:
        path: of the lock file.
        flags: in addition to those of ``os.open`` that are always set.

    Raises:
        OSError: it cannot be opened, or is a symbolic link.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        facts = os.fstat(fd)  # no round trip: the open has fetched the attributes on a network file system
        if facts.st_uid == os.geteuid() and (_looked_at.get(path) != facts.st_ino or facts.st_mode & 0o117):
            _looked_at[path] = facts.st_ino
            folder = os.stat(os.path.dirname(path) or ".")  # noqa: PTH116, PTH120  # a text: this is on the way to a lock
            is_groups = folder.st_mode & stat.S_IWGRP and folder.st_gid == facts.st_gid
            wanted = 0o660 if is_groups else 0o600
            if stat.S_IMODE(facts.st_mode) != wanted:
                with contextlib.suppress(OSError):  # the file system may not support modes
                    os.fchmod(fd, wanted)
    except BaseException:
        os.close(fd)
        raise
    return fd


# inode of the lock file whose mode this process has checked, by path
_looked_at: dict[str, int] = {}


def try_lock(fd: int) -> bool | None:
    """Try once to lock; None if the file system has no kernel locks, and ``.lock`` alone must do."""
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
    """Wait for the lock until the deadline; whether it was acquired.

    On a local disk we wait in the kernel's queue, which is first come, first served: with 64 polling workers the
    slowest claims took twice as long (docs/benchmarks.md). On a network file system we poll, since its clients poll
    themselves, with pauses of many seconds.
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
    """A blocking ``flock`` has no timeout, so a thread waits for us and passes on, or releases, the lock it gets."""
    request = _Request(fd)
    me = os.getpid()
    if me not in _requests:
        _requests[me] = SimpleQueue()
        threading.Thread(target=_grant_all, args=(_requests[me],), name="hpo-batch-lock", daemon=True).start()
    _requests[me].put(request)
    if request.granted.acquire(timeout=max(0.0, deadline - time.monotonic())) or not request.withdraw():
        if request.error is not None:
            raise request.error
        return True
    del _requests[me]  # that thread keeps waiting; the next request starts another one
    return False


# by process id, because threads do not survive a fork
_requests: dict[int, SimpleQueue[_Request]] = {}


def _grant_all(requests: SimpleQueue[_Request]) -> None:
    while True:
        requests.get().grant()


class _Request:
    """A lock that one thread wants and another thread waits for."""

    def __init__(self, fd: int) -> None:
        self.error: OSError | None = None
        self.granted = threading.Lock()
        self.granted.acquire()
        # dup(2) shares the lock, so the request outlives the descriptor of a caller that timed out
        self._fd = os.dup(fd)
        _open_locks.add(self._fd)
        self._withdrawn = False
        self._deciding = threading.Lock()

    def grant(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError as error:
            self.error = error
        with self._deciding:
            if self._withdrawn:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            else:
                self.granted.release()
        _close(self._fd)

    def withdraw(self) -> bool:
        """False if it has just been granted."""
        with self._deciding:
            self._withdrawn = not self.granted.acquire(blocking=False)
        return self._withdrawn


_open_locks: set[int] = set()


def _close(fd: int) -> None:
    _open_locks.discard(fd)
    with contextlib.suppress(OSError):  # from an NFS client: nothing was written, and the lock is released anyway
        os.close(fd)


def _close_in_child() -> None:
    """A child forked while we hold the lock (such as a data loader) must not keep it when we die.

    flock(2): the lock belongs to the open file description, which fork(2) shares.
    """
    for fd in _open_locks:
        with contextlib.suppress(OSError):
            os.close(fd)
    _open_locks.clear()


os.register_at_fork(after_in_child=_close_in_child)
