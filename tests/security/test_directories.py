"""What is run lies in directories of this user, or in those that were named."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpo_batch.store.home import who_may_replace, why_not_trusted
from tests.users.conftest import LAB, Person, until

People = Callable[..., Person]


def without_root(person: Person) -> Person:
    """The same user, who has not said where studies lie."""
    return replace(person, root=Path())


def trap(mallory: Person, folder: Path, mark: Path) -> None:
    """A study of mallory's in ``folder``/logs with trials left; its command leaves a mark of whoever runs it."""
    mallory.root = folder / "logs"
    mallory.root.mkdir()
    os.chown(mallory.root, mallory.uid, mallory.uid)
    text = f"id -u >> {mark}\n[ $(id -u) = {mallory.uid} ] && sleep 60\necho RESULT: 1.0\n"
    objective = f'command = "sh {mallory.writes("run.sh", text)} {{x}}"'
    done = mallory.run("submit", mallory.sweep(study="", objective=objective))
    assert done.code == 0, done.err
    until(mark.exists)
    assert mallory.run("cancel", "toy", "-y").code == 0
    for path, _, files in os.walk(mallory.root):
        os.chmod(path, 0o777)  # noqa: PTH101
        for name in files:
            os.chmod(Path(path, name), 0o666)  # noqa: PTH101


@pytest.fixture
def trapped(person: People, place: Path) -> tuple[Person, Person, Path, Path]:
    """alice, mallory, a directory of everybody's with mallory's study below, what its command would write."""
    everybodys = place / "tmp"
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    alice, mallory = person("alice"), person("mallory", groups=(31002,))
    mark = everybodys / "mark"
    trap(mallory, everybodys, mark)
    mark.unlink()
    return alice, mallory, everybodys, mark


def test_a_planted_logs_directory_runs_nothing(trapped: tuple[Person, Person, Path, Path]) -> None:
    alice, mallory, everybodys, mark = trapped
    below = everybodys / "alice"
    below.mkdir()
    os.chown(below, alice.uid, alice.uid)
    here = replace(without_root(alice), home=below)
    sweep = alice.sweep(study="", function="quick")
    commands = (("resume",), ("resume", "toy"), ("resume", sweep), ("submit", sweep), ("worker", "toy"))
    for argv in commands:
        done = here.run(*argv)
        assert done.code == 2, (argv, done.err)
        assert f"belongs to {mallory.uid}" in done.err
        assert f"--root {mallory.root}" in done.err
    assert not mark.exists()
    for argv in (("list",), ("status", "toy"), ("collect", "toy")):  # looking is not refused
        assert here.run(*argv).code in (0, 1), argv
    # said to be meant, it runs
    done = here.run("resume", "toy", "--root", mallory.root, "--wait")
    assert mark.read_text().split()[0] == str(alice.uid), done.err


def test_a_study_in_the_working_directory_that_is_somebody_elses(trapped: tuple[Person, Person, Path, Path]) -> None:
    """A name means the directory of that name here, first: whoever it belongs to."""
    alice, mallory, everybodys, mark = trapped
    shutil.move(mallory.root / "toy", everybodys / "toy")
    here = replace(alice, home=everybodys)
    for argv in (("resume", "toy"), ("worker", "toy")):
        done = here.run(*argv)
        assert done.code == 2, (argv, done.err)
        assert f"belongs to {mallory.uid}" in done.err
    assert not mark.exists()


def test_a_bare_resume_runs_nobody_elses_study(trapped: tuple[Person, Person, Path, Path]) -> None:
    """The logs directory was named, but not the only study with trials left in it."""
    alice, mallory, _, mark = trapped
    shutil.move(mallory.root / "toy", alice.root / "toy")
    done = alice.run("resume")
    assert done.code == 2, done.err
    assert f"belongs to {mallory.uid}" in done.err
    assert not mark.exists()


@pytest.mark.parametrize(
    ("mode", "gid", "trusted", "who"),
    [
        (0o755, 0, True, None), (0o775, LAB, True, f"group {LAB}"), (0o1775, LAB, True, None),
        (0o2775, LAB, True, f"group {LAB}"), (0o777, 0, False, "everybody"), (0o1777, 0, True, None),
        (0o775, 0, True, None),
    ],
)  # fmt: skip
def test_who_may_replace_studies(place: Path, mode: int, gid: int, trusted: bool, who: str | None) -> None:
    folder = place / "logs"
    folder.mkdir()
    os.chown(folder, -1, gid)
    folder.chmod(mode)
    assert (why_not_trusted(folder) is None) is trusted
    assert who_may_replace(folder) == who
    os.chown(folder, 21009, gid)
    assert "belongs to 21009" in str(why_not_trusted(folder))


