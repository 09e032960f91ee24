"""Runs one daemon of a test cluster and ends it, with all that it started, when its owner is gone.

On SIGUSR1 it kills the daemon alone and keeps what that had started.

It is a child subreaper: steps, jobs and what jobs leave behind stay its descendants however often they fork, so ending
a node means ending exactly these and nothing else, also after a SIGKILL of the test run. It ends when its standard
input does, when its owner is dead, or when the daemon ends. Run by `cluster.py` as `keeper.py OWNER_PID ARGV...`; only
the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICK_S = 0.1
"""How long a dead descendant may stay a zombie, and a dead owner unnoticed."""


def main() -> None:
    """Keep the daemon until one of the three ends has come, then end every descendant."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")
    owner, argv = int(sys.argv[1]), sys.argv[2:]
    # Functions, not SIG_IGN: that would be inherited by the daemon and by every job.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: None)
    daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, cwd="/")
    signal.signal(signal.SIGTERM, lambda *_: os.kill(daemon.pid, signal.SIGTERM))
    alone: list[int] = []

    def kill_alone(*_: object) -> None:
        alone.append(daemon.pid)
        os.kill(daemon.pid, signal.SIGKILL)

    signal.signal(signal.SIGUSR1, kill_alone)
    try:
        _wait(owner=owner, daemon=daemon.pid, alone=alone)
    finally:
        _end_all()
        # `_reap` has waited for it, which Popen cannot know: it would warn.
        daemon.returncode = 0


def _wait(*, owner: int, daemon: int, alone: list[int]) -> None:
    # The owner's forked children may hold the pipe open after its death, hence the look at the parent.
    while os.getppid() == owner and (daemon not in _reap() or daemon in alone):
        ended, _, _ = select.select([0], [], [], _TICK_S)
        if ended:
            return


def _reap() -> set[int]:
    reaped = set()
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            reaped.add(pid)
    return reaped


def _end_all(*, timeout_s: float = 20.0) -> None:
    # Again and again: what forks while it is being killed leaves a child that the last look has not seen.
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and (left := _descendants(os.getpid())):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        _reap()


def _descendants(pid: int) -> list[int]:
    """Every process below `pid`, zombies included."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            # The command's name may hold spaces and parentheses: fields count from the last one.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    unexplored = [pid]
    while unexplored:
        below = children.get(unexplored.pop(), [])
        found += below
        unexplored += below
    return found


if __name__ == "__main__":
    main()
