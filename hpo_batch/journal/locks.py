"""The lock around every write to a journal. It excludes other workers and plain Optuna.

A kernel lock on a separate file orders the workers, and the kernel releases it when its holder dies. Inside it,
Optuna's own ``<journal>.lock`` is held as well: only that excludes plain Optuna (the dashboard, a script), and on a
network file system the kernel lock may exclude only processes of the same host. Optuna's protocol:
https://optuna.readthedocs.io/en/latest/_modules/optuna/storages/journal/_file.html

The cost does not grow with the number of hosts: a process cleans up after its own host only, and before it waits.
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
"""Optuna's default grace period (https://github.com/optuna/optuna/pull/5971): a lock that has not changed for this long
while we watched it counts as abandoned"""
LONGEST_BLINK_S = 1.0
"""at most this much of the time between two checks counts: in a longer gap we, or the file server, were suspended, and
so may have been the lock's holder"""
HOLDER_BYTES = 1 << 16
"""limit for the content of a lock, which is one line"""
IsHeld: TypeAlias = Callable[[], bool]
NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextlib.contextmanager
def journal_lock(
    journal: Path, *, timeout_s: float = 120.0, waiters: int = 1, is_local: bool | None = None
) -> Iterator[IsHeld]:
    """Hold the journal's lock while the block runs; yields a function that checks whether it is still held.

    The check asks the file server. A process suspended for longer than ``FOREIGN_GRACE_S`` may have lost the lock
    without noticing.

    Args:
        journal: path of the journal.
        timeout_s: seconds to wait.
        waiters: estimate of how many processes want it at once.
        is_local: whether the journal is on a local disk; determined if None.

    Raises:
        LockTimeout: not acquired within ``timeout_s``.
        StorageError: the lock files cannot be created.
    """
    deadline = time.monotonic() + timeout_s
    lock = f"{journal}.lock"
    with contextlib.ExitStack() as stack:
        try:
            # before taking the kernel lock: these are round trips to a file server that nobody else should wait for
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
    """Touch our card, and so the lock linked to it: a new mtime shows Optuna's waiters that the lock changes hands."""
    try:
        os.utime(card)
    except FileNotFoundError:
        _cards.pop((os.getpid(), lock), None)  # somebody removed it; the next lock makes another


def _card(lock: str) -> str:
    """A file that identifies this process. Hard-linked into place it becomes the lock, so a lock always names its
    holder.

    Made once per process: creating and removing a file per lock would take longer than the lock is held. Its name
    starts with the host, so that processes read only the cards of their own host, whose pids they can check.
    """
    me = os.getpid()
    card = _cards.get((me, lock))
    if card is None:
        for left in _cards_of(lock, processes.host_name(), "*"):
            if _holder_is_dead(left) or _is_torn(left):
                _unlink(left)
        card = f"{_card_prefix(lock, processes.host_name())}.{me}.{os.urandom(4).hex()}"
        fd = open_lock(card, os.O_EXCL)  # with the mode of a lock, since it becomes one
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
    """Remove the cards of a dead worker. Should it be alive after all, it makes another card.

    Args:
        journal: path of the journal.
        facts: the worker, as in its attempt: ``host`` and ``pid``.
    """
    if not processes.is_number(facts["pid"]):  # the journal may come from anywhere
        return
    with contextlib.suppress(OSError):
        for card in _cards_of(f"{journal}.lock", str(facts["host"]), facts["pid"]):
            _unlink(card)


