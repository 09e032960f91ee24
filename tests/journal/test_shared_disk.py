"""What store does where other hosts write too: what is written is published under the lock, and nothing grows."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from hpo_batch import mounts, processes
from hpo_batch.errors import JournalCorrupt, LockTimeout, StorageError
from hpo_batch.journal import file as journal_module
from hpo_batch.journal import kernel_lock, locks
from hpo_batch.journal.encode import Record
from hpo_batch.journal.file import Journal
from hpo_batch.journal.locks import journal_lock
from tests.helpers import until
from tests.processes import answer, dead_process, start

from .test_file import all_names, append, names, record


@pytest.fixture(autouse=True)
def _shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mounts.SHARED_VARIABLE, "1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_what_is_local_is_a_matter_of_the_type_and_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not mounts.is_local(tmp_path)
    for value in ("", "0"):
        monkeypatch.setenv(mounts.SHARED_VARIABLE, value)
        assert mounts.is_local(tmp_path)
    assert not mounts.is_local(Path("/proc"))  # no disk at all: it is not on the list
    with pytest.raises(FileNotFoundError):
        mounts.is_local(tmp_path / "absent")


@pytest.mark.parametrize("sync", [True, False])
def test_what_is_written_is_synced_and_closed_before_the_lock_is_free(
    path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    order: list[str] = []
    fsync, close, unlink = os.fsync, os.close, locks._unlink

    def noted(what: str, call: Any) -> Any:
        def run(fd: int) -> None:
            if Path(f"/proc/self/fd/{fd}").readlink() == path:
                order.append(what)
            call(fd)

        return run

    monkeypatch.setattr(os, "fsync", noted("sync", fsync))
    monkeypatch.setattr(os, "close", noted("close", close))
    monkeypatch.setattr(locks, "_unlink", lambda gone: (order.append("unlock"), unlink(gone)))
    with Journal(path).transaction() as transaction:
        transaction.append([record(0)], sync=sync)
        transaction.append([record(1)], sync=sync)
    assert order == ["sync", "close", "unlock"]
    order.clear()
    with Journal(path).transaction() as transaction:
        assert names(transaction.new) == ["k0", "k1"]
    assert order == ["unlock", "close"]  # nothing was written


def test_what_was_written_before_an_error_is_published_too(path: Path) -> None:
    def fail() -> None:
        with Journal(path).transaction() as transaction:
            transaction.append([record(0)], sync=True)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert all_names(path) == ["k0"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT, errno.ENOSPC, errno.ESTALE])
def test_a_sync_that_fails_is_taken_back_and_the_advice_fits(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    append(path, record(0))
    journal = Journal(path)
    before = path.read_bytes()
    fsync = os.fsync

    def broken(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageError) as caught, journal.transaction() as transaction:
        transaction.append([record(1), record(2)], sync=True)
    assert str(path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert str(caught.value).endswith(")")  # what to do about it
    assert caught.value.transient
    assert journal.was_undone
    assert path.read_bytes() == before
    assert names(journal.read_new()) == []
    append(path, record(3))
    assert all_names(path) == ["k0", "k3"]
    assert names(journal.read_new()) == ["k3"]


def test_a_reader_without_the_lock_notices_what_was_taken_back(path: Path) -> None:
    append(path, record(0))
    reader = Journal(path)
    with reader.transaction():
        pass
    sure = path.stat().st_size
    append(path, record(1))
    assert names(reader.read_new()) == ["k1"]
    os.truncate(path, sure)  # its writer's sync failed
    append(path, record(2), record(3))
    with pytest.raises(StorageError, match="were rolled back") as caught:
        reader.read_new()
    assert not isinstance(caught.value, JournalCorrupt)
    assert reader.was_undone


def test_damage_that_goes_away_by_itself_was_a_write_on_its_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, record(0))
    start_of_second = path.stat().st_size
    append(path, record(1), record(2))
    whole = path.read_bytes()
    second = whole[start_of_second:].index(b"\n") + 1
    path.write_bytes(whole[:start_of_second] + b"\0" * second + whole[start_of_second + second :])
    waited: list[float] = []

    def arrives(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            path.write_bytes(whole)

    monkeypatch.setattr(journal_module.time, "sleep", arrives)
    assert all_names(path) == ["k0", "k1", "k2"]
    assert len(waited) == 2


def test_damage_that_stays_is_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, record(0))
    with path.open("ab") as file:
        file.write(b"\0" * 40 + b"\n" + json.dumps(record(1), separators=(",", ":")).encode() + b"\n")
    monkeypatch.setattr(journal_module, "SETTLE_PAUSES_S", (0.001, 0.001))
    assert all_names(path) == ["k0", "k1"]
    append(path, record(2))
    assert path.with_suffix(".bad").exists()


def test_a_writer_that_was_suspended_asks_whether_the_lock_is_still_its_own(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, record(0))
    monkeypatch.setattr(journal_module, "SURE_S", -1.0)  # as after a long suspension
    with Journal(path).transaction() as transaction:
        transaction.append([record(1)], sync=True)
        Path(f"{path}.lock").unlink()  # another host has broken it meanwhile
        Path(f"{path}.lock").touch()
        with pytest.raises(StorageError, match="lost the lock"):
            transaction.append([record(2)], sync=True)
    assert all_names(path) == ["k0", "k1"]
    assert Path(f"{path}.lock").exists()  # it is not ours


def test_the_cards_of_other_hosts_are_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with dead_process() as pid:
        dead = {"host": "elsewhere", "boot": processes.boot_id(), "pid": pid, "start": 1}
    here = processes.host_name()
    for i in range(50):
        path.with_name(f".journal.jsonl.lock.elsewhere.{pid}.{i:08x}").write_text(json.dumps(dead))
    mine = path.with_name(f".journal.jsonl.lock.{here}.{pid}.00000000")
    mine.write_text(json.dumps({**dead, "host": here}))
    opened: list[str] = []
    read_text = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda one, *given, **more: (opened.append(one.name), read_text(one, *given, **more))[1]
    )
    with journal_lock(path):
        assert not mine.exists()
    assert [name for name in opened if "elsewhere" in name] == []
    locks.remove_cards(path, dead)
    assert [one.name for one in path.parent.glob(".journal.jsonl.lock.elsewhere.*")] == []


def test_a_link_whose_answer_was_lost_is_ours(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def link_and_say_it_was_there(card: str, lock: str) -> None:
        link(card, lock)
        raise FileExistsError

    monkeypatch.setattr(os, "link", link_and_say_it_was_there)
    with journal_lock(path, timeout_s=1):
        assert Path(f"{path}.lock").exists()
    assert not Path(f"{path}.lock").exists()


def hold_for(path: Path, seconds: float, ready: Path) -> None:
    with journal_lock(path):
        ready.touch()
        time.sleep(seconds)


@pytest.mark.parametrize("waiters", [1, 64, 1000])
def test_a_waiter_asks_the_less_often_the_more_there_are(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiters: int
) -> None:
    process, pipe = start(hold_for, path, 0.6, tmp_path / "ready")
    until((tmp_path / "ready").exists)
    pauses: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr(kernel_lock.time, "sleep", lambda seconds: (pauses.append(seconds), sleep(seconds)))
    with journal_lock(path, waiters=waiters):
        pass
    answer(process, pipe)
    longest = {1: 0.004, 64: 0.0384, 1000: 0.6}[waiters]
    assert min(longest, 0.1) / 2.1 < max(pauses) <= longest
    assert max(pauses[:5]) < 0.004  # one that need not wait long does not


def test_time_in_which_nobody_could_look_does_not_make_a_lock_abandoned(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stalls for a minute between two looks: its holder stood still as well."""
    lock = Path(f"{path}.lock")
    lock.write_text(json.dumps({"host": "elsewhere", "boot": "b", "pid": 1, "start": 1}))
    now = 0.0
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        looks.append(now)
        now += 60.0 if len(looks) == 3 else 0.5
        if len(looks) == 30:
            lock.unlink()

    monkeypatch.setattr(locks.time, "sleep", sleep)
    monkeypatch.setattr(locks.time, "monotonic", lambda: now)
    with journal_lock(path, timeout_s=1000):
        assert len(looks) == 30  # not broken before: 30 looks are 16 s of watching


def test_a_lock_that_cannot_be_had_says_how_long_that_took(path: Path, tmp_path: Path) -> None:
    process, _ = start(hold_for, path, 60, tmp_path / "ready")
    until((tmp_path / "ready").exists)
    with (
        pytest.raises(LockTimeout, match=r"in (0\.9\d*|1(\.\d)?) s; its holder may be suspended"),
        journal_lock(path, timeout_s=1),
    ):
        pytest.fail("the holder lives")
    process.kill()


def records(count: int) -> list[Record]:
    return [record(i) for i in range(count)]


def test_on_a_local_disk_the_sync_comes_after_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(mounts.SHARED_VARIABLE)
    held: list[bool] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (held.append(Path(f"{path}.lock").exists()), fsync(fd)))
    with Journal(path).transaction() as transaction:
        transaction.append(records(2), sync=True)
    assert held == [False, False]  # the file, and its new folder entry
