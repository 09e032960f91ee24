"""A link below a shared study leads nobody's writing, copying or opening anywhere else."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo_batch import files, processes
from hpo_batch.errors import StorageError
from hpo_batch.journal.file import Journal
from hpo_batch.objective.function import captured
from hpo_batch.records import Claim, Complete, Configuration
from hpo_batch.store import attempt_folder, sharing
from hpo_batch.store.attempt_folder import ClaimFacts, drop_checkpoints, open_attempt, tidy, write_result
from hpo_batch.store.home import StudyHome, home_of
from tests.users.conftest import (  # noqa: F401
    LAB,
    Person,
    everybodys_python,
    person,
    place,
    until,
)

People = Callable[..., Person]
KEY = "-----BEGIN PRIVATE KEY-----\n"
FACTS = ClaimFacts(trial={"key": "k"}, attempt={"worker": "w", "token": "t"})
PLANTED = ("claim.json", "result.json", "stdout", "stderr", "metrics.jsonl", "stop", "reported.jsonl")


def claim(number: int = 0, attempt: int = 1, *, resumes: int | None = None) -> Claim:
    return Claim(
        number=number, attempt=attempt, token="t", configuration=Configuration(searched={"x": 0.5}, fixed={}),
        seeds=(1,), name=None, origin="search", resumes=resumes,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Iterator[StudyHome]:
    """A shared study's folder, and the umask of whoever works in it."""
    made = home_of(tmp_path / "logs", "s")
    made.path.mkdir(parents=True)
    made.path.chmod(0o2770)
    with sharing.umask_for(shared=True):
        made.make()
        yield made


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A home directory with what nobody else may write or read."""
    folder = tmp_path / "private"
    (folder / "checkpoint" / "empty").mkdir(parents=True)
    for name in ("file", "checkpoint/weights", "claim.json", "result.json", "stdout", "stop", ".x.0a1b2c3d.tmp"):
        (folder / name).write_text("" if name == "stdout" else KEY)
        (folder / name).chmod(0o600)
    return folder


def everything(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_text() if path.is_file() else "")
        for path in folder.rglob("*")
    }


def as_user(who: Person, script: str, *arguments: object) -> str:
    """What an attacker types, under their own ids."""
    words = ["sh", "-euc", script, "sh", *map(str, arguments)]
    done = subprocess.run(
        words, user=who.uid, group=who.uid, extra_groups=list(who.groups), check=True, capture_output=True, text=True
    )
    return done.stdout


def test_a_colleague_plants_links_in_the_next_attempt(person: People) -> None:  # noqa: F811
    """Start-up file overwritten, key appended to, private key copied for the group: the three of the report."""
    alice, bob = person("alice", umask=0o077), person("bob")
    for name in (".bashrc", ".ssh/authorized_keys", ".ssh/id"):
        path = alice.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(KEY)
        path.chmod(0o600)
        for one in (path.parent, path):
            os.chown(one, alice.uid, alice.uid)
    (alice.home / ".ssh").chmod(0o700)
    assert alice.run("submit", alice.sweep(function="long"), "--trials", 1).code == 0
    until(lambda: list((alice.root / "toy").rglob("private")))
    assert alice.run("cancel", "toy", "--yes").code == 0
    attempts = alice.root / "toy" / "trials" / "0000" / "0000" / "attempts"
    until(lambda: not list((alice.root / "toy" / "workers").glob("*.lease")))
    script = """
        mkdir "$1/2"; ln -s "$2/.bashrc" "$1/2/claim.json"; ln -s "$2/.bashrc" "$1/2/result.json"
        for name in stdout stderr metrics.jsonl; do ln -s "$2/.ssh/authorized_keys" "$1/2/$name"; done
        mv "$1/1/checkpoint" "$1/1/former"; ln -s "$2/.ssh" "$1/1/checkpoint"; chmod -R g+rwX "$1/2"
    """
    as_user(bob, script, attempts, alice.home)
    alice.run("submit", alice.sweep(function="long"), "--trials", 1)
    until(lambda: (attempts / "3").exists() or list(attempts.glob("2/.checkpoint*")))
    alice.run("cancel", "toy", "--yes")
    until(lambda: not list((alice.root / "toy" / "workers").glob("*.lease")))
    for name in (".bashrc", ".ssh/authorized_keys", ".ssh/id"):
        assert (alice.home / name).read_text() == KEY
        assert stat.S_IMODE((alice.home / name).stat().st_mode) == 0o600
    found = subprocess.run(["grep", "-rl", "PRIVATE KEY", alice.root], capture_output=True, text=True, check=False)
    assert found.stdout == ""


@pytest.mark.parametrize("name", ["claim.json", "result.json"])
def test_a_planted_file_of_an_attempt(home: StudyHome, private: Path, name: str) -> None:
    before = everything(private)
    folder = home.attempt(0, 2)
    folder.mkdir(parents=True)
    (folder / name).symlink_to(private / "file")
    with pytest.raises(StorageError, match="is a link"):
        open_attempt(home, claim(attempt=2), FACTS)
    assert everything(private) == before


@pytest.mark.parametrize("above", [0, 1, 2, 3, 4])
def test_a_folder_on_the_way_is_a_link(home: StudyHome, private: Path, above: int) -> None:
    """``attempts/2``, ``attempts``, the trial's folder, the thousand's, ``trials``: nothing is written or removed."""
    other = home_of(private, "other")
    theirs = other.attempt(0, 2)
    theirs.mkdir(parents=True)
    for name in ("claim.json", "result.json", "stop", "stdout"):
        (theirs / name).write_text("" if name == "stdout" else '{"token": "t"}')
    (theirs / "checkpoint" / "empty").mkdir(parents=True)
    (theirs / "checkpoint" / "weights").write_text("w")
    before = everything(private)
    mine = home.attempt(0, 2)
    link, leads = [mine, *mine.parents][above], [theirs, *theirs.parents][above]
    if link.is_dir():
        link.rmdir()
    link.parent.mkdir(parents=True, exist_ok=True)
    link.parent.chmod(0o2770)
    link.symlink_to(leads)
    with pytest.raises(StorageError):
        open_attempt(home, claim(attempt=2), FACTS)
    with pytest.raises(StorageError):
        write_result(home, claim(attempt=2), Complete(values=(1.0,), metrics={}), FACTS, now=1.0)
    drop_checkpoints(home, 0, attempts=3)
    tidy(home, 0, 2)
    with contextlib.suppress(OSError):
        sharing.open_to_group(mine, below=home.path)
    assert everything(private) == before


def test_a_link_of_ones_own_is_a_choice(home: StudyHome, tmp_path: Path) -> None:
    """``trials`` on another disk, in a study that nobody else may write to."""
    home.path.chmod(0o755)
    (tmp_path / "large-disk").mkdir()
    (home.path / "trials").rmdir()
    (home.path / "trials").symlink_to(tmp_path / "large-disk")
    open_attempt(home, claim(), FACTS)
    assert (tmp_path / "large-disk" / "0000" / "0000" / "attempts" / "1" / "claim.json").exists()
    if os.geteuid() == 0:
        os.lchown(home.path / "trials", 12345, 12345)
        with pytest.raises(StorageError, match="is a link"):
            open_attempt(home, claim(number=1), FACTS)


@pytest.mark.parametrize("kind", ["folder", "file inside", "folder inside"])
def test_a_checkpoint_that_leads_to_private_files(
    home: StudyHome, private: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = open_attempt(home, claim(), FACTS) / "checkpoint"
    if kind == "folder":
        earlier.symlink_to(private)
    else:
        earlier.mkdir()
        (earlier / "x").symlink_to(private / "file" if kind == "file inside" else private)
    folder = open_attempt(home, claim(attempt=2, resumes=1), FACTS)
    sharing.open_to_group(folder, below=home.path)
    copied = [path for path in folder.rglob("*") if not path.is_symlink() and path.is_file()]
    assert [path.name for path in copied] == ["claim.json"]
    assert (private / "file").stat().st_mode & 0o777 == 0o600
    assert (kind == "folder") == ("the trial starts over" in caplog.text)


def test_a_checkpoint_with_links_is_taken_over_whole(home: StudyHome) -> None:
    """A dangling one threw it away, one to itself had no end, one by its full path led to the earlier attempt."""
    earlier = open_attempt(home, claim(), FACTS) / "checkpoint"
    (earlier / "step-3").mkdir(parents=True)
    (earlier / "step-3" / "model").write_text("3")
    (earlier / "step-3" / "model").chmod(0o640)
    os.utime(earlier / "step-3" / "model", ns=(1, 10**18 + 1))
    for name, leads in {
        "latest": "step-3",
        "full": earlier / "step-3",
        "gone": "step-2",
        "self": ".",
        "loop": "loop",
        "step-3/up": earlier,
        "step-3/best": earlier / "step-3" / "model",
    }.items():
        (earlier / name).symlink_to(leads)
    os.mkfifo(earlier / "pipe")
    copy = open_attempt(home, claim(attempt=2, resumes=1), FACTS) / "checkpoint"
    model = copy / "step-3" / "model"
    assert (model.read_text(), model.stat().st_mtime_ns, model.stat().st_mode & 0o777) == ("3", 10**18 + 1, 0o640)
    leads = {path.name: str(path.readlink()) for path in copy.rglob("*") if path.is_symlink()}
    assert (copy / "full").resolve() == (copy / "step-3").resolve()
    assert (copy / "step-3" / "best").resolve() == model.resolve()
    assert (leads["latest"], leads["gone"], leads["self"], leads["loop"]) == ("step-3", "step-2", ".", "loop")
    assert not (copy / "pipe").exists()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
def test_output_of_a_trial(tmp_path: Path, private: Path, stream: str, kind: str) -> None:
    folder = tmp_path / "attempt"
    folder.mkdir()
    if kind == "pipe":
        os.mkfifo(folder / stream)
    else:
        (folder / stream).symlink_to(private / ("file" if kind == "link" else "new"))
    before = everything(private)
    with pytest.raises(StorageError), captured(folder):
        print("ssh-ed25519 AAAA bob")
    with pytest.raises(OSError):
        processes.start(["echo", "ssh-ed25519"], stdout=folder / "stdout", stderr=folder / "stderr", env={})
    with contextlib.suppress(OSError):
        files.append_text(folder / stream, "ssh-ed25519 AAAA bob")
    with pytest.raises(OSError):
        files.JsonLines(folder / stream)
    assert everything(private) == before


def test_a_journal_that_is_a_link(home: StudyHome, private: Path) -> None:
    home.journal.symlink_to(private / "file")
    before = everything(private)
    with pytest.raises(StorageError, match="is a link"), Journal(home.journal).transaction() as transaction:
        transaction.append([{"op_code": 0}], sync=True)
    assert everything(private) == before


def test_a_study_in_whose_place_lies_a_link(tmp_path: Path, private: Path) -> None:
    """Where a group may write in the logs directory: ``logs/mine`` -> ``~/.ssh``, and ``shared = true`` opens it."""
    root = tmp_path / "logs"
    root.mkdir()
    root.chmod(0o2775)
    before = (private.stat().st_mode, everything(private))
    (root / "mine").symlink_to(private)
    if os.geteuid() == 0:
        os.lchown(root / "mine", 12345, 12345)
    with pytest.raises(StorageError, match="is a link"):
        sharing.make(home_of(root, "mine"))
    assert (private.stat().st_mode, everything(private)) == before


def test_what_has_another_name_outside_is_not_opened(home: StudyHome, private: Path) -> None:
    """``ln`` where ``fs.protected_hardlinks`` is off: opened in the study, it would be open at home."""
    folder = open_attempt(home, claim(), FACTS)
    os.link(private / "file", folder / "weights")
    (folder / "made").write_text("m")
    (folder / "made").chmod(0o600)
    assert sharing.open_to_group(folder, below=home.path) == []
    assert (private / "file").stat().st_mode & 0o777 == 0o600
    assert (folder / "made").stat().st_mode & 0o777 == 0o660


def test_names_change_while_a_folder_is_opened_to_the_group(home: StudyHome, private: Path) -> None:
    """A race by a colleague's program: a file of ours, and in its place, a moment later, a link to a private one."""
    folder = open_attempt(home, claim(), FACTS)
    script = """
import os, sys
folder, private = sys.argv[1:]
os.chdir(folder)
os.symlink(private + "/file", "trap"); os.symlink(private + "/checkpoint", "traps")
os.mkdir("real"); open("real/weights", "w").close()
print("ready", flush=True)
while True:
    open("x", "w").close(); os.replace("x", "name"); os.symlink(private + "/file", "x"); os.replace("x", "name")
    os.rename("real", "dir"); os.rename("dir", "real"); os.rename("traps", "dir"); os.rename("dir", "traps")
"""
    racer = subprocess.Popen([sys.executable, "-c", script, folder, private], stdout=subprocess.PIPE, text=True)
    try:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
        for _ in range(400):
            sharing.open_to_group(folder, below=home.path)
        assert racer.poll() is None
    finally:
        racer.kill()
        racer.communicate()
    assert {path.stat().st_mode & 0o777 for path in (private / "file", private / "checkpoint" / "weights")} == {0o600}


