"""One shared study from its first submission to its last report, by two users of a group, beside one who is in none.

After each step the kernel is asked what each of them may read and write: it never becomes more than it was, but for
what is new in the study, which is the group's.
"""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.users.conftest import LAB, Ended, Person, until
from tests.users.test_readers import picture

People = Callable[..., Person]
OPEN_TO_ALL = 0o2770
"""no file or folder of the study has more than this"""


def reach(person: Person, *folders: Path) -> set[tuple[str, Path]]:
    """What the kernel lets a user read, or write, in these folders."""
    found = set()
    for test in ("readable", "writable"):
        done = subprocess.run(
            ["find", *folders, f"-{test}", "-print0"], user=person.uid, group=person.uid, extra_groups=person.groups,
            cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
        )  # fmt: skip
        found |= {(test, Path(path)) for path in done.stdout.split("\0") if path}
    return found


@dataclass(kw_only=True)
class Watch:
    """Compares what lies there, and who gets at it, with how it was at the look before."""

    alice: Person
    bob: Person
    carol: Person
    modes: dict[Path, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.study = self.alice.root / "toy"
        self.places = (self.alice.root, self.alice.home)
        self.home = picture(self.alice.home)
        self.carols = reach(self.carol, *self.places)
        self.bobs = reach(self.bob, *self.places)
        self.modes = self._modes()

    def _modes(self) -> dict[Path, tuple[int, int, int]]:
        found = {}
        for path in (self.alice.root, *self.alice.root.rglob("*")):
            facts = path.lstat()
            found[path] = (stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid)
        return found

    def look(self) -> None:
        """Called while no worker is there: what is renamed meanwhile would be missing."""
        before, self.modes = self.modes, self._modes()
        for path, (mode, uid, gid) in self.modes.items():
            if path in before:
                was, owner, group = before[path]
                assert (mode & ~was, gid) == (0, group), f"{path} was {was:o} and is {mode:o}"
                assert path.is_relative_to(self.study) or uid == owner
            else:
                assert path.is_relative_to(self.study), f"{path} is new"
                assert (mode & ~OPEN_TO_ALL, gid) == (0, LAB), f"{path} is {mode:o}"
                assert uid in (self.alice.uid, self.bob.uid)
        assert picture(self.alice.home) == self.home
        assert reach(self.carol, *self.places) == self.carols
        theirs = reach(self.bob, *self.places)
        assert {entry for entry in theirs if not entry[1].is_relative_to(self.study)} == self.bobs
        everything = {path for path in self.modes if path.is_relative_to(self.study)}
        assert {path for how, path in theirs if how == "readable"} >= everything, "the group reads all of the study"


def refused(carol: Person, study: Path, *, all_commands: bool = False) -> None:
    """Commands that take a study, by name and by its directory: to look at it, to go on with it, to end it."""
    own = carol.sweep(function="in_turns")
    every: list[tuple[object, ...]] = [
        ("status", "toy"), ("collect", study), ("resume", study), ("cancel", "toy", "-y"),
        ("status", study, "--json"), ("logs", "toy", "0"), ("logs", study, "0", "--worker"),
        ("explain", "toy", "0"), ("collect", "toy"), ("collect", study / "journal.jsonl"),
        ("report", "toy", "-o", carol.home / "report"), ("doctor", "toy"),
        ("doctor", "toy", "--rebuild"), ("retry", "toy", "0"), ("resume", "toy"), ("resume", study, "-n"),
        ("resume", own), ("worker", "toy"), ("cancel", study, "--drain", "-y"), ("rm", "toy"),
        ("submit", own), ("submit", own, "--trials", 9, "--local"), ("submit", own, "--fresh"),
        ("import", study / "journal.jsonl", "--into", own),
    ]  # fmt: skip
    for argv in every if all_commands else every[:4]:
        ended = carol.run(*argv)
        assert ended.code in (2, 4), (argv, ended.code, ended.out, ended.err)
        assert ended.out == "", argv
        assert "no such luck" not in ended.err
        assert "ermission" in ended.err or "may not" in ended.err, (argv, ended.err)
    assert not (carol.home / "report").exists()


def ran(ended: Ended) -> str:
    assert ended.code == 0, ended.err
    return ended.out


def at_work(study: Path) -> bool:
    """Whether a trial waits in its objective."""
    return any(path.name == "private" for path in study.rglob("private") if "checkpoint" in path.parts)


@pytest.mark.timeout(400)  # eighty commands, each a process that loads all that it needs
def test_a_shared_study_from_its_submission_to_its_report(person: People) -> None:
    alice, bob = person("alice", umask=0o077), person("bob", umask=0o022)
    carol = person("carol", groups=(31002,))
    study = alice.root / "toy"
    local = ("--local", "--wait")

    # what is hers alone lies in the same logs directory, and in a home that only she may enter
    hers = alice.sweep(study="")
    hers.write_text(hers.read_text().replace('"toy"', '"hers"'))
    ran(alice.run("submit", hers, *local))
    key = alice.writes(".netrc", "machine lab password secret")
    key.chmod(0o600)
    os.link(key, alice.home / "second name")
    sweep = alice.sweep(function="in_turns", study='shared = true\nkeep_checkpoints = "all"')
    sweep.write_text(sweep.read_text().replace("trials = 2", "trials = 3"))
    alice.home.chmod(0o700)
    watch = Watch(alice=alice, bob=bob, carol=carol)
    assert watch.carols == {("readable", alice.root)}
    assert {path for _, path in watch.bobs} == {alice.root}

    # alice begins: one trial fails, one ends, one waits; the others look on
    ran(alice.run("submit", sweep, "--local"))
    until(lambda: at_work(study))
    shown = ran(bob.run("status", "toy"))
    assert re.search(r"workers   1: 1 running\n.*running .*trial 2", shown), shown
    assert "the first fails" in ran(bob.run("logs", "toy", "0"))
    assert ran(bob.run("logs", "toy", "0", "--worker"))
    assert "no such luck" in ran(bob.run("explain", "toy", "0"))
    assert "1 running" in ran(bob.run("status", "toy"))
    refused(carol, study, all_commands=True)
    assert "1 running" in ran(alice.run("status", "toy"))

    ran(alice.run("cancel", "toy", "-y"))
    assert not list(study.glob("workers/*.lease"))
    assert "1 waiting" in ran(bob.run("status", "toy"))
    watch.look()

    # bob goes on: the failed one again, and the one that was stopped from where alice's process left it
    more = bob.run("retry", "toy", "0")
    assert (more.code, "trial 3 is the retry of trial 0 (exception)" in more.err) == (0, True), more.err
    watch.look()
    done = bob.run("resume", "toy", "--set", "study.trials=4", "--wait")
    assert done.code == 0, done.err
    assert f"{alice.home}, where the workers of toy ran, is not accessible to you" in done.err
    assert ran(bob.run("logs", "toy", "2")) == f"from 0600 {alice.uid}\n"
    watch.look()
    assert "trial 0 is not retried: " in bob.run("retry", "toy", "0").err
    refused(carol, study)
    watch.look()

    # what he makes of it: in his own folder, and in the study's
    rows = list(csv.DictReader(io.StringIO(ran(bob.run("collect", "toy", "--format", "csv")))))
    assert [row["state"] for row in rows].count("FAIL") == 1
    ran(bob.run("collect", "toy", "-o", bob.home / "all.csv"))
    ran(bob.run("report", "toy", "-o", bob.home / "report"))
    written = Path(ran(bob.run("report", "toy")).strip())
    assert written == study / "report" / "report.html"
    watch.look()
    ran(alice.run("report", "toy"))  # over his: the folder is the group's
    watch.look()

    # bob's worker waits in a trial, and alice ends it, whom the kernel lets signal none of his processes
    done = bob.run("resume", "toy", "--set", "study.trials=5")
    assert done.code == 0, done.err
    until(lambda: "trial 5" in alice.run("status", "toy").out and list(study.glob("trials/*/0005/**/private")))
    refused(carol, study)
    told = alice.run("cancel", "toy", "-y")
    assert told.code == 0, told.err
    # and the card of its lock, which its process removes last
    until(lambda: not [*study.glob("workers/*.lease"), *study.glob(".journal.jsonl.lock.*")])
    assert "1 waiting" in ran(bob.run("status", "toy"))
    watch.look()

    # and goes on from what he left
    done = alice.run("resume", "toy", "--set", "study.trials=5", "--wait")
    assert done.code == 0, done.err
    assert ran(alice.run("logs", "toy", "5")) == f"from 0600 {bob.uid}\n"
    assert "5 of 5 finished" in ran(bob.run("status", "toy"))
    watch.look()
    assert {path.stat().st_uid for path in study.glob("trials/*/*/attempts/*")} == {alice.uid, bob.uid}
