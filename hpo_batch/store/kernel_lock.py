"""A kernel lock (``flock``) on a file of its own, with a bounded wait: freed by the kernel when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue

from hpo_batch.errors import LockTimeout

NO_KERNEL_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.0002, 0.004
"""between two tries of a polling waiter; the longest bounds what it costs, and what a hand-over takes"""
LOCAL_DISKS = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
"""file systems whose waiting locks are queued by this kernel"""


@contextlib.contextmanager
def kernel_lock(path: str, *, deadline: float) -> Iterator[bool]:
    """Hold the lock of a file, and say whether it is held: where the file system has no kernel locks, nothing is.

    Args:
        deadline: of the monotonic clock.

    Raises:
        LockTimeout: it was not to be had until the deadline.
        OSError: the file cannot be made.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _open_locks.add(fd)
    try:
        held = _try(fd)
        if held is False and not _wait(fd, deadline):
            raise LockTimeout(f"the lock '{path}' was not to be had within the time; is its holder stopped?")
        yield held is not None
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)  # before the close: a forked child may hold the descriptor too
        _close(fd)


def _try(fd: int) -> bool | None:
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


def _wait(fd: int, deadline: float) -> bool:
    """Whether the lock was to be had until the deadline.

    On a local disk we wait in the kernel's queue, which is first come, first served: polling with 64 workers, the
    slowest claims took twice as long (docs/benchmarks.md). Not on a network file system: its clients poll too, with
    pauses of many seconds.
    """
    return _wait_in_queue(fd, deadline) if _is_local(os.fstat(fd).st_dev) else _poll(fd, deadline)


def _poll(fd: int, deadline: float) -> bool:
    pause = FIRST_PAUSE_S
    while _try(fd) is False:
        if time.monotonic() > deadline:
            return False
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, LONGEST_PAUSE_S)
    return True


def is_on_local_disk(path: str) -> bool:
    """Whether the folder of ``path`` is on a file system of this host, whose kernel locks order all who see it."""
    return _is_local(Path(path).parent.stat().st_dev)


@lru_cache(maxsize=64)
def _is_local(device: int) -> bool:
    return file_system(device) in LOCAL_DISKS


def file_system(device: int) -> str:
    """Type of the file system with this device number, such as ``ext4`` or ``nfs4``; empty if it is not told."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index("-") + 1]
    return ""


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
    os.close(fd)


def _close_in_child() -> None:
    """A child forked while we hold the lock (a data loader) must not keep it when we die."""
    for fd in _open_locks:
        with contextlib.suppress(OSError):
            os.close(fd)
    _open_locks.clear()


os.register_at_fork(after_in_child=_close_in_child)
