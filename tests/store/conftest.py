"""A study of an older version, in a project of its own, and the command line as its user has it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpo_batch.records import TrialRecord
from hpo_batch.store.home import StudyHome, home_of
from tests.conftest import REPOSITORY
from tests.store.helpers import read_state

FORMAT_1 = Path(__file__).with_name("data") / "format-1"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A copy of a sample study in a project of its own."""

    project: Path
    home: StudyHome

    def run(self, *argv: object) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "hpo_batch", *(str(word) for word in argv)],
            cwd=self.project, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def records(self) -> dict[str | None, TrialRecord]:
        """Trials by name; of those without one, the last."""
        return {trial.facts.get("name"): trial.record() for trial in read_state(self.home.journal).trials}


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    for name in ("objective.py", "sweep.toml"):
        shutil.copy(FORMAT_1 / name, tmp_path)
    shutil.copytree(FORMAT_1 / "study", tmp_path / "logs" / "sample")
    return Sample(project=tmp_path, home=home_of(tmp_path / "logs", "sample"))
