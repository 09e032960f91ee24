"""A study is a folder: moved, copied, renamed or reached by a link it is the same study, and goes on."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journal.helpers import read_state
from tests.store.conftest import Sample

LOOKS = """
import os
from pathlib import Path


def train(trial):
    \"\"\"While it runs, with lease, card and claim in place: how many files of the study hold an absolute path.\"\"\"
    study = trial.dir.parents[4]
    names = {path.relative_to(study).parts[0] for path in study.rglob("*")}
    assert {"journal.jsonl", "workers", "trials", "submissions.jsonl", "sweep.1.json"} <= names, names
    assert len(list((study / "workers").iterdir())) == 2
    here = os.fsencode(Path.cwd())
    print(*[path for path in study.rglob("*") if path.is_file() and here in path.read_bytes()])
    return {"loss": trial.params["x"], "holding": sum(here in p.read_bytes() for p in study.rglob("*") if p.is_file())}
"""


def moved(study: Path) -> Path:
    return study.rename(study.parent.parent / "elsewhere")


def copied(study: Path) -> Path:
    """By other means than ours, and the original is gone: whatever still leads there does not work."""
    copy = shutil.copytree(study, study.parent.parent / "backup" / "sample")
    shutil.rmtree(study)
    return copy


def linked(study: Path) -> Path:
    link = study.parent.parent / "link"
    link.symlink_to(moved(study), target_is_directory=True)
    return link


def renamed(study: Path) -> Path:
    """Blanks, letters of other alphabets, and what shells and globs take for something else."""
    place = study.parent.parent / "eigene Läufe (2)"
    place.mkdir()
    return study.rename(place / "größte Studie – 測試 [a*] $x 'y'")


@pytest.mark.parametrize("move", [moved, copied, linked, renamed])
def test_a_study_elsewhere_opens_and_goes_on(sample: Sample, move: Callable[[Path], Path]) -> None:
    study = move(sample.home.path)
    assert not sample.home.path.exists()
    assert "4 of 9 finished" in sample.run("status", study).out
    assert sample.run("logs", study, "A4").out == "attempt 2 from epoch 2\n"
    worker = sample.run("worker", study)
    assert worker.code == 0, worker.err
    state = read_state(study / "journal.jsonl")
    assert (state.counts().finished, state.counts().running) == (9, 0)
    assert sample.run("logs", study, "A7").out == "attempt 2 from epoch 2\n"  # from the checkpoint in the new place
    rows = list(csv.DictReader(io.StringIO(sample.run("collect", study, "--format", "csv").out)))
    assert [row["name"] for row in rows][:7] == ["A1", "A2", "A3", "A4", "A5", "A6", "A7"]
    assert not sample.home.path.exists()


def test_a_moved_logs_directory_is_submitted_to(sample: Sample) -> None:
    root = sample.home.path.parent.rename(sample.project / "eigene Läufe (2)")
    done = sample.run("submit", "sweep.toml", "--local", "--root", root, "--trials", "10", "--wait")
    assert "sample: 10 of 10 trials finished" in done.err
    assert "sample" in sample.run("list", "--root", root).out
    assert not sample.home.path.exists()


def test_nothing_in_a_study_holds_an_absolute_path(sample: Sample) -> None:
    """Neither while a trial runs nor after; what workers said and users printed is theirs."""
    (sample.project / "objective.py").write_text(LOOKS)
    shutil.rmtree(sample.home.path)
    text = (sample.project / "sweep.toml").read_text()
    head, _, _ = text.partition("[[trial]]")
    (sample.project / "sweep.toml").write_text(head.replace("epochs = 3", "epochs = [3, 4]"))
    done = sample.run("submit", "sweep.toml", "--local", "--root", "logs", "--trials", "2", "--wait")
    assert done.code == 0, done.err
    assert [trial.user_attrs["holding"] for trial in read_state(sample.home.journal).trials] == [0, 0], "\n".join(
        sample.run("logs", "sample", str(number)).out for number in (0, 1)
    )
    here = os.fsencode(sample.project)
    holding = [path for path in sample.home.path.rglob("*") if path.is_file() and here in path.read_bytes()]
    assert holding == []
