"""Ending processes: those proven to be the ones that are meant, whole families, and this one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from hpo_batch.processes.proc import (
    descendants,
    is_alive,
    is_number,
    open_for_writing,
    proc_is_ours,
    started_at,
    stat_fields,
    with_environment,
)


class Proven:
    """A process that was proven to be the one that is meant: what is sent reaches it or nobody.

    A file may name any process, and a number may be another process's a moment later. So it is held by a descriptor
    (man 2 pidfd_open, Linux 5.3) first and looked at then; without those the look is repeated before each signal.
    """

    def __init__(self, pid: int, fd: int | None, is_it: Callable[[], bool]) -> None:
        self.pid, self._fd, self._is_it = pid, fd, is_it

    def send(self, number: int) -> bool:
        """Whether the signal was sent; False if the process is gone, or another user's."""
        try:
            if self._fd is not None:
                signal.pidfd_send_signal(self._fd, number)
            elif self._is_it():
                os.kill(self.pid, number)
            else:
                return False
        except (ProcessLookupError, PermissionError):
            return False
        return True

    @property
    def is_alive(self) -> bool:
        """Whether it runs still; a zombie does not."""
        if self._fd is None:
            return is_alive(self.pid) and self._is_it()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def environment(self, name: str) -> str:
        """A variable that it was started with; empty if it has none of that name, or cannot be looked at."""
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0"):
                key, equals, value = entry.partition(b"=")
                if equals and key == os.fsencode(name) and self.is_alive:
                    return os.fsdecode(value)
        return ""

    def kill_family(self, also: Callable[[], set[int]] = set) -> None:
        """SIGKILL to it and to all that descends from it, and to what ``also`` finds; never to this process."""
        if self.is_alive:
            _kill_found(lambda: descendants(self.pid) - {os.getpid()} if self.is_alive else set())
            self.send(signal.SIGKILL)
        _kill_found(lambda: also() - {os.getpid()})

    def close(self) -> None:
        """May be called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def prove(pid: int, *, holds: Iterable[Path], start: int = 0) -> Proven | None:
    """Process ``pid``, if it has one of these files open for writing; None if not, or if nobody can tell.

    That cannot be forged: a copy of the file is another one, and a stranger's file is not what this user's process
    writes into. A file of several names (hard links) proves nothing, nor does a link.

    Args:
        start: when the process began (``started_at``), if it is known.
    """
    if not is_number(pid) or pid == 1 or pid == os.getpid() or not proc_is_ours():
        return None
    files = list(holds)

    def is_it() -> bool:
        if start and started_at(pid) != start:
            return False
        wanted = set()
        for path in files:
            with contextlib.suppress(OSError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and not path.parent.is_symlink():
                    wanted.add((facts.st_dev, facts.st_ino))
        return any((facts.st_dev, facts.st_ino) in wanted for _, facts in open_for_writing(pid))

    found = Proven(pid, _pidfd(pid), is_it)
    if is_it():
        return found
    found.close()
    return None


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):  # before Linux 5.3, or it is gone
        return None


def _kill_found(find: Callable[[], set[int]]) -> None:
    """SIGKILL to what is found twice, with a descriptor on each in between: none can have become another process."""
    for _ in range(10):  # one that forks while we look leaves another one
        pids = {pid: _pidfd(pid) for pid in find()}
        if not pids:
            break
        still = find()
        for pid, fd in pids.items():
            one = Proven(pid, fd, lambda: True)
            if pid in still:
                one.send(signal.SIGKILL)
            one.close()
        time.sleep(0.01)


def send(pids: Iterable[int], number: int) -> None:
    """A signal to processes of this user; one that is gone is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_unless(find: Callable[[], set[int]], is_busy: Callable[[set[int]], bool]) -> bool:
    """Kill processes, unless they are in the middle of something: they are stopped, looked at, and killed or let go on.

    Args:
        find: the processes, asked again until there are no more: one that forks while we look leaves another one.
        is_busy: asked while they stand still.

    Returns:
        Whether they were killed.
    """
    pids = find()
    send(pids, signal.SIGSTOP)
    end = time.monotonic() + 0.2
    while not all(map(_stands_still, pids)) and time.monotonic() < end:
        time.sleep(0.002)
    if is_busy(pids):
        send(pids, signal.SIGCONT)
        return False
    kill(find)
    return True


def kill(find: Callable[[], set[int]]) -> None:
    """Kill processes until ``find`` finds no more: one that forks while we look leaves another one."""
    for _ in range(10):
        pids = find()
        send(pids, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.01)


def _stands_still(pid: int) -> bool:
    try:
        return stat_fields(pid)[0] in ("T", "t", "Z", "X")
    except (OSError, IndexError):
        return True


def end_with_descendants(code: int) -> NoReturn:
    """End this process at once, whatever its other threads do, and before it all that it has started.

    Those whose parents have ended are found only if this process leads its session, as detached workers do.
    """
    end_descendants()
    os._exit(code)


def end_descendants(mark: str = "") -> None:
    """Kill all that this process has started.

    Those whose parents have ended are found only if this process leads its session, as detached workers do, or by what
    they were started with.

    Args:
        mark: a variable that this process has set in its environment; empty: none.
    """
    for _ in range(10):  # a process that forks while we look leaves another one
        pids = descendants(os.getpid())
        if mark:
            pids |= set(with_environment(mark, os.environ.get(mark, ""))) - {os.getpid()}
        pids = {pid for pid in pids if not _is_tracker(pid)}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.01)


def become_sleeper(seconds: float) -> NoReturn:
    """Kill all that this process has started, and let it be a program that sleeps and heeds no signal but SIGKILL.

    The process keeps its number, so for SLURM the task goes on, while threads and memory are gone. May be called from
    any thread.
    """
    end_descendants()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # blocked, not ignored: the mask of this thread outlives execv, and no signal comes in between
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP})
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", f"import time; time.sleep({seconds:g})"])


def _is_tracker(pid: int) -> bool:
    """Whether it is the helper of multiprocessing, which ends by itself after it has removed what others left."""
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
