"""The lock of a journal: exclusive among our processes and against plain Optuna, and never held by the dead."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileOpenLock, JournalFileSymlinkLock

from hpo_batch import mounts, processes
from hpo_batch.errors import LockTimeout, StorageError
from hpo_batch.journal import locks
from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import Journal
from hpo_batch.journal.locks import journal_lock
from hpo_batch.records import TrialState
from tests.helpers import until
from tests.journal.helpers import assert_read_as_optuna_reads, plain_storage
from tests.processes import answer, dead_process, in_processes, kill, start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def lock_file(path: Path) -> Path:
    return Path(f"{path}.lock")


def me() -> dict[str, object]:
    return dict(processes.identity())


def count_up(path: Path, times: int) -> None:
    counter = path.with_name("counter")
    for _ in range(times):
        with journal_lock(path):
            number = int(counter.read_text())
            time.sleep(0.0005)
            counter.write_text(str(number + 1))


def test_one_process_at_a_time(path: Path) -> None:
    path.with_name("counter").write_text("0")
    in_processes([(count_up, path, 20)] * 6)
    assert path.with_name("counter").read_text() == "120"
    with journal_lock(path):
        pass  # its card is ours now, those of the processes that ended in a hurry are removed
    hidden = [p.name for p in path.parent.iterdir() if p.name.startswith(".")]
    others = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
    assert (len(hidden), others) == (1, ["counter", "journal.jsonl.flock"])


def test_the_lock_names_its_holder(path: Path) -> None:
    with journal_lock(path):
        assert json.loads(lock_file(path).read_text()) == me()
        assert not lock_file(path).is_symlink()
    assert not lock_file(path).exists()


def hold(path: Path, ready: Path) -> None:
    with journal_lock(path):
        ready.touch()
        time.sleep(60)


def test_the_lock_of_a_killed_process_is_broken_at_once(path: Path, tmp_path: Path) -> None:
    process, _ = start(hold, path, tmp_path / "ready")
    until((tmp_path / "ready").exists)
    with pytest.raises(LockTimeout, match=r"could not acquire .* may be suspended"), journal_lock(path, timeout_s=0.1):
        pytest.fail("the holder lives")
    kill(process)
    assert lock_file(path).exists()
    with journal_lock(path, timeout_s=5):
        assert json.loads(lock_file(path).read_text()) == me()


def test_locks_of_dead_holders_are_told_by_process_start_boot_and_namespace(path: Path) -> None:
    with dead_process() as pid:
        gone = {**me(), "pid": pid}
    for holder in (gone, {**me(), "start": 1}, {**me(), "boot": "another"}, {**me(), "pid_ns": "pid:[1]"}):
        lock_file(path).write_text(json.dumps(holder))
        with journal_lock(path, timeout_s=5):
            pass
        assert not lock_file(path).exists()


@pytest.mark.parametrize("kind", ["ours elsewhere", "optuna open", "optuna symlink", "no record", "list"])
def test_a_lock_that_may_be_held_is_waited_for(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_file(path)
    if kind == "optuna symlink":
        JournalFileSymlinkLock(str(path)).acquire()
    elif kind == "optuna open":
        JournalFileOpenLock(str(path)).acquire()
    else:
        holders = {"ours elsewhere": {**me(), "host": "elsewhere"}, "list": [1]}
        lock.write_text("{" if kind == "no record" else json.dumps(holders[kind]))
    before = lock.lstat()
    with pytest.raises(LockTimeout, match="held by another program"), journal_lock(path, timeout_s=0.05):
        pytest.fail("somebody may hold it")
    assert lock.lstat() == before
    # one that does not change for Optuna's own grace is taken for abandoned
    monkeypatch.setattr(locks, "FOREIGN_GRACE_S", 0.05)
    with journal_lock(path, timeout_s=5):
        assert json.loads(lock.read_text()) == me()


def test_a_foreign_lock_that_changes_hands_is_not_abandoned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "FOREIGN_GRACE_S", 0.3)
    changes: list[int] = []

    def sleep(seconds: float) -> None:
        changes.append(len(changes))
        if len(changes) < 8:  # another holder each time that we look
            os.utime(lock_file(path), ns=(len(changes), len(changes)))
            time.monotonic()
        else:
            lock_file(path).unlink(missing_ok=True)

    lock_file(path).touch()
    now = iter(range(1000))
    monkeypatch.setattr(locks.time, "sleep", sleep)
    monkeypatch.setattr(locks.time, "monotonic", lambda: next(now) * 0.2)
    with journal_lock(path, timeout_s=100):
        assert len(changes) == 8


def test_a_lock_that_others_took_from_us_is_theirs(path: Path) -> None:
    with journal_lock(path):  # as after a stop of this process for longer than Optuna's grace
        lock_file(path).unlink()
        JournalFileOpenLock(str(path)).acquire()
    assert lock_file(path).exists()


def test_the_lock_is_given_up_after_an_error(path: Path) -> None:
    with pytest.raises(KeyError), journal_lock(path):
        raise KeyError
    with journal_lock(path, timeout_s=1):
        pass


def test_a_file_system_without_hard_links_will_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with journal_lock(path):
        holder = json.loads(lock_file(path).read_text())
        assert len(holder.pop("token")) == 16
        assert holder == me()
        with pytest.raises(LockTimeout):
            locks._optuna_lock(str(lock_file(path)), deadline=0, in_order=False, is_local=True).__enter__()
    assert not lock_file(path).exists()
    assert [p.name for p in path.parent.iterdir() if not p.name.startswith(".")] == ["journal.jsonl.flock"]


def test_without_hard_links_the_next_lock_with_our_inode_is_not_ours(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with journal_lock(path):  # broken while we were stopped, and taken by somebody whose file got the same inode
        lock_file(path).write_text(json.dumps({**me(), "host": "elsewhere"}))
    assert json.loads(lock_file(path).read_text())["host"] == "elsewhere"


def test_on_a_network_file_system_a_lock_is_broken_as_if_there_were_no_kernel_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host may hold "the" kernel lock too, and be breaking the same lock."""
    with dead_process() as pid:
        stale = json.dumps({**me(), "pid": pid})
    right = []
    break_alone = locks._break_alone
    monkeypatch.setenv(mounts.SHARED_VARIABLE, "1")
    monkeypatch.setattr(
        locks, "_break_alone", lambda *given, **more: (right.append(given), break_alone(*given, **more))
    )
    for holder in (stale, json.dumps(me())):  # the second: ours, and it could not be removed when it was given up
        lock_file(path).write_text(holder)
        with journal_lock(path, timeout_s=5):
            assert json.loads(lock_file(path).read_text()) == me()
    assert len(right) == 2
    assert [p.name for p in path.parent.iterdir() if ".lock-" in p.name] == []


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot lock"), journal_lock(tmp_path / "missing" / "journal.jsonl"):
        pytest.fail("there is no such folder")


