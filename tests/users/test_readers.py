"""Reading commands need no write permission: no lock, no repair, no cache, no temporary file in the study."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.users.conftest import Person

People = Callable[..., Person]
HALF = b'{"op_code":8,"worker_id":"hpo-batch-w","trial_id":0,"user_attr":{"half":'


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the logs directory of the first ``owner`` is kept for the next ones."""
    return tmp_path_factory.mktemp("first") / "logs"


@pytest.fixture
def owner(person: People, first: Path) -> Person:
    """Root, with a study of three trials, one failed and one pruned by nobody: files 0644, directories 0755."""
    root = person("owner", groups=(), uid=0)
    root.root.chmod(0o755)
    sweep = root.sweep(function="fails_first", study="").read_text().replace("trials = 2", "trials = 3")
    path = root.writes("sweep.toml", sweep)
    if first.exists():
        shutil.copytree(first, root.root, dirs_exist_ok=True)
        return root
    ended = root.run("submit", path, "--wait")
    assert "3 of 3 trials finished (1 failed)" in ended.err, ended.err
    shutil.copytree(root.root, first)
    return root


@pytest.fixture
def read_only(owner: Person, place: Path) -> Iterator[Path]:
    """The logs directory once more, on a mount that nobody may write to, root included."""
    folder = place / "mounted"
    folder.mkdir()
    done = subprocess.run(["mount", "-o", "bind,ro", owner.root, folder], check=False, stderr=subprocess.PIPE)
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr!r}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def picture(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All of a folder: names, modes, times, contents."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (facts.st_mode, facts.st_mtime_ns, facts.st_ino, content)
    return found


def read_everything(reader: Person) -> None:
    """Every command that only reads, and what it must say of the study of ``owner``."""
    assert "3 of 3 finished: 3 complete, 1 failed" in reader.run("status", "toy").out
    (told,) = json.loads(reader.run("status", "toy", "--json").out)
    assert (told["trials"]["complete"], told["failures"], told["workers"]) == (3, {"exception": 1}, [])
    assert "3 of 3" in reader.run("list").out
    failed = reader.run("logs", "toy", "0")
    assert (failed.code, "the first fails" in failed.out) == (0, True)
    assert reader.run("logs", "toy", "1", "-f").code == 0
    assert "no such luck" in reader.run("explain", "toy", "0").out
    assert reader.run("logs", "toy", "0", "--worker").code == 0
    rows = list(csv.DictReader(io.StringIO(reader.run("collect", "toy", "--format", "csv").out)))
    assert [row["state"] for row in rows] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert reader.run("collect", "toy", "-o", reader.home / "own.json").code == 0
    assert len(json.loads((reader.home / "own.json").read_text())) == 4
    sweep = reader.sweep(function="fails_first", study="")
    assert reader.run("check", sweep).code == 0
    plan = reader.run("submit", sweep, "--trials", 9, "--dry-run")
    assert (plan.code, "6 trials to finish" in plan.out) == (0, True), plan.err


def refuse_to_write(reader: Person, *, because: str = "no permission to write") -> None:
    sweep = reader.sweep(function="fails_first", study="")
    for argv, words in [
        (("submit", sweep, "--trials", 9), f"{because} to '{reader.root / 'toy'}'"),
        (("worker", "toy"), f"cannot write a lease in '{reader.root / 'toy' / 'workers'}': "),
        (("collect", "toy", "-o", reader.root / "all.csv"), f"cannot write '{reader.root / 'all.csv'}': "),
    ]:  # fmt: skip
        ended = reader.run(*argv)
        assert ended.code == 4, (argv, ended.err)
        assert f"error: {words}" in ended.err


@pytest.mark.parametrize("tail", [b"", HALF], ids=["whole", "torn"])
def test_a_colleague_reads_and_changes_nothing(owner: Person, person: People, tail: bytes) -> None:
    with (owner.root / "toy" / "journal.jsonl").open("ab") as file:
        file.write(tail)
    before = picture(owner.root)
    bob = person("bob", groups=())
    read_everything(bob)
    refuse_to_write(bob)
    assert picture(owner.root) == before


@pytest.mark.parametrize("uid", [None, 0], ids=["colleague", "root"])
def test_a_read_only_file_system(owner: Person, person: People, read_only: Path, uid: int | None) -> None:
    with (owner.root / "toy" / "journal.jsonl").open("ab") as file:
        file.write(HALF)
    before = picture(owner.root)
    reader = person("reader", groups=(), uid=uid)
    reader.root = read_only
    read_everything(reader)
    refuse_to_write(reader, because="cannot write" if uid == 0 else "no permission to write")
    assert picture(owner.root) == before


def test_while_a_line_is_being_written(owner: Person, person: People) -> None:
    """The line comes in two writes, with a look between them: told when it is whole, and not before."""
    bob = person("bob", groups=())

    def shown() -> object:
        (row,) = json.loads(bob.run("collect", "toy", "--filter", "number == 1", "--format", "json").out)
        return row.get("user_attrs_late")

    lines = (owner.root / "toy" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    end = next(i for i, line in enumerate(lines) if b'"op_code":6,' in line and b'"trial_id":1,' in line)
    late = b'{"op_code":8,"worker_id":"hpo-batch-w","trial_id":1,"user_attr":{"late":2.5}}\n'
    with (owner.root / "toy" / "journal.jsonl").open("wb", buffering=0) as file:
        file.write(b"".join(lines[:end]) + late[:40])
        assert shown() is None
        file.write(late[40:])
        assert shown() == 2.5


@pytest.mark.parametrize("name", ["toy", "."], ids=["study", "logs directory"])
def test_a_directory_that_may_not_be_entered(owner: Person, person: People, name: str) -> None:
    bob = person("bob", groups=())
    closed = (owner.root / name).resolve()
    closed.chmod(0o700)
    told = f"error: no permission to look into '{closed}' (owner root, group "
    for argv in [
        ("status", "toy"), ("status", owner.root / "toy", "--json"), ("logs", "toy", "0"), ("collect", "toy"),
        ("collect", owner.root / "toy"), ("worker", "toy"), ("submit", bob.sweep(), "-n"), ("submit", bob.sweep()),
    ]:  # fmt: skip
        ended = bob.run(*argv)
        assert (ended.code, ended.err.startswith(told)) == (4, True), (argv, ended.err)
    ended = bob.run("list")
    if name == ".":
        assert (ended.code, told in ended.err) == (4, True)
        assert (bob.run("status").code, bob.run("collect").code) == (4, 4)
    else:
        assert (ended.code, ended.err.splitlines()[-1]) == (0, "no permission to look into toy")
    assert bob.run("check", bob.sweep()).code == 0


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("journal.jsonl", ("status", "toy")),
        ("journal.jsonl", ("collect", "toy")),
        ("submissions.jsonl", ("status", "toy")),
        ("sweep.1.json", ("worker", "toy")),
        ("trials/0000/0000/attempts/1/stdout", ("logs", "toy", "0")),
        ("trials/0000/0000/attempts/1", ("logs", "toy", "0")),
        ("trials", ("logs", "toy", "0")),
    ],
)
def test_a_file_that_may_not_be_read(owner: Person, person: People, name: str, argv: tuple[str, ...]) -> None:
    (owner.root / "toy" / name).chmod(0)
    ended = person("bob", groups=()).run(*argv)
    assert ended.code == 4, ended.err
    assert str(owner.root / "toy" / name) in ended.err.splitlines()[-1]


def test_a_working_directory_that_may_not_be_entered(owner: Person, person: People) -> None:
    bob = person("bob", groups=())
    bob.home.chmod(0)
    os.chown(bob.home, 0, 0)
    assert "3 of 3 finished" in bob.run("status", "toy").out
    assert "3 of 3 finished" in bob.run("status", owner.root / "toy", "--root", bob.home / "none").out
    bob.root = Path()  # none is set: the nearest 'logs' upwards is looked for
    assert (bob.run("status").code, bob.run("status", owner.root / "toy").code) == (0, 0)
