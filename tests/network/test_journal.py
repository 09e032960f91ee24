"""The journal on several hosts: what one host has appended the next one sees, whatever the network does."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from hpo_batch import mounts
from hpo_batch.errors import StorageError
from hpo_batch.journal.damage import is_sound
from hpo_batch.journal.encode import Record
from hpo_batch.journal.file import Journal
from tests.conftest import Hosts
from tests.faults.test_full_disk import mounted
from tests.journal.test_file import names
from tests.network.mount import Host
from tests.network.mount import mounted as network_mounts
from tests.processes import in_processes

TIMES = 15


def record(name: str) -> Record:
    return {"op_code": 3, "worker_id": "w", "study_id": 0, "system_attr": {name: 1}}


def append_often(host: Host, sync: bool) -> None:
    """In a process of its own: that of one host can tell nothing of those of another."""
    os.environ["SLURMD_NODENAME"] = host.path.name
    journal = Journal(host.path / "journal.jsonl")
    for number in range(TIMES):
        with journal.transaction() as transaction:
            transaction.append([record(f"{host.path.name}.{number}")], sync=sync)


def test_a_mount_that_gets_the_number_of_a_local_disk_is_not_taken_for_it(tmp_path: Path, fuse: None) -> None:
    """The kernel gives numbers of disks that were unmounted again: autofs, or a test of a full disk before this one."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "tmpfs") as disk:
        number = disk.stat().st_dev
        assert mounts.is_local(disk)
    with network_mounts(3) as trio:
        assert number in {host.path.stat().st_dev for host in trio}
        assert not any(mounts.is_local(host.path) for host in trio)


def append_one(host: Host, name: str) -> None:
    with Journal(host.path / "journal.jsonl").transaction() as transaction:
        transaction.append([record(name)], sync=True)


def on_server(host: Host) -> list[str]:
    lines = (host.source / "journal.jsonl").read_bytes()
    assert is_sound(lines)
    return names(lines)


@pytest.mark.parametrize("locks", ["shared", "local", "none"])
@pytest.mark.parametrize("sync", [True, False], ids=["synced", "unsynced"])
def test_hosts_append_behind_each_other_though_their_writes_take_time(hosts: Hosts, sync: bool, locks: str) -> None:
    trio = hosts(3, locks=locks, rules=("delay 20 -1 write */journal.jsonl",), rtt_ms=0.2)
    in_processes([(append_often, host, sync) for host in trio])
    expected = {f"{host.path.name}.{number}" for host in trio for number in range(TIMES)}
    assert Counter(on_server(trio[0])) == Counter(expected)


@pytest.mark.parametrize("error", ["EDQUOT", "ENOSPC", "EIO", "ESTALE"])
def test_an_append_that_the_server_refuses_is_told_and_harms_nothing(hosts: Hosts, error: str) -> None:
    a, b = hosts(2)
    append_one(a, "first")
    append_one(b, "second")
    a.fail(error, "write", "*/journal.jsonl")
    with pytest.raises(StorageError, match=r"cannot (sync|write)"):
        append_one(a, "refused")
    append_one(b, "third")
    append_one(a, "fourth")
    assert on_server(a) == ["first", "second", "third", "fourth"]


def test_a_host_that_hangs_with_the_lock_is_waited_for(hosts: Hosts) -> None:
    a, b = hosts(2)
    append_one(a, "first")
    a.delay(2, "write", "*/journal.jsonl", times=1)
    in_processes([(append_one, a, "slow"), (append_one, b, "other")])
    assert sorted(on_server(a)) == ["first", "other", "slow"]
