"""What the self check of a study finds, each damage made by hand."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.doctor import locks_and_disk
from hpo_batch.doctor import study as checks_of_a_study
from hpo_batch.doctor.finding import Finding, Level
from hpo_batch.doctor.study import examine_study
from hpo_batch.errors import StorageError
from hpo_batch.journal.locks import journal_lock
from hpo_batch.records import Complete, Failed, Pruned, Reason
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from tests.helpers import until
from tests.processes import kill, start
from tests.study.helpers import claimed, complete, make, owner, plain


def findings(home: StudyHome) -> list[Finding]:
    return list(examine_study(home))


def odd(home: StudyHome) -> Finding:
    """The one finding that is not fine."""
    (found,) = [finding for finding in findings(home) if finding.level is not Level.FINE]
    return found


@pytest.fixture
def home(root: Path) -> StudyHome:
    """A study with a trial of each ending, and one that runs."""
    home = make(root, study="trials = 6", tables={"failures": 'nan = "retry"'})
    with Study.open(home, owner()) as study:
        for outcome in (
            Complete(values=(0.5,), metrics={"loss": 0.5, "odd": float("nan")}),
            Pruned(step=1, metrics={}),
            Failed(reason=Reason.EXCEPTION, message="m"),
            Failed(reason=Reason.NAN, message="m"),
        ):
            claim = claimed(study)
            study.open_attempt(claim)
            study.tell(claim, outcome)
        study.open_attempt(claimed(study))
    return home


def test_a_healthy_study(home: StudyHome) -> None:
    found = findings(home)
    assert {finding.level for finding in found} == {Level.FINE}
    assert [finding.about for finding in found] == ["journal", "sweep", "trials", "locks", "locks", "leases", "disk"]
    assert not list(home.path.glob(".doctor*"))


def test_a_study_that_is_at_work_is_healthy(home: StudyHome) -> None:
    with Study.open(home, owner()) as study:
        study.open_attempt(claimed(study))
        found = findings(home)
        assert {finding.level for finding in found} == {Level.FINE}
        assert any(f"1 live: worker {os.getpid()}-0" in finding.what for finding in found)


def cut_line(lines: list[bytes]) -> None:
    lines[9] = lines[9][:20]


def zeros(lines: list[bytes]) -> None:
    lines[9] = b"\0" * 40


def no_sense(lines: list[bytes]) -> None:
    lines[9] = b'{"op_code":4,"study_id":0,"state":77}'


def torn_report(lines: list[bytes]) -> None:
    lines[9] = b'{"op_code":8,"trial_id":0,"user_attr":{"loss":0.}}'


@pytest.mark.parametrize("damage", [cut_line, zeros, no_sense, torn_report])
def test_bad_lines_are_named(home: StudyHome, damage: Callable[[list[bytes]], None]) -> None:
    lines = home.journal.read_bytes().split(b"\n")
    damage(lines)
    home.journal.write_bytes(b"\n".join(lines))
    found = odd(home)
    assert (found.level, found.about, found.mended_by_rebuild) == (Level.BAD, "journal", True)
    assert f"1 of {len(lines) - 1} lines are bad (line 10)" in found.what


def test_a_torn_tail_is_cut_by_the_next_writer(home: StudyHome) -> None:
    with home.journal.open("ab") as file:
        file.write(b'{"op_c')
    assert odd(home).what.startswith("the last line is torn (6 bytes)")
    assert odd(home).level is Level.NOTE


def test_a_journal_that_is_gone_empty_or_of_tomorrow(home: StudyHome) -> None:
    content = home.journal.read_bytes()
    home.journal.write_bytes(b"")
    assert (odd(home).what, odd(home).mended_by_rebuild) == ("no study in it", True)
    home.journal.write_bytes(content.replace(b'"hpo:format":1', b'"hpo:format":99'))
    assert (odd(home).do, odd(home).mended_by_rebuild) == ("upgrade hpo-batch", False)
    home.journal.unlink()
    assert odd(home).what.endswith("is gone")


def test_a_journal_of_plain_optuna_is_none_of_ours(root: Path) -> None:
    theirs = make(root).path.with_name("theirs")
    theirs.mkdir()
    home = StudyHome(path=theirs, name="theirs")
    (home.journal).write_bytes((root / "s" / "journal.jsonl").read_bytes().replace(b"hpo-batch-", b""))
    assert plain(StudyHome(path=theirs, name="s")).trials == []
    assert odd(home).what == "made by plain Optuna, not by hpo-batch"


def test_a_sweep_that_is_gone_or_changed(home: StudyHome) -> None:
    path = home.revision(1)
    path.write_text(path.read_text().replace("max_attempts", "max_attempts "))
    assert (odd(home).about, odd(home).level) == ("sweep", Level.BAD)
    path.unlink()
    assert "cannot read the sweep" in odd(home).what


def test_a_journal_that_lacks_what_the_folders_have(home: StudyHome) -> None:
    lines = home.journal.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith(b'{"op_code":4'))
    home.journal.write_bytes(b"".join(lines[:last]))  # at the end of a line: it reads well
    assert odd(home).what == "the journal lacks what the folders of trials have: 3"
    assert odd(home).mended_by_rebuild


def test_results_that_differ_and_results_that_are_missing(home: StudyHome) -> None:
    path = home.attempt(0, 1) / "result.json"
    content = path.read_text()
    path.write_text(content.replace("0.5", "0.4"))
    assert odd(home).what == "journal and result.json disagree about trials 0"
    path.unlink()
    assert (odd(home).level, odd(home).what) == (
        Level.NOTE,
        "finished trials without a second copy of their result: 0",
    )
    shutil.rmtree(home.trial(0))
    assert odd(home).what == "finished trials without a second copy of their result: 0"


def test_files_that_cannot_be_used_are_named(home: StudyHome) -> None:
    (home.attempt(2, 1) / "claim.json").write_text("{")
    (home.attempt(2, 1) / "result.json").unlink()
    assert odd(home).level is Level.NOTE
    assert f"2 ('{home.attempt(2, 1) / 'claim.json'}' is incomplete" in odd(home).what


def die_between_result_and_journal(home: StudyHome) -> None:
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        study.open_attempt(claim)
        study.endings.keep(claim, complete(claim))
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_result_that_nobody_was_told_is_found(home: StudyHome) -> None:
    process, _ = start(die_between_result_and_journal, home)
    process.join()
    found = [finding for finding in findings(home) if finding.level is not Level.FINE]
    assert [(finding.about, finding.level) for finding in found] == [("trials", Level.NOTE), ("leases", Level.NOTE)]
    assert found[0].what == "dead workers left results that never reached the journal: trials 4"
    assert found[0].mended_by_rebuild
    assert "1 ended without saying so" in found[1].what


def hold_lock(home: StudyHome) -> None:
    with journal_lock(home.journal):
        (home.path / "ready").touch()
        time.sleep(60)


def test_a_lock_that_is_held_and_one_that_was_left(home: StudyHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks_and_disk, "LOCK_PATIENCE_S", 0.2)
    process, _ = start(hold_lock, home)
    until((home.path / "ready").exists)
    os.kill(process.pid or 0, signal.SIGSTOP)
    held = [finding for finding in findings(home) if finding.level is not Level.FINE]
    assert [finding.level for finding in held] == [Level.NOTE, Level.BAD]
    assert f"is held by pid {process.pid} on " in held[0].what
    assert held[1].what.endswith(f"held by pid {process.pid}")
    kill(process)
    assert "is stale" in odd(home).what
    assert odd(home).level is Level.NOTE
    Path(f"{home.journal}.lock").unlink()
    Path(f"{home.journal}.lock").symlink_to("somewhere")  # as Optuna's lock on network file systems
    assert "plain Optuna, which does not say who" in odd(home).what


def test_a_folder_that_cannot_be_written_is_not_called_unhealthy(home: StudyHome) -> None:
    missing = StudyHome(path=home.path / "missing", name="s")
    found = locks_and_disk.kernel_locks(missing)
    assert found.level is Level.NOTE
    assert "were not tried" in found.what


def test_a_full_disk_is_told(home: StudyHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks_and_disk, "LEAST_FREE_BYTES", 1 << 60)
    assert (odd(home).about, odd(home).level) == ("disk", Level.BAD)
    monkeypatch.setattr(locks_and_disk, "LEAST_FREE_BYTES", 0)
    monkeypatch.setattr(locks_and_disk, "LEAST_FREE_INODES", 1 << 60)
    assert "more files and folders" in odd(home).what


class Disk:
    """What ``statvfs`` says of a file system: nobody has one with too few inodes at hand."""

    def __init__(self, files: int, favail: int) -> None:
        self.f_files, self.f_favail = files, favail
        self.f_bavail, self.f_frsize = 1 << 30, 4096


@pytest.mark.parametrize(
    ("files", "favail", "level", "told"),
    [
        (10**6, 4000, Level.BAD, "there is room for 4,000 more files and folders, and about 5,000 more"),
        (10**6, 6000, Level.FINE, "room for 6,000 more files and folders; about 5,000 more files and folders are to"),
        (0, 0, Level.FINE, "free; about 5,000 more"),  # btrfs
        (10**6, 0, Level.FINE, "free; about 5,000 more"),  # a server that says 0 while files can be made
        (1 << 63, 1 << 62, Level.FINE, "free; about 5,000 more"),
        (10**6, 900, Level.BAD, "room for 900 more files and folders, and"),
    ],
)
def test_a_sweep_that_does_not_fit_is_told(
    home: StudyHome, monkeypatch: pytest.MonkeyPatch, files: int, favail: int, level: Level, told: str
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: Disk(files, favail))
    before = sorted(home.path.iterdir())
    (found,) = locks_and_disk.disk_findings(home.path, to_come=5000)
    assert (found.level, told in found.what) == (level, True), found.what
    assert sorted(home.path.iterdir()) == before


def test_no_room_at_all_is_told(home: StudyHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "statvfs", lambda path: Disk(10**6, 0))
    monkeypatch.setattr(Path, "touch", full)
    (found,) = locks_and_disk.disk_findings(home.path)
    assert (found.level, found.what) == (Level.BAD, "there is room for 0 more files and folders")


def test_storage_errors_are_not_hidden(home: StudyHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(home: object, state: object) -> None:
        raise StorageError("no")

    monkeypatch.setattr(checks_of_a_study, "read_revision", refuse)
    found = [f for f in findings(home) if f.level is Level.BAD]
    assert [f.what for f in found] == ["no"]
    assert json.loads((home.attempt(0, 1) / "result.json").read_text())["outcome"] == "complete"
