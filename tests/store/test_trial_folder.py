"""The folder of an attempt: its claim, its result, and the checkpoint that is handed on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.errors import StorageError
from hpo_batch.records import Claim, Complete, Configuration, Failed, Pruned, Reason
from hpo_batch.store import trial_folder
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.trial_folder import drop_checkpoints, newest_checkpoint, open_attempt, write_result

CONFIGURATION = Configuration(searched={"lr": 0.1}, fixed={"epochs": 3}, derived={"d_ff": 8})


def claim(**changes: Any) -> Claim:
    facts: dict[str, Any] = {"number": 5, "attempt": 1, "token": "t", "configuration": CONFIGURATION, "seeds": (7,)}
    return Claim(**{**facts, "origin": "tpe", **changes})


@pytest.fixture
def home(root: Path) -> StudyHome:
    return home_of(root, "s")


def test_an_attempt_gets_a_folder_with_its_claim(home: StudyHome) -> None:
    folder = open_attempt(home, claim())
    assert folder == home.attempt(5, 1)
    told = json.loads((folder / "claim.json").read_text())
    assert told["configuration"] == {"lr": 0.1, "epochs": 3, "d_ff": 8}
    assert (told["number"], told["attempt"], told["token"], told["seeds"]) == (5, 1, "t", [7])
    assert list((folder / "checkpoint").iterdir()) == []


def test_the_newest_checkpoint_is_handed_on_as_a_copy(home: StudyHome) -> None:
    assert newest_checkpoint(home, 5) is None
    first = open_attempt(home, claim())
    assert newest_checkpoint(home, 5) is None  # an empty folder is none
    (first / "checkpoint" / "deep").mkdir()
    (first / "checkpoint" / "deep" / "model").write_text("epoch 3")
    open_attempt(home, claim(attempt=2))
    assert newest_checkpoint(home, 5) == 1
    third = open_attempt(home, claim(attempt=3, resumes=1))
    assert (third / "checkpoint" / "deep" / "model").read_text() == "epoch 3"
    (first / "checkpoint" / "deep" / "model").write_text("a zombie writes")
    assert (third / "checkpoint" / "deep" / "model").read_text() == "epoch 3"
    assert newest_checkpoint(home, 5) == 3
    open_attempt(home, claim(attempt=10, resumes=3))
    assert newest_checkpoint(home, 5) == 10  # by number, not by text
    assert newest_checkpoint(home, 6) is None


def test_a_checkpoint_that_has_gone_is_no_error(home: StudyHome) -> None:
    folder = open_attempt(home, claim(attempt=2, resumes=1))
    assert list((folder / "checkpoint").iterdir()) == []


def test_a_checkpoint_that_changes_while_it_is_copied_is_copied_again(
    home: StudyHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_attempt(home, claim())
    (first / "checkpoint" / "a").write_text("a")
    (first / "checkpoint" / "dangling").symlink_to("gone")  # what copytree meets when a file vanishes below its hands
    copytree, tries = trial_folder.shutil.copytree, []

    def copy(source: Path, target: Path) -> None:
        tries.append(source)
        if len(tries) == 2:
            (source / "dangling").unlink()
        copytree(source, target)

    monkeypatch.setattr(trial_folder.shutil, "copytree", copy)
    second = open_attempt(home, claim(attempt=2, resumes=1))
    assert len(tries) == 2
    assert [p.name for p in (second / "checkpoint").iterdir()] == ["a"]


def test_a_checkpoint_that_cannot_be_copied_whole_is_not_copied(home: StudyHome) -> None:
    first = open_attempt(home, claim())
    (first / "checkpoint" / "a").write_text("a")
    (first / "checkpoint" / "dangling").symlink_to("gone")
    second = open_attempt(home, claim(attempt=2, resumes=1))
    assert list((second / "checkpoint").iterdir()) == []
    assert sorted(p.name for p in second.iterdir()) == ["checkpoint", "claim.json"]


def test_a_result_is_kept_whatever_its_numbers_are(home: StudyHome) -> None:
    metrics = {"loss": math.nan, "auc": 0.5, "ratio": -math.inf}
    for outcome, kind in (
        (Complete(values=(0.5,), metrics=metrics), "complete"),
        (Pruned(step=3, metrics=metrics), "pruned"),
        (Failed(reason=Reason.NAN, message="'loss' is nan", metrics=metrics), "failed"),
    ):
        write_result(home, claim(), outcome)
        told = json.loads((home.attempt(5, 1) / "result.json").read_text())
        assert (told["outcome"], told["token"], told["attempt"]) == (kind, "t", 1)
        assert {name: float(value) for name, value in told["metrics"].items()} == pytest.approx(metrics, nan_ok=True)
    assert told["reason"] == "nan"


def test_a_folder_that_cannot_be_made_is_a_storage_error(home: StudyHome) -> None:
    home.path.mkdir()
    (home.path / "trials").touch()
    with pytest.raises(StorageError, match=r"cannot make the folder of an attempt.*Not a directory"):
        open_attempt(home, claim())
    with pytest.raises(StorageError, match="cannot write"):
        write_result(home, claim(), Pruned(step=1, metrics={}))


def test_checkpoints_of_all_attempts_are_dropped(home: StudyHome) -> None:
    for attempt in (1, 2):
        (open_attempt(home, claim(attempt=attempt)) / "checkpoint" / "model").touch()
    drop_checkpoints(home, 5)
    assert newest_checkpoint(home, 5) is None
    assert (home.attempt(5, 1) / "claim.json").exists()
    drop_checkpoints(home, 6)
