"""A submission that SLURM refuses takes back what it has made, and nothing that was there before."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from hpo_batch.errors import SlurmRefused, StorageError
from hpo_batch.launch.carry_out import carry_out
from hpo_batch.launch.rollback import look_before, remove_unused
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.create import create
from tests.launch.test_submit import a_plan
from tests.launch.test_submit import slurm as slurm


def everything(folder: Path) -> dict[str, object]:
    """Kind, mode and content of all that lies in a folder."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        what = str(path.readlink()) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(mode) else None
        found[str(path.relative_to(folder))] = (mode, what)
    return found


def project(folder: Path) -> None:
    """A directory of somebody's own work that happens to be called like the study."""
    files = (
        "code/train.py", ".git/config", ".env", ".gitignore", "slurm/notes.txt", "slurm/old_log.err", "workers/mine/x",
        "trials/mine", "local/0.log", "sweep.toml", "sweep.ini", "sweep.1.json", "imported.1.jsonl", "code/0.diff",
        "submissions.jsonl", "submit.sh", "journal.jsonl.bak", "workers.txt", "CANCELLED.txt",
    )  # fmt: skip
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"of the user: {name}\n")
        path.chmod(0o640)


def test_what_was_there_before_stays(slurm, root: Path) -> None:
    slurm(room=0, words="sbatch: error: Invalid account")
    project(root / "quickstart")
    before = everything(root)
    with pytest.raises(SlurmRefused):
        carry_out(a_plan(root), toml="of the sweep", environ=os.environ)
    assert everything(root) == before


def test_links_are_not_followed(slurm, root: Path, tmp_path: Path) -> None:
    slurm(room=0, words="sbatch: error: Invalid account")
    outside = tmp_path / "outside"
    for name in ("toml", "slurm/notes", "code/train.py"):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_text("outside")
    study = root / "quickstart"
    study.mkdir()
    (study / "sweep.toml").symlink_to(outside / "toml")
    (study / "sweep.1.json").symlink_to(outside / "not there")
    (study / "slurm").symlink_to(outside / "slurm")
    (study / "code").symlink_to(outside / "code")
    before = everything(root), everything(outside)
    with pytest.raises(SlurmRefused):
        carry_out(a_plan(root), toml="of the sweep", environ=os.environ)
    assert everything(outside) == before[1]
    assert everything(root) == before[0]


def test_what_somebody_puts_there_in_the_meantime_stays(root: Path) -> None:
    made = a_plan(root)
    before = look_before(made.home)
    create(made.home, made.sweep, toml="", now=1.0)
    (made.home.path / "notes.txt").write_text("a colleague's")
    (made.home.slurm / "notes.txt").write_text("a colleague's")
    assert remove_unused(made.home, "0123456789ab", before=before)
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert left == {"quickstart/notes.txt", "quickstart/slurm/notes.txt"}


def test_empty_folders_that_were_there_stay(slurm, root: Path) -> None:
    slurm(room=0, words="sbatch: error: Invalid account")
    (root / "a" / "b").mkdir(parents=True)
    with pytest.raises(SlurmRefused):
        carry_out(replace(a_plan(root), home=StudyHome(path=root / "a" / "b", name="a/b")), toml="", environ=os.environ)
    assert {str(path.relative_to(root)) for path in root.rglob("*")} == {"a", "a/b"}


@pytest.mark.parametrize("kind", ["fifo", "folder", "large"])
def test_a_file_that_could_not_be_put_back_is_in_the_way(root: Path, kind: str) -> None:
    path = root / "quickstart" / "sweep.toml"
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        os.truncate(path, 1 << 30)
    with pytest.raises(StorageError, match="in the way"):
        carry_out(a_plan(root), toml="", environ=os.environ)
    assert not home_of(root, "quickstart").exists
