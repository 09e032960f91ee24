"""A trial with a fake engine behind it, and commands that run this Python."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.objective.command import CommandObjective
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.placeholders import Template
from hpo_batch.objective.stop import Graces
from hpo_batch.objective.trial import Trial, TrialContext, end
from hpo_batch.records import Stopping, Verdict


class FakeEngine:
    """Remembers reports; answers as it is told to."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, dict[str, float]]] = []
        self.verdicts: dict[int, Verdict] = {}
        self.reason: Stopping | None = None
        self.on_report: Callable[[int], None] = lambda step: None

    def take_report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        self.reports.append((step, dict(metrics)))
        self.on_report(step)
        return self.verdicts.get(step, Verdict.CONTINUE)

    def stopping(self) -> Stopping | None:
        return self.reason


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def make_trial(engine: FakeEngine, tmp_path: Path) -> Iterator[Callable[..., Trial]]:
    made: weakref.WeakSet[Trial] = weakref.WeakSet()

    def new_trial(**changes: Any) -> Trial:
        trials_engine = changes.pop("engine", engine)
        facts: dict[str, Any] = {
            "number": 17,
            "attempt": 2,
            "params": {"lr": 0.1},
            "seed": 7,
            "dir": tmp_path / "trial with blank",
            "checkpoint": tmp_path / "trial with blank" / "checkpoint",
            "cpus": 3,
            **changes,
        }
        trial = Trial(TrialContext(**facts), trials_engine)
        trial.dir.mkdir(exist_ok=True)
        made.add(trial)
        return trial

    yield new_trial
    for trial in made:
        end(trial)  # as the worker does


@pytest.fixture
def trial(make_trial: Callable[..., Trial]) -> Trial:
    return make_trial()


@pytest.fixture
def make_command() -> Callable[..., CommandObjective]:
    def new_command(
        command: str | list[str], *, metrics: tuple[str, ...] = ("loss",), **changes: Any
    ) -> CommandObjective:
        computed = changes.pop("computed", {})
        graces = {"grace_s": 1.0, **{f.name: changes.pop(f.name) for f in fields(Graces) if f.name in changes}}
        facts = {"env": {}, "poll_s": 0.02, "graces": Graces(**graces), **changes}
        return CommandObjective(template=Template.parse(command), wanted=Wanted.parse(metrics, computed), **facts)

    return new_command


@pytest.fixture
def make_python(make_command: Callable[..., CommandObjective]) -> Callable[..., CommandObjective]:
    """A command that runs Python code, with ``report(step=1, loss=0.5)`` to write a line of the metrics file."""

    def python_command(code: str, **changes: Any) -> CommandObjective:
        head = (
            "import json, os, signal, subprocess, sys, time\n"
            "env = os.environ\n"
            "reported = open(env['HPO_BATCH_METRICS_FILE'], 'a', buffering=1)\n"
            "def report(**line): reported.write(json.dumps(line) + '\\n')\n"
        )
        escaped = (head + code).replace("{", "{{").replace("}", "}}")
        return make_command([sys.executable, "-S", "-c", escaped], **changes)

    return python_command
