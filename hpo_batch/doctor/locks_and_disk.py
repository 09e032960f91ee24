"""What a study needs around its journal: locks that are free and that hold, leases of the living, room on the disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hpo_batch import processes
from hpo_batch.doctor.finding import Finding, Level
from hpo_batch.errors import HpoBatchError
from hpo_batch.files import open_regular
from hpo_batch.journal.kernel_lock import NO_KERNEL_LOCKS, open_lock, try_lock
from hpo_batch.journal.locks import FOREIGN_GRACE_S, read_holder
from hpo_batch.processes import is_dead_here
from hpo_batch.store.footprint import about
from hpo_batch.store.home import StudyHome
from hpo_batch.store.liveness import holders
from hpo_batch.text.names import listed

LEAST_FREE_BYTES = 1 << 30
LEAST_FREE_INODES = 1000
"""locks, leases and logs are files too"""
MOST_INODES = 1 << 60
"""more than that many free ones: a file system that makes them as they are needed, and knows no number"""
LOCK_PATIENCE_S = 2.0
"""a lock that was never free for so long is not held by somebody who writes"""


def lock_findings(home: StudyHome) -> Iterator[Finding]:
    found = False
    lock = Path(f"{home.journal}.lock")
    first = _lock_facts(lock)
    if first is not None:
        time.sleep(0.1)  # a writer holds it for a few milliseconds
        if _lock_facts(lock) == first:
            found = True
            yield _of_lock(lock)
    cards = list(home.path.glob(f".{home.journal.name}.lock.*"))
    old = [path for path in cards if _age_s(path) > FOREIGN_GRACE_S * 10]
    if old:
        found = True
        what = f"{len(old)} files of killed lock holders, such as '{old[0]}'"
        yield Finding(level=Level.NOTE, about="locks", what=what, do="they do no harm; delete them if no worker runs")
    holder = _kernel_lock_holder(home.journal.with_name(f"{home.journal.name}.flock"))
    if holder is not None:
        found = True
        what = f"the lock was not free for {LOCK_PATIENCE_S:.0f} s; held by {holder}"
        do = "is that process stopped, or its disk hanging? Let it go on (kill -CONT) or end it: all workers wait"
        yield Finding(level=Level.BAD, about="locks", what=what, do=do)
    if not found:
        yield Finding(level=Level.FINE, about="locks", what="none is held")


def _lock_facts(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.lstat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _of_lock(path: Path) -> Finding:
    try:
        facts = read_holder(path)
        dead = is_dead_here(facts)
        by = f"pid {facts['pid']} on {facts['host']}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        dead, by = None, "plain Optuna, which does not say who"
    age = f"{_age_s(path):.0f} s old"
    if dead:
        what = f"'{path}' is stale ({age}): {by} is gone"
        return Finding(level=Level.NOTE, about="locks", what=what, do="nothing to do: the next writer removes it")
    what = f"'{path}' is held by {by} ({age})"
    do = f"if nobody writes, nothing: a writer that sees it unchanged for {FOREIGN_GRACE_S:.0f} s removes it"
    return Finding(level=Level.NOTE, about="locks", what=what, do=do)


def _age_s(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.lstat().st_mtime)
    except OSError:
        return 0.0


def _kernel_lock_holder(path: Path) -> str | None:
    """Who holds the kernel lock without a pause; None if it was free at some moment, or there is none."""
    try:
        fd = open_regular(path, os.O_RDWR)
    except OSError:
        return None
    deadline = time.monotonic() + LOCK_PATIENCE_S
    try:
        while True:
            if try_lock(fd) is not False:
                return None
            if time.monotonic() > deadline:
                return _in_proc_locks(os.fstat(fd).st_ino) or "a process that this host does not know"
            time.sleep(0.005)
    except OSError:
        return None
    finally:
        os.close(fd)


def _in_proc_locks(inode: int) -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF
            if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                return f"pid {words[4]}"
    return None


_TRY = "import fcntl, sys\ntry: fcntl.flock(open(sys.argv[1], 'rb+'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
_TRY += "except BlockingIOError: sys.exit(7)\n"


def kernel_locks(home: StudyHome) -> Finding:
    """Whether a kernel lock that one process holds keeps another one of this host out."""
    path = home.path / f".doctor.{secrets.token_hex(4)}.flock"
    try:
        with os.fdopen(open_lock(str(path), os.O_EXCL), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = _try_lock(path)
        free = _try_lock(path)
    except OSError as error:
        if error.errno in NO_KERNEL_LOCKS:
            what = f"this file system has no kernel locks ({error.strerror}): Optuna's .lock alone is the lock"
            return Finding(level=Level.NOTE, about="locks", what=what, do="nothing; with many workers it is slower")
        what = f"kernel locks were not tried: no file can be made in '{home.path}' ({error.strerror})"
        return Finding(level=Level.NOTE, about="locks", what=what)
    except HpoBatchError as error:
        return Finding(level=Level.NOTE, about="locks", what=f"kernel locks were not tried: {error}")
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    if (held, free) == (7, 0):
        what = "a kernel lock of one process keeps another one out (on this host; between hosts it was not tried)"
        return Finding(level=Level.FINE, about="locks", what=what)
    what = f"kernel locks do not exclude two processes of this host in '{home.path}' (exit codes {held}, {free})"
    return Finding(level=Level.BAD, about="locks", what=what, do="put the study on another file system (--root)")


def _try_lock(path: Path) -> int:
    return processes.run([sys.executable, "-S", "-c", _TRY, str(path)], timeout_s=30).returncode


def lease_findings(home: StudyHome) -> Iterator[Finding]:
    seen = holders(home.workers)
    alive = [str(holder) for holder in seen if holder.alive]
    dead = [str(holder) for holder in seen if holder.alive is False]
    unknown = [str(holder) for holder in seen if holder.alive is None]
    if alive or not seen:
        what = f"{len(alive)} live: {listed(alive)}" if alive else "no worker is there"
        yield Finding(level=Level.FINE, about="leases", what=what)
    if unknown:
        what = f"{len(unknown)} of other hosts: {listed(unknown)}; alive or dead, one look does not tell"
        yield Finding(
            level=Level.NOTE, about="leases", what=what, do="nothing to do: workers watch each other's leases"
        )
    if dead:
        what = f"{len(dead)} ended without a word: {listed(dead)}"
        yield Finding(
            level=Level.NOTE, about="leases", what=what, do="nothing to do: the next worker takes their trials over"
        )


def disk_findings(folder: Path, *, to_come: int = 0) -> Iterator[Finding]:
    """Room for bytes, and for as many files and folders as are ``to_come``."""
    try:
        stat = os.statvfs(folder)
    except OSError as error:
        what = f"the disk of '{folder}' does not answer: {error.strerror}"
        yield Finding(level=Level.BAD, about="disk", what=what, do="ask your administrators")
        return
    free = stat.f_bavail * stat.f_frsize
    told = f"{free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        yield Finding(
            level=Level.BAD, about="disk", what=told, do="make room: results cannot be written on a full disk"
        )
        return
    room, more = _free_inodes(folder, stat), f"about {about(to_come)} more files and folders are to come"
    if room is not None and room < max(to_come, LEAST_FREE_INODES):
        what = f"there is room for {room:,} more files and folders{f', and {more}' if to_come else ''}"
        do = "remove files, ask for a higher limit, or want fewer trials"
        yield Finding(level=Level.BAD, about="disk", what=what, do=do)
        return
    known = told if room is None else f"{told}, room for {room:,} more files and folders"
    needs = f"; {more}" if to_come else ""
    yield Finding(level=Level.FINE, about="disk", what=f"{known}{needs} (a quota of yours may be lower)")


def _free_inodes(folder: Path, stat: os.statvfs_result) -> int | None:
    """How many more files can be made; None if the file system does not tell.

    Some count none in all (btrfs), others as many as a number can hold. File servers may answer 0 while files can be
    made: it is tried.
    """
    if not stat.f_files or stat.f_favail > MOST_INODES:
        return None
    if stat.f_favail:
        return stat.f_favail
    path = folder / f".doctor.{secrets.token_hex(4)}"
    try:
        path.touch()
    except OSError as error:
        return 0 if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    path.unlink(missing_ok=True)
    return None
