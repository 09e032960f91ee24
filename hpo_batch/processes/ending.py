"""Ends processes: verified ones, whole process trees, and this one."""

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
    """A process whose identity was verified: a signal reaches it or nobody.

    A pid from a file may be anybody's, and may be reused at any time. So the process is held by a pidfd first and
    verified then (https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html); before Linux 5.3, it is verified
    again before each signal.
    """

    def __init__(self, pid: int, fd: int | None, is_it: Callable[[], bool]) -> None:
        self.pid, self._fd, self._is_it = pid, fd, is_it

    def send(self, number: int) -> bool:
        """Whether the signal was sent; False if the process has ended or belongs to another user."""
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
        """Whether it is running; a zombie is not."""
        if self._fd is None:
            return is_alive(self.pid) and self._is_it()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def environment(self, name: str) -> str:
        """A variable of its initial environment; empty if unset or not readable."""
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{self.pid}/environ").read_bytes().split(b"\0"):
                key, equals, value = entry.partition(b"=")
                if equals and key == os.fsencode(name) and self.is_alive:
                    return os.fsdecode(value)
        return ""

    def kill_family(self, also: Callable[[], set[int]] = set) -> None:
        """Kill it, its descendants and the processes that ``also`` returns, but never this process."""
        if self.is_alive:
            _kill_found(lambda: descendants(self.pid) - {os.getpid()} if self.is_alive else set())
            self.send(signal.SIGKILL)
        _kill_found(lambda: also() - {os.getpid()})

    def close(self) -> None:
        """Close the pidfd; may be called more than once."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def prove(pid: int, *, holds: Iterable[Path], start: int = 0) -> Proven | None:
    """Process ``pid``, if it has one of these files open for writing; None if not, or if that cannot be determined.

    This cannot be forged: a copy is a different inode, and this user's processes do not write to files of others.
    Symbolic links and files with several hard links prove nothing.

    Args:
        pid: of the process.
        holds: files that it would have open.
        start: its start time (``started_at``), if known.
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

    process = Proven(pid, _pidfd(pid), is_it)
    if is_it():
        return process
    process.close()
    return None


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):  # before Linux 5.3, or the process has ended
        return None


def _kill_found(find: Callable[[], set[int]]) -> None:
    """Kill processes that are found both before and after opening a pidfd on each, so no pid can have been reused."""
    for _ in range(10):  # again, for processes forked meanwhile
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
    """Send a signal to processes, ignoring those that have ended or belong to others."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_unless(find: Callable[[], set[int]], is_busy: Callable[[set[int]], bool]) -> bool:
    """Suspend processes and kill them unless they are busy; busy ones are resumed.

    Args:
        find: returns the processes; called until it returns none, for processes forked meanwhile.
        is_busy: called while they are suspended.

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
    """Kill processes until ``find`` returns none: a process may fork between the search and the signal."""
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
    """Kill all descendants and end this process at once, whatever its other threads do.

    Orphaned descendants are found only if this process is a session leader, as detached workers are.
    """
    end_descendants()
    os._exit(code)


def end_descendants(mark: str = "") -> None:
    """Kill all descendants of this process.

    Orphaned descendants are found only if this process is a session leader, as detached workers are, or by ``mark``.

    Args:
        mark: a variable in this process's environment that its descendants inherit; empty: none.
    """
    for _ in range(10):  # again, for processes forked meanwhile
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
    """Kill all descendants and turn this process into one that sleeps and blocks all signals but SIGKILL.

    The pid stays, so the task keeps running for SLURM, while threads and memory are freed. May be called from any
    thread.
    """
    end_descendants()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    # blocked, not ignored: execve(2) keeps the signal mask of this thread, so no signal arrives in between
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP})
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", f"import time; time.sleep({seconds:g})"])


def _is_tracker(pid: int) -> bool:
    """Whether it is multiprocessing's resource tracker, which removes leaked shared memory and then exits by itself."""
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
