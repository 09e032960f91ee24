"""A disk that is full, a file that may not grow: what was there stays, results wait, all goes on with free space."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo_batch.doctor.finding import Level
from hpo_batch.doctor.locks_and_disk import disk_findings
from hpo_batch.doctor.study import examine_study
from hpo_batch.errors import StorageError, Superseded
from hpo_batch.findings.documents import report_document
from hpo_batch.findings.report import Report, write
from hpo_batch.records import IdleWhy, TrialState, Verdict
from hpo_batch.store.home import StudyHome, check_writable
from hpo_batch.study import patience
from hpo_batch.study.study import Study
from tests.findings.made import findings
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import answer, in_processes, start
from tests.study.helpers import claimed, complete, make, owner, state_of, work


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # lazy: of a failed test something may run on


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of a few megabytes."""
    if request.param == "tmpfs":
        with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as folder:
            yield folder
        return
    if shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("needs mkfs.ext4")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(4 * 2**20)
    command = "PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -b 1024 -O ^has_journal"
    subprocess.run(f"{command} {image}", shell=True, check=True)
    with mounted(tmp_path / "disk", "-o", "loop", str(image)) as folder:
        yield folder


def test_a_file_system_without_room_for_the_files_of_a_sweep(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2g,nr_inodes=3000", "tmpfs") as disk:
        home = make(disk / "logs", study="trials = 1000")
        (found,) = (f for f in examine_study(home) if f.about == "disk" and "files" in f.what)
        assert found.level is Level.BAD
        assert "and about 5,010 more files and folders are to come" in found.what
        (fine,) = disk_findings(home.path, to_come=1500)
        assert "more files and folders; about 1,500" in fine.what
        with contextlib.suppress(OSError):
            for number in range(4000):
                (disk / f"{number}").touch()
        (full,) = disk_findings(home.path)
        assert (full.level, full.what) == (Level.BAD, "there is room for 0 more files and folders")


def fill(folder: Path, *, but: int = 0) -> Path:
    """Use up the disk, but for so many bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (4096, 256, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
        file.truncate(max(0, file.tell() - but))
    return filler


@pytest.mark.parametrize("room", [0, 1024, 4096, 8192])
def test_a_full_disk_costs_nothing_that_was_told_and_no_trial(
    disk: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filled again before each call, until it fails; with room it fails later, in the middle of what it does."""
    monkeypatch.setattr(patience, "RETRY_PAUSES_S", (0.0,))
    home = make(disk / "logs", study="trials = 40\nmax_attempts = 100")
    told: dict[int, float] = {}
    refusals: list[str] = []
    with Study.open(home, owner()) as study:
        for turn in range(12):
            filler = fill(disk, but=room)
            before = home.journal.read_bytes()
            claim = None
            try:
                claim = claimed(study)
                assert study.reports.add(claim, turn, {"loss": 0.5}) is Verdict.CONTINUE
                study.tell(claim, complete(claim, turn / 100))
            except StorageError as error:
                refusals.append(str(error))
                assert home.journal.read_bytes().startswith(before)
            assert home.journal.read_bytes().endswith(b"\n")
            filler.unlink()
            if claim is not None:
                with contextlib.suppress(Superseded):  # it was told in spite of the full disk
                    study.tell(claim, complete(claim, turn / 100))
                told[claim.number] = turn / 100
    assert all("No space left on device" in refusal for refusal in refusals)
    if room == 0:
        assert refusals  # a claim may still fit into the journal's last page
    _, end = work(home)
    assert end is not None
    assert end.why is IdleWhy.TARGET_MET
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (40, 40)
    assert {number: state.trials[number].values for number in told} == {n: (value,) for n, value in told.items()}
    assert_read_as_optuna_reads(home.journal)


def works_through_a_full_disk(home: StudyHome, index: int) -> int:
    patience.RETRY_PAUSES_S = (0.05,) * 200
    done = 0
    with Study.open(home, owner(index)) as study:
        while not (home.path / "all are here").exists():
            time.sleep(0.001)
        while True:
            try:
                given = study.claim()
            except StorageError:
                time.sleep(0.02)  # a worker ends here, and another one comes
                continue
            if not isinstance(given, tuple):
                return done
            study.tell(given[0], complete(given[0]))
            done += 1


def test_workers_wait_with_their_results_until_there_is_space(disk: Path) -> None:
    home = make(disk / "logs", study="trials = 60")
    workers = [start(works_through_a_full_disk, home, i) for i in range(3)]
    while len(list(home.workers.glob("*.json"))) < 3:
        time.sleep(0.001)
    (home.path / "all are here").touch()
    for _ in range(6):
        with contextlib.suppress(OSError):  # not a name more fits
            fill(disk)
        time.sleep(0.08)
        (disk / "filler").unlink(missing_ok=True)
        time.sleep(0.05)
    assert sum(answer(process, pipe) for process, pipe in workers) == 60
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (60, 60)
    assert_read_as_optuna_reads(home.journal)


def works_below_a_limit(home: StudyHome, more: int) -> str:
    """A worker whose files may not grow beyond a size; then one that may."""
    patience.RETRY_PAUSES_S = (0.0,)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Study.open(home, owner(7)) as study:
        claim = claimed(study)
        before = home.journal.read_bytes()
        for step in range(20):
            study.reports.add(claim, step, {"loss": 0.5})
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + more, resource.RLIM_INFINITY))
        try:
            study.tell(claim, complete(claim, 0.25))
        except StorageError as error:
            assert home.journal.read_bytes() == before
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            study.tell(claim, complete(claim, 0.25))
            return str(error)
    return ""


def test_a_file_that_may_not_grow_keeps_what_it_has(root: Path) -> None:
    for i, more in enumerate((0, 1, 200, 2000)):
        home = make(root / str(i), study="trials = 2")
        (message,) = in_processes([(works_below_a_limit, home, more)])
        assert "File too large" in message
        trial = state_of(home).trials[0]
        assert (trial.state, trial.values, len(trial.steps)) == (TrialState.COMPLETE, (0.25,), 20)
        assert_read_as_optuna_reads(home.journal)


def test_a_disk_that_is_mounted_read_only_is_called_so(tmp_path: Path) -> None:
    with (
        mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "ro", "tmpfs") as disk,
        pytest.raises(StorageError, match=r"Read-only file system \(the file system is mounted read-only here\)"),
    ):
        check_writable(disk / "logs" / "study")


@pytest.mark.parametrize("left", [0, 4 << 10, 40 << 10, 200 << 10])
def test_a_report_that_broke_off_is_followed_by_another(tmp_path: Path, left: int) -> None:
    report = Report(findings=findings(), document=report_document(findings(), version="1"), sources=())
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=4m", "tmpfs") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes((4 << 20) - left))
        with pytest.raises(StorageError, match="No space left"):
            write(report, disk / "report")
        ballast.unlink()
        write(report, disk / "report")
        assert (disk / "report" / "report.html").stat().st_size > 10_000
