"""The journal file: whole lines or nothing, whoever writes, dies or runs out of space."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo_batch.errors import JournalCorrupt, StorageError
from hpo_batch.journal import file as journal_module
from hpo_batch.journal.encode import Record
from hpo_batch.journal.file import Journal
from tests.journal.helpers import plain_storage
from tests.processes import in_processes


def record(i: int, size: int = 0) -> Record:
    return {"op_code": 3, "worker_id": "w", "study_id": 9, "system_attr": {f"k{i}": "x" * size}}


def append(path: Path, *records: Record) -> None:
    with Journal(path).transaction() as transaction:
        transaction.append(records, sync=True)


def names(lines: bytes) -> list[str]:
    return [next(iter(json.loads(line)["system_attr"])) for line in lines.splitlines()]


def all_names(path: Path) -> list[str]:
    return names(Journal(path).read_new())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_each_reader_reads_each_line_once(path: Path) -> None:
    one, other = Journal(path), Journal(path)
    assert one.read_new() == b""
    with one.transaction() as transaction:
        assert names(transaction.append([record(0), record(1)], sync=True)) == ["k0", "k1"]
    assert one.read_new() == b""  # its own lines were returned by append
    assert names(other.read_new()) == ["k0", "k1"]
    with other.transaction() as transaction:
        assert transaction.new == b""
        transaction.append([record(2)], sync=False)
    with one.transaction() as transaction:
        assert names(transaction.new) == ["k2"]
    assert all_names(path) == ["k0", "k1", "k2"]


def test_a_record_is_one_line_whatever_its_text(path: Path) -> None:
    text = 'a\nb\r\u2028 "ö"\x00'
    append(path, {"op_code": 3, "worker_id": "w", "system_attr": {"k": text}})
    (line,) = Journal(path).read_new().splitlines()
    assert json.loads(line)["system_attr"]["k"] == text


def test_a_torn_tail_is_ignored_by_readers_and_cut_by_the_next_writer_at_every_byte(path: Path) -> None:
    append(path, record(0))
    before = path.read_bytes()
    append(path, record(1))
    whole = path.read_bytes()
    for length in range(len(before) + 1, len(whole)):
        path.write_bytes(whole[:length])
        assert all_names(path) == ["k0"]
        assert path.stat().st_size == length  # a reader repairs nothing
        append(path, record(2))
        assert all_names(path) == ["k0", "k2"]
        plain_storage(path)  # raises if the journal is poisoned
    path.write_bytes(whole)
    append(path, record(2))
    assert all_names(path) == ["k0", "k1", "k2"]


def test_a_reader_that_saw_the_torn_tail_reads_what_replaced_it(path: Path) -> None:
    append(path, record(0))
    reader = Journal(path)
    reader.read_new()
    with path.open("ab") as file:
        file.write(b'{"op_code":3,"worker_id":"w","sys')
    assert reader.read_new() == b""
    append(path, record(1))
    assert names(reader.read_new()) == ["k1"]


def limited(path: Path, limit: int) -> str:
    """Append beyond the file-size limit; then again without it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    journal = Journal(path)
    before = path.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    with pytest.raises(StorageError) as caught, journal.transaction() as transaction:
        transaction.append([record(i, size=20) for i in range(100, 104)], sync=True)
    assert path.read_bytes() == before
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with journal.transaction() as transaction:
        assert transaction.new == b""
        transaction.append([record(200)], sync=True)
    return str(caught.value)


def test_a_failed_append_leaves_the_file_as_it_was(path: Path) -> None:
    # larger than the lock's own files, which the limit must not hit
    append(path, record(0, size=500))
    size = path.stat().st_size
    # none, a part of the first record, one and a part, all but the last byte
    length = len(json.dumps(record(100, size=20), separators=(",", ":"))) + 1
    for i, extra in enumerate((0, 10, length + 10, 4 * length - 1)):
        (message,) = in_processes([(limited, path, path.stat().st_size + extra)])
        assert str(path) in message
        assert os.strerror(errno.EFBIG) in message
        assert all_names(path) == ["k0", *["k200"] * (i + 1)]
    assert path.stat().st_size > size


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_costs_nothing_that_was_there(small_disk: Path) -> None:
    path = small_disk / "journal.jsonl"
    append(path, record(0))
    filler = small_disk / "filler"
    for i, room in enumerate(
        (0, 4096, 8192)
    ):  # pages left: for no file of the lock, for a part of the batch, for most of it
        with filler.open("wb") as file:
            free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
            file.write(b"x" * (free - room))
        before = path.read_bytes()
        with pytest.raises(StorageError, match="No space left"):
            append(path, *(record(100 + j, size=900) for j in range(20)))
        assert path.read_bytes() == before
        filler.unlink()
        append(path, record(i + 1))
    assert all_names(path) == ["k0", "k1", "k2", "k3"]
    plain_storage(path)
    left = sorted(p.name for p in small_disk.iterdir() if not p.name.startswith("."))
    assert left == ["journal.jsonl", "journal.jsonl.flock"]