def test_a_file_becomes_a_link_while_a_checkpoint_is_copied(home: StudyHome, private: Path) -> None:
    earlier = open_attempt(home, claim(), FACTS) / "checkpoint"
    (earlier / "deep").mkdir(parents=True)
    (earlier / "deep" / "weights").write_text("w")
    (earlier / "links").symlink_to(private / "checkpoint")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            (earlier / "deep").rename(earlier / "aside")
            (earlier / "links").rename(earlier / "deep")
            (earlier / "deep").rename(earlier / "links")
            (earlier / "aside").rename(earlier / "deep")

    racer = threading.Thread(target=swap)
    racer.start()
    try:
        for attempt in range(2, 60):
            open_attempt(home, claim(attempt=attempt, resumes=1), FACTS)
    finally:
        over.set()
        racer.join()
    found = [p for p in home.path.rglob("weights") if not p.is_symlink() and p.read_text() != "w"]
    inside = [p for p in found if not any(above.is_symlink() for above in p.parents)]
    assert inside == []


def test_seeds_and_ranks_that_are_links(home: StudyHome, private: Path) -> None:
    folder = open_attempt(home, claim(), FACTS)
    before = everything(private)
    for name in ("seed-2", "rank-1", "checkpoint"):
        (folder / name).symlink_to(private)
    tidy(home, 0, 1)
    attempt_folder.tidy_part(folder / "seed-2")
    drop_checkpoints(home, 0, attempts=1)
    assert not attempt_folder.has_checkpoint(folder)
    for name in ("seed-2", "rank-1"):
        with pytest.raises(files.OddFile):
            files.make_real_folder(folder / name)
    assert everything(private) == before
