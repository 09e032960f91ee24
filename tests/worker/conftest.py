"""A user's project with an objective in it, and workers started in it as users and launchers start them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.journal.state import JournalState
from hpo_batch.store.home import StudyHome
from tests.helpers import PATIENCE_S, start, until
from tests.study.helpers import make, state_of

TOYS = Path(__file__).with_name("toys.py")


@dataclass(kw_only=True)
class Worker:
    """``python -m hpo_batch worker``, running."""

    process: subprocess.Popen[str]

    def wait(self) -> int:
        """Its exit code; what it said on stderr is in ``said``."""
        self.output, self.said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


@dataclass(kw_only=True)
class Project:
    path: Path
    home: StudyHome
    workers: list[Worker] = field(default_factory=list)

    def start(self, *before: str, **environment: str) -> Worker:
        """Args: before: words before the command, such as ``unshare --pid --fork``."""
        process = start("worker", self.home.path, before=before, cwd=self.path, env=environment)
        self.workers.append(Worker(process=process))
        return self.workers[-1]

    def run(self, *before: str, **environment: str) -> Worker:
        worker = self.start(*before, **environment)
        worker.wait()
        return worker

    @property
    def state(self) -> JournalState:
        return state_of(self.home)

    def until(self, condition: Callable[[], object]) -> None:
        until(condition)

    def file(self, name: str, number: int = 0, attempt: int = 1) -> str:
        return (self.home.attempt(number, attempt) / name).read_text()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Make a project around the objectives of ``toys.py``."""
    made: list[Project] = []

    def build(function: str = "fine", **text: Any) -> Project:
        path = tmp_path / "project"
        path.mkdir()
        (path / "toys.py").write_text(TOYS.read_text())
        home = make(path / "logs", **{"objective": f'function = "toys:{function}"', **text})
        made.append(Project(path=path, home=home))
        return made[-1]

    yield build
    for worker in [worker for one in made for worker in one.workers]:
        worker.process.kill()
        for pipe in (worker.process.stdout, worker.process.stderr):
            if pipe is not None:
                pipe.close()
        worker.process.wait()
