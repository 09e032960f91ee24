"""What lies where commands look that act: markers, locks, a former report. It may be anything, and lead anywhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.doctor.locks_and_disk import check_locks
from hpo_batch.doctor.reading import read_subject
from hpo_batch.errors import StorageError
from hpo_batch.journal import locks
from hpo_batch.journal.locks import journal_lock
from hpo_batch.launch.rollback import put_back, take_markers
from hpo_batch.store.home import Marker, home_of
from hpo_batch.store.leases import LeaseWatch, refreshed_lately, remove_left_over
from tests.security.test_bad_studies import BUG, hurried, made, root  # noqa: F401
from tests.security.test_second_hand import SPOILT, Spoil
from tests.users.conftest import Person


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(path.parent)  # such names are short
        one.bind(path.name)
        os.chdir(here)


PLANTED: dict[str, Spoil] = {
    **SPOILT,
    "socket": _socket,
    "link to itself": lambda path: path.symlink_to(path.name),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to a folder": lambda path: path.symlink_to(path.parent),
}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("name", Marker)
@pytest.mark.parametrize("kind", PLANTED)
def test_a_marker_is_taken_whatever_it_is(root: Path, name: str, kind: str, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """``resume`` waited for a pipe, read /dev/zero until memory was out, and took a folder for a bug of ours."""
    home = home_of(root, "bad")
    (root.parent / "toys.py").write_text("def quick(trial):\n    return 1.0\n")  # beside it, as when it was submitted
    PLANTED[kind](home.marker(name))
    assert home.markers() == (name,)
    for argv in (["status", "bad"], ["cancel", "bad", "-y"], ["resume", "bad"]):
        code = run([*argv, "--root", str(root)])
        told = capfd.readouterr()
        assert code < BUG, (argv, told.err)
        assert "root:x:0" not in told.out + told.err
    if kind == "folder":
        assert f"cannot remove '{home.marker(name)}'" in told.err
        return
    assert home.markers() == (), told.err
    put_back(home, {name: "as it was"})
    assert take_markers(home) == {name: "as it was"}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("kind", PLANTED)
def test_a_lock_that_is_none_is_broken(root: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """A pipe held up every writer for good; what nobody refreshes is removed after Optuna's own time of grace."""
    monkeypatch.setattr(locks, "FOREIGN_GRACE_S", 0.2)
    home = home_of(root, "bad")
    PLANTED[kind](Path(f"{home.journal}.lock"))
    assert len(list(check_locks(read_subject(home)))) >= 2
    if kind == "folder":
        with pytest.raises(StorageError, match="cannot lock"), journal_lock(home.journal, timeout_s=5.0):
            pass
        return
    for _ in range(2):
        with journal_lock(home.journal, timeout_s=5.0) as is_held:
            assert is_held()
    assert not os.path.lexists(f"{home.journal}.lock")


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("kind", PLANTED)
def test_a_lease_that_is_none_is_nobodys(root: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    """A pipe among the leases: every ``resume`` and ``rm`` of the study waited for it, for good."""
    home = home_of(root, "bad")
    PLANTED[kind](home.workers / "x.lease")
    assert len(refreshed_lately(home.workers, duration_s=60.0)) <= 1
    remove_left_over(home.workers, duration_s=60.0)
    watch = LeaseWatch(home.workers, duration_s=60.0)
    assert not watch.is_dead({"worker": "x", "host": "elsewhere"})
    assert run(["rm", "bad", "--root", str(root)]) < BUG, capfd.readouterr().err


@pytest.mark.usefixtures("hurried")
def test_doctor_locks_no_file_that_a_link_leads_to(root: Path, tmp_path: Path) -> None:  # noqa: F811
    home, own = home_of(root, "bad"), tmp_path / "own"
    own.write_text("1")
    flock = home.path / "journal.jsonl.flock"
    flock.unlink()
    flock.symlink_to(own)
    before = own.stat()
    assert next(check_locks(read_subject(home))).what == "none is held"
    assert own.stat() == before


@pytest.fixture
def thesis(tmp_path: Path) -> Path:
    folder = tmp_path / "thesis" / "figures"
    folder.mkdir(parents=True)
    for name in ("importance.svg", "mine.svg"):
        (folder / name).write_text("drawn by hand")
    return folder


@pytest.mark.parametrize("place", ["report", "report/figures", "report/report.md", "report/figures/importance.svg"])
def test_a_report_follows_no_link_of_the_study(
    root: Path,  # noqa: F811
    thesis: Path,
    place: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A study that was copied from a stranger: its ``report/figures`` led to pictures of one's own, which went."""
    study = root / "bad"
    assert run(["report", "bad", "--root", str(root)]) == 0
    assert (study / "report" / "figures").is_dir()
    (study / "report" / "figures" / "importance.svg").touch()
    (study / place).rename(study / "aside")
    target = {"report": thesis.parent, "report/figures": thesis}.get(place, thesis / "mine.svg")
    (study / place).symlink_to(target)
    (thesis.parent / "report.json").write_text("{}")  # as one of an earlier report
    before = {path: path.read_bytes() for path in thesis.parent.rglob("*") if path.is_file()}
    capfd.readouterr()
    code = run(["report", "bad", "--root", str(root)])
    told = capfd.readouterr().err
    assert {path: path.read_bytes() for path in thesis.parent.rglob("*") if path.is_file()} == before
    if place in ("report", "report/figures"):
        assert (code, "-o takes" in told) == (2 if place == "report" else 4, True), told
        assert run(["report", "bad", "--root", str(root), "-o", str(root / "elsewhere")]) == 0
    else:
        assert code == 0, told
        assert not (study / place).is_symlink()
    # one's own link, which was named, is a choice
    chosen = root / "chosen"
    (root / "target").mkdir()
    chosen.symlink_to(root / "target")
    assert run(["report", "bad", "--root", str(root), "-o", str(chosen)]) == 0
    assert (root / "target" / "report.html").exists()


@pytest.mark.parametrize("where", ["CANCELLED", "journal.jsonl", "workers", "local", "trials"])
def test_a_link_to_where_one_may_not_look(person: Callable[..., Person], where: str, place_of_root: Path) -> None:
    """Python's ``exists`` raises then: each command that looked was a bug of ours, and a worker ended."""
    alice = person("alice")
    assert alice.run("submit", alice.sweep(study=""), "--wait").code == 0
    path = alice.root / "toy" / where
    if path.is_dir():
        path.rename(path.with_name("aside"))
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(place_of_root / "file")
    for argv in (
        ("status", "toy"), ("logs", "toy", "0", "--worker"), ("doctor", "toy", "--rebuild"), ("cancel", "toy", "-y"),
        ("worker", "toy"), ("resume", "toy"),
    ):  # fmt: skip
        done = alice.run(*argv)
        assert done.code < BUG, (argv, done.err)
        assert "secret" not in done.out + done.err


@pytest.fixture
def place_of_root(place: Path) -> Path:
    folder = place / "of root"
    folder.mkdir()
    (folder / "file").write_text("secret")
    folder.chmod(0o700)
    return folder


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("kind", PLANTED)
@pytest.mark.parametrize("of", ["trial", "worker"])
def test_logs_print_what_lies_there_and_no_more(
    root: Path,  # noqa: F811
    kind: str,
    of: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A link to a private file, in what is then sent to whoever helps; and 4 TB of nothing, read at once."""
    home = home_of(root, "bad")
    path = home.attempt(0, 1) / "stdout" if of == "trial" else next((home.path / "local").glob("*_0.log"))
    path.unlink(missing_ok=True)
    if kind == "huge":
        with path.open("wb") as file:
            for _ in range(3):
                file.write(b"\x1b[1mline\r\n" * 300_000)
    else:
        PLANTED[kind](path)
    for argv in (["logs", "bad", "0"], ["logs", "bad", "0", "--worker"], ["explain", "bad", "0"]):
        code = run([*argv, "--root", str(root)])
        told = capfd.readouterr()
        assert code < BUG, (argv, told.err)
        assert "root:x:0" not in told.out + told.err
        if kind == "huge" and argv == (["logs", "bad", "0"] if of == "trial" else ["logs", "bad", "0", "--worker"]):
            assert told.out == "line\n" * 900_000