def test_a_sync_that_fails_is_told_and_the_journal_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(path, record(0))
    journal = Journal(path)

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(StorageError, match="Input/output error"), journal.transaction() as transaction:
            transaction.append([record(1)], sync=True)
    append(path, record(2))
    assert names(journal.read_new()) == ["k2"]
    assert [name for name in all_names(path) if name != "k1"] == [
        "k0",
        "k2",
    ]  # whether k1 is there, nobody was promised
    plain_storage(path)


def append_many(path: Path, worker: int, batches: int) -> None:
    journal = Journal(path)
    for batch in range(batches):
        with journal.transaction() as transaction:
            first = worker * 10_000 + batch * 10
            transaction.append([record(first + i, size=i * 40) for i in range(3)], sync=batch % 2 == 0)


def test_concurrent_writers_lose_and_mix_nothing(path: Path) -> None:
    workers, batches = 6, 25
    in_processes([(append_many, path, worker, batches) for worker in range(workers)])
    found = [int(name[1:]) for name in all_names(path)]
    assert len(found) == workers * batches * 3
    for i in range(0, len(found), 3):
        assert found[i : i + 3] == [found[i], found[i] + 1, found[i] + 2]  # batches stay together
    for worker in range(workers):
        mine = [n for n in found if n // 10_000 == worker]
        assert mine == sorted(mine)


@pytest.mark.parametrize("how", ["longer", "shorter", "same beginning", "gone"])
def test_a_replaced_journal_is_noticed(path: Path, how: str) -> None:
    append(path, record(0), record(1))
    journal = Journal(path)
    journal.read_new()
    path.unlink()
    if how == "longer":
        append(path, *(record(i) for i in range(10, 20)))
    elif how == "shorter":
        append(path, record(10))
    elif how == "same beginning":  # a study made anew under the same name begins alike
        append(path, record(0), record(2), record(3))
    with pytest.raises(JournalCorrupt, match=r"was replaced|has disappeared"):
        journal.read_new()
    with pytest.raises(JournalCorrupt), journal.transaction():
        pytest.fail("a transaction on another journal")


def test_a_program_that_writes_without_the_lock_is_not_overwritten(path: Path) -> None:
    append(path, record(0))
    journal = Journal(path)
    with journal.transaction() as transaction:
        with path.open("ab") as file:
            file.write(json.dumps(record(1)).encode() + b"\n")
        with pytest.raises(StorageError, match="does not hold its lock"):
            transaction.append([record(2)], sync=True)
    assert all_names(path) == ["k0", "k1"]
    assert names(journal.read_new()) == ["k1"]


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        append(tmp_path / "missing" / "journal.jsonl", record(0))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        Journal(tmp_path / "file" / "journal.jsonl").read_new()


def test_no_descriptor_is_kept(path: Path) -> None:
    append(path, record(0))
    before = set(Path("/proc/self/fd").iterdir())
    journal = Journal(path)
    append(path, record(1))
    journal.read_new()
    assert set(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.parametrize("size", [10, 1000, 5000])
def test_a_large_journal_is_read_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(journal_module, "PIECE", 2000)
    append(path, *(record(i, size=size) for i in range(20)))
    journal, pieces = Journal(path), []
    while lines := journal.read_new():
        pieces.append(names(lines))
    assert [name for piece in pieces for name in piece] == [f"k{i}" for i in range(20)]
    assert len(pieces) == {10: 1, 1000: 20, 5000: 1}[size]
