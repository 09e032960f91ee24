"""Locks that were left behind are broken, once; locks that are held are not, whatever the file system can do."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal import JournalFileOpenLock, JournalFileSymlinkLock

from benchmarks.fault_points import Call, Die, install
from hpo_batch import processes
from hpo_batch.errors import LockTimeout
from hpo_batch.journal import locks
from hpo_batch.journal.file import Journal
from hpo_batch.journal.locks import journal_lock
from tests.helpers import until
from tests.processes import answer, in_processes, kill, start
from tests.study.helpers import make, state_of, work


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"")
    return path


def lock_file(path: Path) -> Path:
    return Path(f"{path}.lock")


def refuse_kernel_locks() -> None:
    """As on some network file systems."""

    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = flock  # type: ignore[assignment]


def dies_with_the_lock(path: Path, kernel_locks: bool) -> None:
    if not kernel_locks:
        refuse_kernel_locks()
    with Journal(path).transaction():
        os.kill(os.getpid(), signal.SIGKILL)


def holds(path: Path, ready: Path, kernel_locks: bool) -> None:
    if not kernel_locks:
        refuse_kernel_locks()
    with journal_lock(path):
        ready.touch()
        time.sleep(60)


def takes(path: Path, timeout_s: float, kernel_locks: bool) -> float | str:
    """Seconds that it took, or why it was not to be had."""
    if not kernel_locks:
        refuse_kernel_locks()
    began = time.monotonic()
    try:
        with journal_lock(path, timeout_s=timeout_s):
            return time.monotonic() - began
    except LockTimeout as error:
        return str(error)


@pytest.mark.parametrize("kernel_locks", [True, False])
def test_the_lock_of_a_dead_worker_is_broken_at_once(path: Path, kernel_locks: bool) -> None:
    for _ in range(3):
        process, _ = start(dies_with_the_lock, path, kernel_locks)
        process.join()
        assert lock_file(path).exists()
        (took,) = in_processes([(takes, path, 5.0, kernel_locks)])
        assert isinstance(took, float), took
        assert took < 2
    left = {p.name for p in path.parent.iterdir()} - {path.name, f"{path.name}.flock"}
    # the dead one's own card may lie there; nothing of the breakers does
    assert all(name.startswith(".journal.jsonl.lock.") for name in left)
    assert len(left) <= 3


@pytest.mark.parametrize("kernel_locks", [True, False])
def test_the_lock_of_a_stopped_worker_is_held(path: Path, tmp_path: Path, kernel_locks: bool) -> None:
    ready = tmp_path / "ready"
    process, _ = start(holds, path, ready, kernel_locks)
    until(ready.exists)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        (said,) = in_processes([(takes, path, 0.3, kernel_locks)])
        assert isinstance(said, str)
        assert "may be suspended" in said if kernel_locks else "held by another program" in said
    finally:
        kill(process)
    (took,) = in_processes([(takes, path, 5.0, kernel_locks)])
    assert isinstance(took, float)


@pytest.mark.parametrize("kernel_locks", [True, False])
@pytest.mark.parametrize("kind", ["optuna symlink", "optuna open", "another host"])
def test_a_lock_whose_holder_nobody_can_ask_is_broken_after_optunas_grace(
    path: Path, kind: str, kernel_locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "optuna symlink":
        JournalFileSymlinkLock(str(path)).acquire()
    elif kind == "optuna open":
        JournalFileOpenLock(str(path)).acquire()
    else:
        lock_file(path).write_text(json.dumps({"host": "elsewhere", "boot": "", "pid": 1, "start": 1}))
    monkeypatch.setattr(locks, "FOREIGN_GRACE_S", 0.3)
    (said,) = in_processes([(takes, path, 0.1, kernel_locks)])
    assert isinstance(said, str)
    assert "delete it if no such program is running" in said
    (took,) = in_processes([(takes, path, 10.0, kernel_locks)])
    assert isinstance(took, float), took
    assert took > 0.3


def test_a_lock_that_could_not_be_removed_when_it_was_given_up_costs_nobody_the_grace(path: Path) -> None:
    """Its holder lives on, but does not hold the kernel lock any more."""
    with journal_lock(path):
        card = lock_file(path).read_text()
    lock_file(path).write_text(card)
    began = time.monotonic()
    with journal_lock(path, timeout_s=5):
        assert time.monotonic() - began < 2


def enters(path: Path, begin: float, slow: bool) -> list[str]:
    """Take the lock that a dead worker left, at the same moment as others, and look whether anybody else is in."""
    refuse_kernel_locks()
    inside = path.with_name("inside")
    if slow:  # between having found the lock abandoned and removing it: what others do meanwhile must not be undone
        install(lambda call: _pause_before_removal(call, path))
    while time.monotonic() < begin:
        time.sleep(0.0001)
    seen = []
    for _ in range(3):
        with journal_lock(path, timeout_s=30):
            fd = os.open(inside, os.O_CREAT | os.O_EXCL)  # raises if somebody is in
            os.close(fd)
            time.sleep(0.005)
            inside.unlink()
            seen.append("in")
    return seen


def _pause_before_removal(call: Call, path: Path) -> Die | None:
    if call.name in ("unlink", "rename", "replace") and call.path == str(lock_file(path)):
        time.sleep(0.002)
    return None


@pytest.mark.parametrize("slow", [False, True])
def test_without_kernel_locks_only_one_breaks_an_abandoned_lock(path: Path, slow: bool) -> None:
    for _ in range(6):
        process, _ = start(dies_with_the_lock, path, False)
        process.join()
        begin = time.monotonic() + 0.1
        for seen in in_processes([(enters, path, begin, slow)] * 4):
            assert seen == ["in"] * 3


def dies_while_breaking(path: Path) -> None:
    refuse_kernel_locks()
    install(lambda call: Die() if call.name == "unlink" and call.path == str(lock_file(path)) else None)
    with journal_lock(path):
        pass


def test_without_kernel_locks_a_breaker_that_died_is_followed_by_the_next(path: Path) -> None:
    process, _ = start(dies_with_the_lock, path, False)
    process.join()
    for _ in range(2):
        process, _ = start(dies_while_breaking, path)
        process.join()
        assert process.exitcode == -9
    took = in_processes([(takes, path, 10.0, False)] * 3)
    assert all(isinstance(seconds, float) for seconds in took), took
    assert not lock_file(path).exists()


def works_without_kernel_locks(home: Any, index: int) -> list[int]:
    refuse_kernel_locks()
    return work(home, index)[0]


def test_a_sweep_without_kernel_locks_is_as_exact_as_any(root: Path) -> None:
    home = make(root, study="trials = 40")
    process, _ = start(dies_with_the_lock, home.journal, False)
    process.join()
    done = in_processes([(works_without_kernel_locks, home, i) for i in range(4)])
    assert sorted(number for numbers in done for number in numbers) == list(range(40))
    assert state_of(home).counts().complete == 40


@pytest.mark.parametrize("change", [{"boot": "the one before"}, {"pid_ns": "pid:[1]"}], ids=["rebooted", "container"])
@pytest.mark.parametrize("kernel_locks", [True, False])
def test_a_lock_of_our_name_that_may_be_another_hosts(path: Path, change: dict[str, str], kernel_locks: bool) -> None:
    """With the kernel lock of a disk of this host nobody holds it. Without, a host that is called alike may."""
    lock_file(path).write_text(json.dumps({**processes.identity(), **change}))
    process, pipe = start(takes, path, 1.0, kernel_locks)
    if kernel_locks:
        assert answer(process, pipe) < 1
    else:
        assert "is held by another program" in answer(process, pipe)
