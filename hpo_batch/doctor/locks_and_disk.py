"""What a study needs around its journal: locks that work and are free, leases of live workers, room on the disk."""

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
from typing import Final

from hpo_batch import processes
from hpo_batch.doctor.finding import Finding, bad, fine, note
from hpo_batch.doctor.reading import StudySubject
from hpo_batch.errors import HpoBatchError
from hpo_batch.files import open_regular
from hpo_batch.journal.kernel_lock import NO_KERNEL_LOCKS, open_lock, try_lock
from hpo_batch.journal.locks import FOREIGN_GRACE_S, read_holder
from hpo_batch.processes import is_dead_here
from hpo_batch.store.footprint import about
from hpo_batch.store.home import StudyHome
from hpo_batch.store.liveness import holders
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count

LEAST_FREE_BYTES: Final = 1 << 30
"""one large checkpoint"""
LEAST_FREE_INODES: Final = 1000
"""locks, leases and logs are files too"""
MOST_INODES: Final = 1 << 60
"""File systems that create inodes on demand report a meaningless number:
https://utcc.utoronto.ca/~cks/space/blog/unix/StatfsPeculiarities"""
LOCK_PATIENCE_S: Final = 2.0
"""Writers hold the lock for milliseconds: one that holds it this long is suspended, or waits for its disk."""


def check_locks(subject: StudySubject) -> Iterator[Finding]:
    """Whether the journal's locks are free, and whether kernel locks exclude here."""
    held = list(_held_locks(subject.home))
    yield from held or [fine("locks", "none is held")]
    yield kernel_locks(subject.home)


def check_leases(subject: StudySubject) -> Iterator[Finding]:
    """Which workers are alive."""
    yield from lease_findings(subject.home)


def _held_locks(home: StudyHome) -> Iterator[Finding]:
    lock = Path(f"{home.journal}.lock")
    first = _lock_identity(lock)
    if first is not None:
        time.sleep(0.1)  # much longer than a writer holds it
        if _lock_identity(lock) == first:
            yield _of_lock(lock)
    # each taker of the lock makes such a file first, and removes it when it lets go (``journal.locks``)
    cards = list(home.path.glob(f".{home.journal.name}.lock.*"))
    old = [path for path in cards if _age_s(path) > FOREIGN_GRACE_S * 10]
    if old:
        what = f"{count(len(old), 'file')} of killed lock holders, such as '{old[0]}'"
        yield note("locks", what, "they do no harm; delete them if no worker runs")
    holder = _kernel_lock_holder(home.journal.with_name(f"{home.journal.name}.flock"))
    if holder is not None:
        what = f"the lock was not free for {LOCK_PATIENCE_S:.0f} s; held by {holder}"
        do = "is that process suspended, or its disk hanging? Resume it (kill -CONT) or end it: all workers wait"
        yield bad("locks", what, do)


def _lock_identity(path: Path) -> tuple[int, int] | None:
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
        return note("locks", what, "nothing to do: the next writer removes it")
    what = f"'{path}' is held by {by} ({age})"
    do = f"if nobody writes, nothing: a writer that sees it unchanged for {FOREIGN_GRACE_S:.0f} s removes it"
    return note("locks", what, do)


def _age_s(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.lstat().st_mtime)
    except OSError:
        return 0.0


def _kernel_lock_holder(path: Path) -> str | None:
    """The process that holds the kernel lock all the time; None if the lock was free at some moment, or is absent."""
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
    """The process of this host that holds a lock; see https://man7.org/linux/man-pages/man5/proc_locks.5.html."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF
            if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
                return f"pid {words[4]}"
    return None


# in a process of its own, because locks are between processes
_TRY = "import fcntl, sys\ntry: fcntl.flock(open(sys.argv[1], 'rb+'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
_TRY += "except BlockingIOError: sys.exit(7)\n"


def kernel_locks(home: StudyHome) -> Finding:
    """Whether a kernel lock of one process excludes another one on this host."""
    path = home.path / f".doctor.{secrets.token_hex(4)}.flock"
    try:
        with os.fdopen(open_lock(str(path), os.O_EXCL), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = _try_lock(path)
        free = _try_lock(path)
    except OSError as error:
        if error.errno in NO_KERNEL_LOCKS:  # Lustre mounted without -o flock: ENOSYS
            what = f"this file system has no kernel locks ({error.strerror}): Optuna's .lock alone is the lock"
            return note("locks", what, "nothing; with many workers it is slower")
        what = f"kernel locks were not tried: no file can be made in '{home.path}' ({error.strerror})"
        return note("locks", what)
    except HpoBatchError as error:
        return note("locks", f"kernel locks were not tried: {error}")
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    if (held, free) == (7, 0):
        what = "a kernel lock of one process keeps another one out (on this host; between hosts it was not tried)"
        return fine("locks", what)
    what = f"kernel locks do not exclude two processes of this host in '{home.path}' (exit codes {held}, {free})"
    return bad("locks", what, "put the study on another file system (--root)")


def _try_lock(path: Path) -> int:
    return processes.run([sys.executable, "-S", "-c", _TRY, str(path)], timeout_s=30).returncode


def lease_findings(home: StudyHome) -> Iterator[Finding]:
    """Live workers, dead ones, and those of other hosts, about which a single look says nothing."""
    seen = holders(home.workers)
    alive = [str(holder) for holder in seen if holder.alive]
    dead = [str(holder) for holder in seen if holder.alive is False]
    unknown = [str(holder) for holder in seen if holder.alive is None]
    if alive or not seen:
        what = f"{len(alive)} live: {listed(alive)}" if alive else "no worker is running"
        yield fine("leases", what)
    if unknown:
        what = f"{len(unknown)} of other hosts: {listed(unknown)}; one look cannot tell whether they are alive"
        yield note("leases", what, "nothing to do: workers watch each other's leases")
    if dead:
        what = f"{len(dead)} ended without saying so: {listed(dead)}"
        yield note("leases", what, "nothing to do: the next worker takes their trials over")


def disk_findings(folder: Path, *, to_come: int = 0) -> Iterator[Finding]:
    """Whether there is room for bytes, and for ``to_come`` more files and folders."""
    try:
        stat = os.statvfs(folder)
    except OSError as error:
        what = f"the disk of '{folder}' does not answer: {error.strerror}"
        yield bad("disk", what, "ask your administrators")
        return
    free = stat.f_bavail * stat.f_frsize  # not f_bfree, which includes the blocks reserved for root
    room_in_words = f"{free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        yield bad("disk", room_in_words, "make room: results cannot be written on a full disk")
        return
    room, more = _free_inodes(folder, stat), f"about {about(to_come)} more files and folders are to come"
    if room is not None and room < max(to_come, LEAST_FREE_INODES):
        what = f"there is room for {room:,} more files and folders{f', and {more}' if to_come else ''}"
        do = "remove files, ask for a higher limit, or ask for fewer trials"
        yield bad("disk", what, do)
        return
    shown = room_in_words if room is None else f"{room_in_words}, room for {room:,} more files and folders"
    needs = f"; {more}" if to_come else ""
    yield fine("disk", f"{shown}{needs} (a quota of yours may be lower)")


def _free_inodes(folder: Path, stat: os.statvfs_result) -> int | None:
    """How many more files can be created; None if the file system does not say.

    Some have no number of inodes at all (btrfs: https://mpdesouza.com/blog/btrfs-for-mere-mortals-inode-allocation),
    others report a huge number. File servers may report 0 although files can be created, so creating one is tried.
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