def write_ours(path: Path, count: int) -> None:
    writer = Writer(f"w{os.getpid()}")
    journal = Journal(path)
    for i in range(count):
        with journal.transaction() as transaction:
            records = [
                writer.create_trial(
                    now=time.time(),
                    state=TrialState.COMPLETE,
                    params={},
                    distributions={},
                    system_attrs={"hpo:trial": {"key": f"{os.getpid()}-{i}"}},
                    values=(float(i),),
                )
            ]
            transaction.append(records, sync=False)


def write_plainly(path: Path, lock_kind: str, count: int) -> None:
    lock = JournalFileOpenLock(str(path)) if lock_kind == "open" else None
    study = optuna.load_study(study_name="s", storage=plain_storage(path, lock))
    for i in range(count):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1) + i)


def test_plain_optuna_may_write_at_the_same_time(path: Path) -> None:
    optuna.create_study(study_name="s", storage=plain_storage(path))
    calls = [(write_ours, path, 40)] * 2 + [(write_plainly, path, kind, 12) for kind in ("symlink", "open")]
    in_processes(calls)
    study = optuna.load_study(study_name="s", storage=plain_storage(path))
    assert len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) == 104
    assert_read_as_optuna_reads(path)


def test_the_name_of_a_virtual_node_is_a_host_of_its_own(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock_file(path).write_text(json.dumps({**me(), "host": socket.gethostname(), "pid": 2**22 + 1}))
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    with pytest.raises(LockTimeout), journal_lock(path, timeout_s=0.05):
        pytest.fail("nobody on this node can tell")


def hold_shortly(path: Path) -> float:
    with journal_lock(path):
        return time.monotonic()


def test_waiting_ends_when_the_lock_is_free(path: Path) -> None:
    with journal_lock(path):
        process, pipe = start(hold_shortly, path)
        time.sleep(0.05)
        released = time.monotonic()
    assert answer(process, pipe) >= released


def test_what_a_writer_killed_within_its_card_left_is_removed(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    torn = tmp_path / f".journal.jsonl.lock.{processes.host_name()}.1.0123abcd"
    torn.write_text('{"host": "' + processes.host_name())
    with journal_lock(journal):
        assert not torn.exists()
