"""A small program that two processes run at once in one folder: do locks exclude, and are appends seen at once?

It also checks that a journal loses nothing, with the class that workers use and in their order of calls: a simpler test
would pass on file systems where the journal fails.

It runs with any Python, on nodes where hpo-batch may be missing, so it imports only the standard library, and the
journal when its turn comes. Others may write to the folder, so nothing from it is executed or trusted.
``python contention.py FOLDER QUESTION [RANK]`` takes its question as JSON and writes ``answer.RANK.json``; RANK
defaults to the number of the task (SLURM_PROCID). ``file_system`` judges the answers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib
import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

KERNEL, LINK, JOURNAL = "kernel", "link", "journal"
JOURNAL_FILE = "journal.jsonl"
NUMBER_BYTES = 12  # fixed width, so that each number overwrites all of the last one
LINE = b"one line for each time that the lock was held\n"
# as in journal.kernel_lock and journal.locks, which this program may not import
NO_KERNEL_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

Take = Callable[[Path, float], AbstractContextManager[bool]]
"""Hold the lock of a path; yields whether it was acquired before a deadline of the monotonic clock."""


@contextlib.contextmanager
def kernel(path: Path, deadline: float) -> Iterator[bool]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _by(deadline, lambda: _try_kernel(fd))
    finally:
        os.close(fd)


def _try_kernel(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def link(path: Path, deadline: float) -> Iterator[bool]:
    """As in ``journal.locks``: a file of our own becomes the lock by a hard link, as open(2) recommends for NFS.

    See O_EXCL in https://man7.org/linux/man-pages/man2/open.2.html. Without hard links, it is created with O_EXCL.
    """
    card = path.with_name(f"{path.name}.{socket.gethostname()}.{random.getrandbits(32):x}")
    card.touch()
    held = False
    try:
        held = _by(deadline, lambda: _try_link(card, path))
        yield held
    finally:
        if held:
            path.unlink()
        card.unlink()


def _try_link(card: Path, path: Path) -> bool:
    try:
        os.link(card, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            return False
    return True


def _by(deadline: float, attempt: Callable[[], bool]) -> bool:
    while not attempt():
        if time.monotonic() >= deadline:
            return False
        time.sleep(
            random.uniform(0.0002, 0.004)
        )  # random, because with equal pauses one could always come when the other holds it
    return True


LOCKS: dict[str, Take] = {KERNEL: kernel, LINK: link}


def take_turns(folder: Path, kind: str, take: Take, *, times: int, deadline: float) -> dict[str, Any]:
    """Take a lock repeatedly, and under it increment a number in a file that the other process increments too.

    Returns:
        How often the lock was ``held``; how often the other process had it in between (``met``); how often lines of
        the last holder were missing (``unseen``).
    """
    held = met = unseen = 0
    last = None
    for _ in range(times):
        with take(folder / f"{kind}.lock", deadline) as is_held:
            if not is_held:
                break
            number = _count_up(folder / f"{kind}.count")
            unseen += _append(folder / f"{kind}.lines") != number * len(LINE)
            held += 1
            met += last is not None and number != last + 1
            last = number
        time.sleep(random.uniform(0, 0.002))  # lets the other one in
    return {"held": held, "met": met, "unseen": unseen}


def _count_up(path: Path) -> int:
    """Increment the number in a file and return the number before."""
    # opened under the lock, since NFS asks the server at each open (close-to-open consistency in nfs(5))
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        number = int(os.pread(fd, NUMBER_BYTES, 0) or b"0")
        time.sleep(random.uniform(0, 0.001))  # gives a process that the lock fails to exclude the time to interfere
        os.pwrite(fd, b"%0*d" % (NUMBER_BYTES, number + 1), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    return number


def _append(path: Path) -> int:
    """Append a line and return the length of the file before."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(fd).st_size
        os.write(fd, LINE)
        os.fsync(fd)
    finally:
        os.close(fd)
    return size


