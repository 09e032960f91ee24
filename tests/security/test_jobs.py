"""Only jobs are cancelled or changed that run a script of the study, whatever its files call them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.launch.cancel import Target, cancel
from hpo_batch.monitor.live import live
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import Submission, is_script_of, write_submission
from tests.scheduler.conftest import fake_command as fake_command
from tests.study.helpers import make

Fake = Callable[..., Any]
ID = "0123456789ab"


@pytest.fixture
def home(root: Path) -> StudyHome:
    """A study with a submission whose job is 7."""
    home = make(root, study="trials = 9")
    home.slurm.mkdir(exist_ok=True)
    noted(home, ID)
    return home


def noted(home: StudyHome, id: str, **more: Any) -> None:
    facts = {"id": id, "kind": "slurm", "workers": 1, "walltime_s": 60.0, "submitted": time.time(), "job_ids": ("7",)}
    write_submission(home, Submission(**{**facts, **more}))
    if "/" not in id:
        (home.slurm / f"{id}.sh").touch()


def cancelled(home: StudyHome, fake_command: Fake, *lines: str, written_as: str | None = None) -> list[str]:
    """Ids that scancel was given; squeue answers with these lines whatever it is asked."""
    fake_command("squeue", stdout="".join(f"{line}\n" for line in lines))
    scancel = fake_command("scancel")
    cancel([Target(home=home, written_as=written_as, shared=False)], drain=False, say=lambda text: None)
    return [id for call in scancel.calls for id in call["argv"]]


def test_a_job_of_the_study_is_cancelled(home: StudyHome, fake_command: Fake) -> None:
    row = f"7|{home.name}-{ID}\t{home.slurm}/{ID}.sh"
    assert cancelled(home, fake_command, row) == ["7"]


def test_ids_and_names_that_spell_another_job(home: StudyHome, fake_command: Fake) -> None:
    """A study called 'production' with a submission 'train': their user has a job production-train."""
    noted(home, "train")
    noted(home, f"../{ID}")
    noted(home, "*")
    rows = ["8|production-train\t/home/me/train.sh", f"9|production-train\t{home.slurm}/train.sh"]
    assert cancelled(home, fake_command, *rows, written_as="production") == []


def test_a_job_of_the_right_name_and_another_script(home: StudyHome, fake_command: Fake, tmp_path: Path) -> None:
    scripts = [
        "", "(null)", "/bin/sh", f"{ID}.sh", f"/nowhere/{ID}_other.sh",
        f"{tmp_path}/{ID}.sh", f"{home.slurm}/../{ID}.sh",
        f"{home.slurm}/train.sh",
    ]  # fmt: skip
    told: list[str] = []
    rows = [f"{10 + i}|{home.name}-{ID}\t{script}" for i, script in enumerate(scripts)]
    assert cancelled(home, fake_command, *rows) == []
    fake_command("squeue", stdout=f"{rows[0]}\n")
    cancel([Target(home=home, written_as=None, shared=False)], drain=False, say=told.append)
    assert any("'scancel 10'" in line for line in told)


def test_a_copy_has_none_of_the_jobs_of_the_original(home: StudyHome, root: Path, fake_command: Fake) -> None:
    shutil.copytree(home.path, root / "copy")
    row = f"7|{home.name}-{ID}\t{home.slurm}/{ID}.sh"
    assert cancelled(home_of(root, "copy"), fake_command, row, written_as=home.name) == []
    # nor are those counted, brought up to date or replaced for which a submission to the copy looks
    waits = f"7|0|PENDING|Priority|0:00|1:00||0|{home.name}-{ID}\t{home.slurm}/{ID}.sh"
    fake_command("squeue", stdout=f"{waits}\n")
    there = live([home, home_of(root, "copy")])
    assert [row.id for row in there[home.name].waiting] == ["7_0"]
    assert there["copy"].waiting == there["copy"].stuck == ()
    assert there["copy"].workers == 0


def test_a_study_that_was_moved_keeps_its_jobs(home: StudyHome, root: Path, fake_command: Fake) -> None:
    row = f"7|{home.name}-{ID}\t{home.slurm}/{ID}.sh"
    home.path.rename(root / "moved")
    assert cancelled(home_of(root, "moved"), fake_command, row, written_as=home.name) == ["7"]


@pytest.mark.parametrize("script", ["", f"{ID}.sh", f"/{ID}.sh", "/proc/self/environ"])
def test_what_is_no_script_of_a_study(home: StudyHome, script: str) -> None:
    assert not is_script_of(home, ID, script)