# by process id and lock: a forked child must not lock in its parent's name
_cards: dict[tuple[int, str], str] = {}


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
    """Hold ``<journal>.lock`` as a regular file, which both of Optuna's file locks respect.

    Args:
        in_order: whether we hold the kernel lock. Then no other worker on this host holds or breaks this lock; it says
            nothing about other hosts.
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
            # on a network file system the kernel lock may exclude this host only (nfs(5) local_lock, Lustre's
            # localflock), so another host may be breaking the same lock
            _break_alone(path, state, watched=watched)
        if time.monotonic() > deadline:
            raise LockTimeout(f"'{path}' is held by another program; delete it if no such program is running")
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 0.05)
    try:
        yield lambda: _is_still(path, taken, look=_identity_at_server)
    finally:
        # if this process was suspended, the lock may have been broken and now belong to somebody else. An error here
        # must not fail what was done under the lock: other workers will break a lock that stays
        with contextlib.suppress(OSError):
            if _is_still(path, taken, look=_identity):
                _unlink(path)


def _break_alone(path: str, state: Identity, *, watched: float) -> None:
    """Remove an abandoned lock where no kernel lock excludes other hosts: exactly one process may do so.

    Otherwise a second process would remove the lock that the first has taken meanwhile. The right to remove it belongs
    to whoever creates a file named after this lock; if that process dies, to whoever creates the next one. The lock is
    compared once more before it is removed.
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
    """Try to create the lock (or ``at``, in the same way). Returns what identifies ours, or None if it exists.

    With hard links, that is the inode of our card, which cannot be reused while the card exists. Without, it is the
    content: the inode of a separate lock file may be reused by the next lock.
    """
    card, lock = _card(path), at or path
    try:
        os.link(card, lock)
    except FileExistsError:
        # if the server's reply was lost, the retried link reports EEXIST although it is ours: compare the inodes, as
        # https://man7.org/linux/man-pages/man2/open.2.html (O_EXCL) advises for NFS
        return os.lstat(card).st_ino if _is_same_file(card, lock) else None
    except FileNotFoundError:
        _cards.pop((os.getpid(), path), None)  # somebody removed our card
        return None
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        try:
            fd = open_lock(lock, os.O_EXCL)
        except FileExistsError:
            return None
        text = json.dumps({**json.loads(_holder(os.getpid())), "token": os.urandom(8).hex()})
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
        return text
    return os.lstat(card).st_ino


def _is_same_file(card: str, lock: str) -> bool:
    """Whether the lock is a link to our card: then our link succeeded, since we never lock twice."""
    with contextlib.suppress(FileNotFoundError):
        return os.lstat(card).st_nlink > 1 and os.lstat(lock).st_ino == os.lstat(card).st_ino
    return False


def _is_still(path: str, taken: int | str, *, look: Callable[[str], Identity | None]) -> bool:
    """Whether the lock is still the one that ``_take`` created."""
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
    """The same, fresh from the file server: an NFS client answers ``lstat`` from a cache for up to a minute (acregmax),
    but asks the server when it opens a file: https://man7.org/linux/man-pages/man5/nfs.5.html"""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)  # it may be a pipe
    except FileNotFoundError:
        return None
    except OSError:  # a symbolic link (Optuna's JournalFileSymlinkLock), or not readable
        return _identity(path)
    try:
        stat = os.fstat(fd)
    finally:
        os.close(fd)
    return Identity(stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _is_abandoned(path: str, *, in_order: bool, is_local: bool) -> bool:
    """Whether the lock was left behind: its holder is dead, or cannot be holding it.

    While we hold the kernel lock, a lock of a live worker of this host can only be one that it failed to remove. On a
    local disk the same is true for containers, and for this host before its last reboot.
    """
    dead = _is_dead(path)
    return dead is True or (in_order and (dead is False or (is_local and _names_this_host(path))))


def _holder_is_dead(path: str | Path) -> bool:
    """Whether the lock is one of our workers' and its process is proven dead."""
    return _is_dead(path) is True


def _is_torn(card: Path) -> bool:
    """Whether a card's writer was killed while it wrote the card. One that is only slow makes another (``_take``)."""
    try:
        read_holder(card)
    except (ValueError, OSError) as error:
        return isinstance(error, ValueError)
    return False


def _names_this_host(path: str) -> bool:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return bool(read_holder(Path(path))["host"] == processes.host_name())
    return False


def _is_dead(path: str | Path) -> bool | None:
    """Whether the holder of the lock is dead; None if that cannot be determined, or it is not one of our workers."""
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
