"""Several real users at one logs directory: numeric ids are enough, nobody has to be in the system's tables."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest

from tests import forked
from tests.conftest import REPOSITORY

LAB = 31001
"""the group that alice and bob are in"""
TOYS = Path(__file__).with_name("toys.py")
PATIENCE_S = 60.0
Before: TypeAlias = tuple[str, ...]
PYTHON_ENV = {
    "PATH": os.defpath,
    "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{sysconfig.get_path('purelib')}",
    "PYTHONDONTWRITEBYTECODE": "1",
}
SWEEP = """
[study]
name = "toy"
metric = "score"
direction = "minimize"
trials = 2
{study}

[objective]
{objective}

[space]
x = {{ low = 0.0, high = 1.0 }}

[sampler]
name = "random"

[job]
template = "local"
workers = 1
{more}
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    out: str
    err: str


@dataclass(kw_only=True)
class Person:
    """A user of the machine: runs programs under their own ids and umask, in a folder of their own."""

    uid: int
    groups: tuple[int, ...]
    umask: int
    home: Path
    root: Path
    python: str
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *argv: object, before: Before = ()) -> subprocess.Popen[str]:
        """``hpo-batch`` with these arguments; ``before`` is what calls it."""
        words = [str(word) for word in argv]
        env = {
            **forked.AT_START,
            **PYTHON_ENV,
            "HPO_BATCH_ROOT": "" if self.root == Path() else str(self.root),
            "HOME": "/nonexistent",
            "OMP_NUM_THREADS": "1",
        }
        common = {
            "cwd": self.home, "env": env, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE, "text": True, "umask": self.umask,
        }  # fmt: skip
        if not before:
            common |= {"user": self.uid, "group": self.uid, "extra_groups": self.groups}
        if not before and forked.can_start(env):
            process: subprocess.Popen[str] = forked.Forked(words, executable=self.python, **common)
        else:
            process = subprocess.Popen([*before, self.python, "-B", "-m", "hpo_batch", *words], **common)
        self.started.append(process)
        return process

    def run(self, *argv: object, before: Before = ()) -> Ended:
        process = self.start(*argv, before=before)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err
        return Ended(code=process.returncode, out=out, err=err)

    def writes(self, name: str, text: str) -> Path:
        """A file of theirs in their folder."""
        path = self.home / name
        path.write_text(text)
        os.chown(path, self.uid, self.uid)
        return path

    def sweep(
        self, *, function: str = "quick", objective: str = "", study: str = "shared = true", more: str = ""
    ) -> Path:
        what = objective or f'function = "toys:{function}"'
        return self.writes("sweep.toml", SWEEP.format(study=study, objective=what, more=more))


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's."""
    if os.geteuid() != 0:
        pytest.skip("takes on other users, which only root can")
    folder = Path(tempfile.mkdtemp(prefix="hpo-batch-users-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def everybodys_python() -> str:
    """A Python that other users may run: ours, or else the system's of the same version, if ours lies in a home."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        with contextlib.suppress(OSError):
            # through a shell: at its first exec the process has root's capabilities still
            words = ["sh", "-c", 'exec "$0" -B -c "import hpo_batch.cli.submit, optuna, pandas, pydantic"', python]
            done = subprocess.run(words, env=PYTHON_ENV, cwd="/", user=65534, group=65534, extra_groups=[], check=False)
            if done.returncode == 0:
                return python
    pytest.skip("there is no Python with this project's packages that other users may run")


@pytest.fixture
def person(place: Path, everybodys_python: str) -> Iterator[Callable[..., Person]]:
    """Make a user; the logs directory belongs to root and LAB, with setgid, as a project's directory often does."""
    root = place / "logs"
    root.mkdir()
    os.chown(root, 0, LAB)
    root.chmod(0o2775)
    people: list[Person] = []

    def new_person(
        name: str, *, groups: tuple[int, ...] = (LAB,), umask: int = 0o022, uid: int | None = None
    ) -> Person:
        home = place / name
        home.mkdir()
        shutil.copy(TOYS, home / "toys.py")
        uid = 21001 + len(people) if uid is None else uid
        os.chown(home, uid, uid)
        people.append(Person(uid=uid, groups=groups, umask=umask, home=home, root=root, python=everybodys_python))
        return people[-1]

    yield new_person
    for process in [process for one in people for process in one.started]:
        if process.poll() is None:
            process.kill()
        process.communicate()
    for command in Path("/proc").glob("[0-9]*/cmdline"):  # local workers outlive who submitted them
        with contextlib.suppress(OSError):
            if os.fsencode(root) in command.read_bytes():
                os.kill(int(command.parent.name), signal.SIGKILL)


@pytest.fixture
def hidden() -> Iterator[Callable[[Person], Before]]:
    """Words before a command that run it as a user where ``/proc`` shows nobody the processes of others."""
    make = "mount -t proc -o hidepid=2 proc /proc && echo made && while sleep 0.1; do :; done"  # a shell reaps orphans
    words = ["unshare", "-mp", "--fork", "--kill-child", "sh", "-c", make]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "made\n":
            pytest.skip("no namespaces of processes and mounts can be made here")
        (inside,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()

        def words_before(person: Person) -> Before:
            groups = ",".join(str(group) for group in person.groups)
            return (
                "nsenter", f"--target={inside}", "--mount", "--pid", f"--wd={person.home}",
                "setpriv", f"--reuid={person.uid}", f"--regid={person.uid}", f"--groups={groups}",
                "sh", "-c", 'exec "$0" "$@"',  # at its first exec the process has root's capabilities still
            )  # fmt: skip

        yield words_before
    finally:
        holder.kill()
        holder.communicate()


def modes(folder: Path) -> set[tuple[str, int, int]]:
    """Kind, mode and group of everything in a folder, itself included."""
    found = set()
    for path in (folder, *folder.rglob("*")):
        facts = path.lstat()
        kind = "folder" if stat.S_ISDIR(facts.st_mode) else "file"
        found.add((kind, stat.S_IMODE(facts.st_mode), facts.st_gid))
    return found


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
