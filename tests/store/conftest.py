"""A study of an older version, in a project of its own, and the command line as its user has it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpo_batch.records import TrialRecord
from hpo_batch.store.home import StudyHome, home_of
from tests.helpers import Ended, run
from tests.journal.helpers import read_state

FORMAT_1 = Path(__file__).with_name("data") / "format-1"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A copy of a sample study in a project of its own."""

    project: Path
    home: StudyHome

    def run(self, *argv: object) -> Ended:
        return run(*argv, cwd=self.project)

    def records(self) -> dict[str | None, TrialRecord]:
        """Trials by name; of those without one, the last."""
        return {trial.facts.get("name"): trial.record() for trial in read_state(self.home.journal).trials}


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    for name in ("objective.py", "sweep.toml"):
        shutil.copy(FORMAT_1 / name, tmp_path)
    shutil.copytree(FORMAT_1 / "study", tmp_path / "logs" / "sample")
    return Sample(project=tmp_path, home=home_of(tmp_path / "logs", "sample"))
