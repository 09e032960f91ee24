"""The lock around every change of a journal: exclusive among our workers, and against plain Optuna writers.

A kernel lock on a file of its own gives order and is freed by the kernel when its holder dies. Inside it Optuna's own
``<journal>.lock`` is held too, because only that excludes plain Optuna (the dashboard, a script).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from hpo_batch import processes
from hpo_batch.errors import LockTimeout

FOREIGN_GRACE_S = 30.0
"""Optuna's own grace: a lock that has not changed for so long while we watched it is taken for abandoned"""


@contextlib.contextmanager
def journal_lock(journal: Path, *, timeout_s: float = 120.0) -> Iterator[None]:
    """Hold the journal's lock.

    Raises:
        LockTimeout: it was not to be had within ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    kernel = filelock.FileLock(journal.with_name(f"{journal.name}.flock"), timeout=timeout_s, poll_interval=0.005)
    try:
        kernel.acquire()
    except filelock.Timeout as error:
        raise LockTimeout(f"the lock of {journal} was not to be had within {timeout_s:g} s") from error
    try:
        with _optuna_lock(Path(f"{journal}.lock"), deadline=deadline):
            yield
    finally:
        kernel.release()


@contextlib.contextmanager
def _optuna_lock(path: Path, *, deadline: float) -> Iterator[None]:
    """Hold ``<journal>.lock``, as a regular file: both of Optuna's file locks respect it."""
    mine = json.dumps({"host": processes.host_name(), "pid": os.getpid(), "start": processes.started_at(os.getpid())})
    seen, since, pause = None, time.monotonic(), 0.001
    while True:
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            break
        except FileExistsError:
            pass
        state = _identity(path)
        if state != seen:
            seen, since = state, time.monotonic()
        if state is not None and (_holder_is_dead(path) or time.monotonic() - since > FOREIGN_GRACE_S):
            # we hold the kernel lock: none of our workers can be breaking it at the same time
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            continue
        if time.monotonic() > deadline:
            raise LockTimeout(f"'{path}' is held by another program; delete it if none is running")
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, 0.05)
    try:
        os.write(fd, mine.encode())
        os.close(fd)
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.lstat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _holder_is_dead(path: Path) -> bool:
    """Whether the lock is one of ours and its process is proven gone from this host."""
    try:
        if path.is_symlink():
            return False
        owner = json.loads(path.read_text())
        if owner["host"] != processes.host_name():
            return False
        return not processes.is_alive(owner["pid"]) or processes.started_at(owner["pid"]) != owner["start"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