def append_in_turn(folder: Path, *, rank: int, times: int, deadline: float) -> dict[str, Any]:
    """Append to one journal repeatedly, as workers do. Each record says how many precede it.

    Returns:
        How often this process ``held`` the lock, and how often the other had it in between (``met``).

    Raises:
        ImportError: this Python has no hpo-batch.
        HpoBatchError: the journal itself noticed an error.
    """
    from hpo_batch.journal.file import Journal

    journal = Journal(folder / JOURNAL_FILE)
    held = met = before = 0
    with _busy():
        while held < times and time.monotonic() < deadline:
            before += sum(lines.count(b"\n") for lines in journal.pieces())
            with journal.transaction(timeout_s=max(1.0, deadline - time.monotonic())) as transaction:
                fresh = transaction.new.count(b"\n")
                record = {
                    "op_code": 3,
                    "worker_id": f"{rank}",
                    "study_id": 9,
                    "system_attr": {"before": before + fresh},
                }
                transaction.append([record], sync=True)
            met += held > 0 and fresh > 0
            before += fresh + 1
            held += 1
            time.sleep(random.uniform(0, 0.002))
    return {"held": held, "met": met}


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """Run a thread that computes, as a data loader's does: it delays the calls that are made under a lock."""
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            sum(range(1000))

    threading.Thread(target=compute, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def try_held(folder: Path, kind: str, take: Take, *, rank: int, deadline: float) -> dict[str, Any]:
    """Each holds a lock in turn while the other tries to take it, and tries again when it is free."""
    outcome: dict[str, Any] = {}
    for holder in (0, 1):
        path = folder / f"{kind}.held.{holder}"
        marks = [folder / f"{kind}.{what}.{holder}" for what in ("taken", "tried", "given")]
        if rank == holder:
            with take(path, deadline):
                marks[0].touch()
                _wait_for(marks[1], deadline=deadline)
            marks[2].touch()
        else:
            _wait_for(marks[0], deadline=deadline)
            with take(path, 0) as outcome["while_held"]:
                pass
            marks[1].touch()
            _wait_for(marks[2], deadline=deadline)
            with take(path, min(deadline, time.monotonic() + 10)) as outcome["when_free"]:
                pass
    return outcome


class Alone(Exception):
    """The other process did not do its part in time, or this one could not see it."""


def _wait_for(path: Path, *, deadline: float) -> None:
    beat = path.with_name(f"beat.{socket.gethostname()}.{os.getpid()}")
    while not path.exists():
        if time.monotonic() > deadline:
            raise Alone(f"'{path.name}' of the other process was not seen in time")
        # NFS clients remember for up to a minute that a file was not there (lookupcache and acdirmax in nfs(5));
        # a change of our own in the folder makes them look again
        beat.touch()
        beat.unlink(missing_ok=True)
        time.sleep(0.05)


def clock_offset(folder: Path, rank: int) -> tuple[float, float]:
    """Bounds, in seconds, of how far the file server's clock is ahead of ours."""
    low, high = float("-inf"), float("inf")
    for attempt in range(5):  # a single write may be slow; the fastest of five gives the narrowest bounds
        path = folder / f"clock.{rank}.{attempt}"
        before = time.time()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            os.write(fd, b"x")
            os.fsync(fd)
        finally:
            os.close(fd)
        after = time.time()
        written = path.stat().st_mtime
        # the kernel stamps files with the time of its last tick, which is up to 10 ms ago at 100 Hz
        low, high = max(low, written - after), min(high, written - before + 0.02)
        path.unlink()
    return min(low, high), max(low, high)


def answer(folder: Path, rank: int, question: dict[str, Any]) -> None:
    """Answer a question about a folder, in a file there. Partial answers are written too, in case of a hang."""
    facts: dict[str, Any] = {"rank": rank, **_me(question), "locks": {}}

    def write() -> None:
        # replaced atomically, so that a reader never sees half an answer
        temporary = folder / f"answer.{rank}.tmp"
        temporary.write_text(json.dumps(facts), encoding="utf-8")
        temporary.replace(folder / f"answer.{rank}.json")

    write()
    if question.get("facts"):
        try:
            sys.path.insert(1, str(Path.cwd()))  # as `python -m` has it
            facts["facts"] = importlib.import_module(question["facts"]).facts(question)
        except Exception as error:  # the import may raise anything; its message is the answer
            facts["no_facts"] = f"{type(error).__name__}: {error}"
        write()
    facts["clock"] = clock_offset(folder, rank)
    deadline = time.monotonic() + question["patience_s"]
    try:
        (folder / f"here.{rank}").touch()
        _wait_for(folder / f"here.{1 - rank}", deadline=deadline)
        for kind, take in LOCKS.items():
            facts["locks"][kind] = _lock_facts(folder, kind, take, question["times"], rank, deadline)
        facts["locks"][JOURNAL] = _journal_facts(folder, question, rank, deadline)
    except Alone as error:
        facts["alone"] = str(error)
    facts["done"] = True
    write()


def _lock_facts(folder: Path, kind: str, take: Take, times: int, rank: int, deadline: float) -> dict[str, Any]:
    try:
        turns = take_turns(folder, kind, take, times=times, deadline=deadline)
        (folder / f"{kind}.turned.{rank}").touch()
        _wait_for(folder / f"{kind}.turned.{1 - rank}", deadline=deadline)
        return {**turns, **try_held(folder, kind, take, rank=rank, deadline=deadline)}
    except OSError as error:
        if kind == KERNEL and error.errno in NO_KERNEL_LOCKS:
            return {"missing": error.strerror}
        return {"error": str(error)}


def _journal_facts(folder: Path, question: dict[str, Any], rank: int, deadline: float) -> dict[str, Any]:
    sys.path += question.get("imports", ())
    try:
        return append_in_turn(folder, rank=rank, times=question["times"], deadline=deadline)
    except ImportError as error:
        return {"missing": f"this Python has no hpo-batch ({error})"}
    except Exception as error:  # anything that would end a worker
        return {"error": f"{type(error).__name__}: {error}"}


def _me(question: dict[str, Any]) -> dict[str, Any]:
    return {
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "python": sys.executable,
        "version": ".".join(map(str, sys.version_info[:3])),
        "cwd": str(Path.cwd()),
        "unseen": [path for path in question.get("paths", ()) if not Path(path).exists()],
    }


if __name__ == "__main__":
    task = int(sys.argv[3] if len(sys.argv) > 3 else os.environ["SLURM_PROCID"])
    answer(Path(sys.argv[1]), task, json.loads(sys.argv[2]))
