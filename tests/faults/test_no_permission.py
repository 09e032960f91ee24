"""A study that turns read-only, or belongs to somebody else: a clear message, nothing lost, and reading goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo_batch.errors import StorageError
from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study import patience
from hpo_batch.study.create import create
from hpo_batch.study.study import Study
from tests.helpers import run
from tests.processes import in_processes
from tests.study.helpers import claimed, complete, make, owner, revise, state_of, work

NOBODY = 65534


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file system in a file, which turns read-only when it finds an error in itself."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 * 2**20)
    if sbin("mkfs.ext4", "-q", "-e", "remount-ro", image).returncode:
        pytest.skip("needs mkfs.ext4")
    return image


def sbin(*command: object) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    return subprocess.run(["env", *map(str, command)], capture_output=True, text=True, env=environ)


def test_a_file_system_that_turns_read_only_under_a_worker(image: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if sbin("mount", "-o", "loop", image, disk).returncode:
        pytest.skip("needs the right to mount")
    try:
        device = sbin("findmnt", "-no", "SOURCE", disk).stdout.strip()
        breaks = Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error")
        if not breaks.exists():
            pytest.skip("this kernel cannot pretend an error of ext4")
        home = make(disk / "logs", study="trials = 3")
        said, before = in_processes([(works_on_a_broken_disk, home, breaks)])[0]
        assert len(said) == 4
        assert all("Read-only file system" in message for message in said), said
        assert home.journal.read_bytes() == before
        assert state_of(home).trials[0].state is TrialState.RUNNING
        done = run("status", home.path)
        assert done.code == 0, done.err
        # a copy: another test's mount namespace may hold the old mount still, and a second one of the image would be it
        sbin("umount", "--lazy", disk)
        mended = Path(shutil.copy(image, tmp_path / "mended"))
        sbin("fsck.ext4", "-fy", mended)
        sbin("mount", "-o", "loop", mended, disk)
        work(home)
        assert state_of(home).counts().complete == 3
        assert state_of(home).trials[0].attempt == 2
    finally:
        sbin("umount", "--lazy", disk)


def works_on_a_broken_disk(home: StudyHome, breaks: Path) -> tuple[list[str], bytes]:
    patience.RETRY_PAUSES_S = (0.0,)
    said = []
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        breaks.write_text("1")
        before = home.journal.read_bytes()
        sweep = study.sweep
        calls = (
            lambda: study.tell(claim, complete(claim)),
            study.claim,
            lambda: create(home, sweep, toml="", now=1.0),
            lambda: Study.open(home, owner(1)).__enter__(),
        )
        for call in calls:
            try:
                call()
            except StorageError as error:
                said.append(str(error))
    return said, before


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A logs directory that every user can reach: pytest's own cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_nobody(home: StudyHome, what: str) -> str:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    try:
        if what == "work":
            with Study.open(home, owner()) as study:
                study.claim()
        elif what == "submit":
            revise(home, study="trials = 9")
        else:
            return str(state_of(home).counts().complete)
    except StorageError as error:
        return str(error)
    return "it worked"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_another_user_reads_and_is_told_that_he_cannot_write(open_root: Path) -> None:
    home = make(open_root, study="trials = 3")
    work(home)
    for path in [home.path, *home.path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    work_said, read = in_processes([(as_nobody, home, "work"), (as_nobody, home, "read")])
    assert read == "3"
    assert "Permission denied" in work_said
    assert str(home.path) in work_said
    (open_root / "sweep.toml").chmod(0o666)
    (submit_said,) = in_processes([(as_nobody, home, "submit")])
    assert "Permission denied" in submit_said
    assert {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_study_that_another_user_may_not_even_enter(open_root: Path) -> None:
    home = make(open_root, study="trials = 3")
    home.path.chmod(0o700)
    (said,) = in_processes([(as_nobody, home, "work")])
    assert "Permission denied" in said


def test_a_folder_of_leases_that_cannot_be_written_ends_the_worker_before_it_claims(root: Path) -> None:
    home = make(root, study="trials = 3")
    home.workers.rmdir()
    home.workers.touch()  # a file: also root cannot write into it
    with pytest.raises(StorageError, match=rf"cannot write a lease in '{home.workers}': "), Study.open(home, owner()):
        pytest.fail("there is no folder")
    home.workers.unlink()
    assert state_of(home).trials == []
    work(home)
    assert state_of(home_of(root, "s")).counts().complete == 3
