"""Who may read a study can stop nobody: no lock of it can be held by those who may not write there."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.journal.kernel_lock import open_lock
from hpo_batch.journal.locks import journal_lock
from hpo_batch.launch.submit_lock import turn
from hpo_batch.store.home import home_of
from tests.users.conftest import LAB, Person

People = Callable[..., Person]
HOLD_ALL = """
import fcntl, os, sys, time
held = []
for folder, _, files in os.walk(sys.argv[1]):
    for name in files:
        path = os.path.join(folder, name)
        if "lock" not in name and "submit" not in name:
            continue
        for flags in (os.O_RDWR, os.O_RDONLY):
            try:
                fd = os.open(path, flags)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            held.append((path, fd))
            break
print(len(held), [path for path, _ in held], flush=True)
time.sleep(600)
"""


def holder(person: Person, folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A process of a user that holds every lock below a folder that it can open; what it holds."""
    process = subprocess.Popen(
        [person.python, "-c", HOLD_ALL, str(folder)], stdout=subprocess.PIPE, text=True, user=person.uid,
        group=person.uid, extra_groups=person.groups, cwd="/",
    )  # fmt: skip
    person.started.append(process)
    assert process.stdout is not None
    return process, process.stdout.readline()


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_a_reader_stops_no_writer(person: People, umask: int) -> None:
    """The group may read what lies in the logs directory, and others too with the usual umask."""
    alice, bob = person("alice", umask=umask), person("bob")
    stranger = person("stranger", groups=())
    alice.root.chmod(0o2755)
    os.chown(alice.root, alice.uid, LAB)
    assert alice.run("submit", alice.sweep(study=""), "--wait").code == 0
    (alice.root / "toy" / "submit.flock").touch(mode=0o644)  # as an earlier version made them
    os.chown(alice.root / "toy" / "submit.flock", alice.uid, LAB)
    (alice.root / "toy" / "journal.jsonl.flock").chmod(0o644)
    assert alice.run("submit", alice.sweep(study=""), "--trials", 3, "--wait").code == 0
    if umask == 0o002:  # there the group may write too, and so remove the locks
        (alice.root / "toy").chmod(0o2755)
        assert alice.run("submit", alice.sweep(study=""), "--trials", 4, "--wait").code == 0
    for one in (bob, stranger):
        _, held = holder(one, alice.root)
        assert held.startswith("0 "), held
    assert bob.run("status", "toy").code == (0 if umask != 0o077 else 4)
    done = alice.run("submit", alice.sweep(study=""), "--trials", 5, "--wait")
    assert done.code == 0, done.err


def test_in_a_shared_study_the_group_locks_and_strangers_do_not(person: People) -> None:
    alice, bob, stranger = person("alice"), person("bob"), person("stranger", groups=())
    assert alice.run("submit", alice.sweep(), "--wait").code == 0
    assert bob.run("submit", bob.sweep(), "--trials", 3, "--wait").code == 0
    locks = [path for path in (alice.root / "toy").rglob("*lock*") if path.is_file()]
    assert locks
    assert {stat.S_IMODE(path.stat().st_mode) for path in locks} == {0o660}
    assert holder(stranger, alice.root)[1].startswith("0 ")


@pytest.mark.parametrize(("folder", "wanted"), [(0o755, 0o600), (0o775, 0o660), (0o750, 0o600), (0o2770, 0o660)])
@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o000])
def test_modes_of_locks(tmp_path: Path, folder: int, wanted: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        home = home_of(tmp_path, "toy")
        home.make()
        home.path.chmod(folder)
        home.journal.touch()
        with journal_lock(home.journal), turn(home):
            held = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.path.iterdir() if path.is_file()}
    finally:
        os.umask(before)
    held.pop("journal.jsonl")
    assert {"journal.jsonl.flock", "journal.jsonl.lock", "submit.flock", "submit.lock"} <= set(held)
    assert set(held.values()) == {wanted}


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "target").touch(mode=0o644)
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        open_lock(str(tmp_path / "lock"))
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o644
