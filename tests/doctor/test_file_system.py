"""The self test of a file system: what two processes see of its locks, and what is made of it."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.doctor import contention, file_system
from hpo_batch.doctor.contention import JOURNAL_FILE, KERNEL, LINK, clock_offset
from hpo_batch.doctor.file_system import (
    TIMES,
    Turns,
    judge,
    judge_journal,
    judge_locks,
    read_turns,
    self_test,
    trial_folder,
)
from hpo_batch.doctor.finding import Level
from hpo_batch.errors import StorageError
from tests.processes import in_processes

GOOD = Turns(
    held=(TIMES, TIMES), met=5, unseen=0, counted=2 * TIMES, lines=2 * TIMES, while_held=(False, False),
    when_free=(True, True),
)  # fmt: skip


def test_this_machine_is_fine_and_left_as_it_was(root: Path) -> None:
    found = list(self_test(root))
    assert {finding.level for finding in found} == {Level.FINE}, found
    assert [finding.about for finding in found] == ["files", "files", "locks", "locks", "journal"]
    assert list(root.iterdir()) == []


def test_a_logs_directory_that_is_not_there_yet_is_tried_above(root: Path) -> None:
    assert {finding.level for finding in self_test(root / "not" / "yet")} == {Level.FINE}
    assert list(root.iterdir()) == []


def test_where_nothing_can_be_written_nothing_is_judged() -> None:
    (found,) = self_test(Path("/proc/nothing"))
    assert found.level is Level.NOTE
    assert "not tried: no folder can be made in '/proc'" in found.what


def test_what_a_killed_doctor_left_is_named(root: Path) -> None:
    with pytest.raises(KeyError), trial_folder(root):
        raise KeyError
    assert list(root.iterdir()) == []
    (root / ".doctor.0000").mkdir()
    assert "1 folder of doctors" in list(self_test(root))[-1].what


@pytest.mark.parametrize(("number", "do"), [(errno.EDQUOT, "quota"), (errno.EIO, "another file system")])
def test_a_full_disk_and_a_used_up_quota(root: Path, monkeypatch: pytest.MonkeyPatch, number: int, do: str) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file_system, "_write", refuse)
    (found,) = [finding for finding in self_test(root) if finding.level is Level.BAD]
    assert "16 MiB cannot be written" in found.what
    assert do in found.do


@contextlib.contextmanager
def lock_that_locks_nothing(path: Path, deadline: float) -> Iterator[bool]:
    yield True


def contend(folder: Path, rank: int, take: contention.Take, times: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    (folder / f"here.{rank}").touch()
    contention._wait_for(folder / f"here.{1 - rank}", deadline=deadline)
    turns = contention.take_turns(folder, LINK, take, times=times, deadline=deadline)
    return {**turns, **contention.try_held(folder, LINK, take, rank=rank, deadline=deadline)}


def test_a_lock_that_does_not_exclude_is_found_out(tmp_path: Path) -> None:
    """By lost changes, and by one process taking what the other one holds: either alone would do."""
    facts = in_processes([(contend, tmp_path, rank, lock_that_locks_nothing, TIMES) for rank in (0, 1)])
    turns = read_turns(tmp_path, LINK, facts)
    assert turns.while_held == (True, True)
    assert turns.held == (TIMES, TIMES)
    found = judge(turns, LINK, between="two processes", one_host=True)
    assert found.level is Level.BAD
    assert "do not keep each other out" in found.what
    assert "another file system" in found.do


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, Level.FINE, "keep each other out"),
        ({"counted": 199}, Level.BAD, "1 of 200 changes made under it are lost"),
        ({"while_held": (False, True)}, Level.BAD, "one took it while the other held it"),
        ({"unseen": 3}, Level.BAD, "3 of 200 times"),
        ({"lines": 199}, Level.BAD, "199 lines are there"),
        ({"when_free": (True, False)}, Level.BAD, "could not be acquired"),
        ({"held": (TIMES, 3), "counted": TIMES + 3, "lines": TIMES + 3}, Level.BAD, "100 and 3 times held"),
        ({"met": 0}, Level.NOTE, "the processes never met"),
    ],
)
def test_what_two_processes_see_of_a_lock(change: dict[str, Any], level: Level, words: str) -> None:
    for kind in (KERNEL, LINK):
        found = judge(replace(GOOD, **change), kind, between="here", one_host=True)
        assert found.level is level
        assert words in found.what


def test_between_nodes_only_the_other_lock_is_relied_on() -> None:
    apart = replace(GOOD, while_held=(True, True))
    assert judge(apart, KERNEL, between="nodes", one_host=False).level is Level.NOTE
    assert judge(apart, LINK, between="nodes", one_host=False).level is Level.BAD


def test_answers_that_are_not_whole(tmp_path: Path) -> None:
    done = {"done": True, "locks": {KERNEL: {"missing": "Function not implemented"}, LINK: {"error": "I/O error"}}}
    kernel, link, journal = judge_locks(tmp_path, [done, done], between="here", one_host=True)
    assert (kernel.level, link.level, journal.level) == (Level.NOTE, Level.BAD, Level.BAD)
    assert "I/O error" in link.what
    (alone,) = judge_locks(tmp_path, [done, {**done, "alone": "not seen"}], between="here", one_host=True)
    assert "not seen" in alone.what
    for answered in ([], [done], [done, {}]):
        (none,) = judge_locks(tmp_path, answered, between="here", one_host=True)
        assert "incomplete answers" in none.what


def test_who_is_left_alone_gives_up(tmp_path: Path) -> None:
    contention.answer(tmp_path, 0, file_system.question(patience_s=0.2))
    (told,) = file_system.answers(tmp_path)
    assert "here.1" in told["alone"]


def test_without_hard_links_the_lock_is_made_exclusively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with contention.link(tmp_path / "lock", 0) as first, contention.link(tmp_path / "lock", 0) as second:
        assert (first, second) == (True, False)
    assert list(tmp_path.iterdir()) == []


def test_the_file_servers_clock_is_this_hosts_on_its_own_disk(tmp_path: Path) -> None:
    low, high = clock_offset(tmp_path, 0)
    assert low <= high
    assert abs(low) < 60
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="no folder can be made"), trial_folder(Path("/proc/nothing")):
        pytest.fail("there is none")


def record(before: int) -> str:
    return f'{{"op_code":3,"worker_id":"0","study_id":9,"system_attr":{{"before":{before}}}}}\n'


@pytest.mark.parametrize(
    ("befores", "facts", "level", "words"),
    [
        (range(2 * TIMES), {}, Level.FINE, "200 records were appended to a journal in turn, and all are there"),
        ([*range(2 * TIMES - 1), 7], {}, Level.BAD, "of 200 records that were stored, 199 are in their place"),
        (range(2 * TIMES - 1), {}, Level.BAD, "of 200 records that were stored, 199 are in their place"),
        ([], {}, Level.BAD, "of 200 records that were stored, 0 are in their place"),
        (range(2 * TIMES), {"error": "JournalCorrupt: it was replaced"}, Level.BAD, "JournalCorrupt: it was replaced"),
        ([], {"missing": "this Python has no hpo-batch"}, Level.NOTE, "not tried, this Python has no hpo-batch"),
        (range(TIMES + 5), {"held": 5}, Level.NOTE, "took 105 records in 60 s"),
    ],
)
def test_what_is_left_of_records_that_were_appended_in_turn(
    tmp_path: Path, befores: Iterable[int], facts: dict[str, Any], level: Level, words: str
) -> None:
    (tmp_path / JOURNAL_FILE).write_text("".join(map(record, befores)))
    found = judge_journal(tmp_path, [{"held": TIMES, "met": 3}, {"held": TIMES, "met": 3, **facts}], between="here")
    assert found.level is level
    assert words in found.what