def test_check_and_submit_say_what_sharing_means(person: People) -> None:
    alice = person("alice")
    for argv in (("check", alice.sweep()), ("submit", alice.sweep(), "--wait")):
        done = alice.run(*argv)
        assert done.code == 0, done.err
        assert f"members of {LAB} can change what its workers run, and so run code as you" in done.out + done.err
        assert f"chmod +t {alice.root}" in done.out + done.err
    alice.root.chmod(0o3775)
    done = alice.run("check", alice.sweep(study=""))
    assert "run code as you" not in done.out + done.err


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755])
def test_a_colleague_goes_on_with_a_study_from_a_closed_home(person: People, mode: int) -> None:
    """Its workers ran in a home that is the owner's alone, or in a directory of it."""
    alice, bob = person("alice"), person("bob")
    work = alice.home / "work"
    work.mkdir(mode=0o755)
    shutil.copy(alice.home / "toys.py", work)
    for path in (work, work / "toys.py"):
        os.chown(path, alice.uid, alice.uid)
    alice.home.chmod(mode)
    if mode == 0o755:
        work.chmod(0o700)
    elif mode == 0o711:
        work.chmod(0o744)
    done = replace(alice, home=work).run("submit", alice.sweep(), "--wait")
    assert done.code == 0, done.err
    assert stat.S_IMODE(alice.home.stat().st_mode) == mode
    for argv in (
        ("status", "toy"), ("logs", "toy", "0"), ("collect", "toy"), ("report", "toy", "-o", bob.home / "report"),
        ("explain", "toy", "0"), ("doctor", "toy"), ("list",), ("check", bob.sweep()), ("resume", "toy", "-n"),
        ("retry", "toy", "0"), ("resume", "toy", "--set", "study.trials=4", "--wait"), ("cancel", "toy", "-y"),
        ("submit", bob.sweep(), "--trials", 5, "--wait"),
    ):  # fmt: skip
        done = bob.run(*argv)
        assert done.code in (0, 1, 2), (argv, done.err)
        assert "bug in hpo-batch" not in done.err
        if argv[0] == "resume":
            assert done.code == 0, done.err
            assert f"{work}, where the workers of toy ran, " in done.err
            assert "using this directory instead" in done.err
    assert "5 of 5 finished" in alice.run("status", "toy").out


def test_a_colleague_goes_on_with_a_command_in_a_closed_home(person: People) -> None:
    """The program, and the Python of the workers, lie where only their owner may look."""
    alice, bob = person("alice"), person("bob")
    script = alice.writes("train.sh", "echo RESULT: 1.0\n")
    objective = f'command = "sh {script} {{x}}"'
    assert alice.run("submit", alice.sweep(objective=objective), "--wait").code == 0
    alice.home.chmod(0o700)
    python = f"job.python='{alice.home}/venv/bin/python'"
    for argv in (
        ("check", bob.sweep(objective=objective)), ("doctor", "toy"), ("status", "toy"), ("explain", "toy", "0"),
        ("resume", "toy", "--set", "study.trials=4", "-n"), ("resume", "toy", "--set", "study.trials=4", "--wait"),
        ("resume", "toy", "--set", python, "--set", "study.trials=6"),
        ("submit", bob.sweep(objective='function = "toys:quick"'), "--set", python, "--trials", 6), ("cancel", "toy"),
    ):  # fmt: skip
        done = bob.run(*argv)
        assert done.code in (0, 1, 2, 3, 4), (argv, done.err)
        assert "bug in hpo-batch" not in done.err, (argv, done.err)


def test_a_planted_job_template_runs_nothing(person: People, place: Path) -> None:
    """Those of the working directory come before ours of the same name."""
    alice, mallory = person("alice"), person("mallory", groups=(31002,))
    everybodys, mark = place / "tmp", place / "mark"
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    (everybodys / "job_templates").mkdir()
    (everybodys / "run.sh").write_text(f"id -u > {mark}\n")
    template = everybodys / "job_templates" / "local.toml"
    template.write_text(f'scheduler = "local"\nworkers = 1\npython = "sh {everybodys}/run.sh"\n')
    for path in (template.parent, template, everybodys / "run.sh"):
        os.chown(path, mallory.uid, mallory.uid)
    shutil.copy(alice.home / "toys.py", everybodys)
    here = replace(alice, home=everybodys)
    sweep = alice.sweep(study="")
    for argv in (("check", sweep), ("submit", sweep, "-n"), ("submit", sweep, "--wait")):
        done = here.run(*argv)
        assert done.code == 2, (argv, done.err)
        assert f"job template '{template}' belongs to another user" in done.err
    assert not mark.exists()
    os.chown(template, alice.uid, alice.uid)  # a link, or moved there: the directory is mallory's still
    assert here.run("check", sweep).code == 2
    assert alice.run("submit", sweep, "--wait").code == 0
    own = everybodys / "sweep.toml"  # beside a sweep that was named it is meant
    shutil.copy(sweep, own)
    assert "belongs to another user" not in here.run("check", own).err
