"""Sweeps, studies and workers for the tests: real journals, real processes, a no-op in place of training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from hpo_batch import processes
from hpo_batch.journal.state import JournalState
from hpo_batch.records import Claim, Complete, Idle, Outcome, Owner
from hpo_batch.store.attempt_folder import CHECKPOINT
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.create import create
from hpo_batch.study.study import Study
from hpo_batch.sweep.difference import Change
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Sweep
from tests.journal.helpers import plain_storage, read_state

SPACE = """
x = { low = 0.0, high = 1.0 }
n = [1, 2, 3, 4]
epochs = 5
"""


@dataclass(kw_only=True)
class Text:
    """A sweep file, table by table: what is not given is what most tests need."""

    study: str = "trials = 5"
    space: str = SPACE
    sampler: str = 'name = "random"'
    objective: str = 'function = "never:called"'
    metric: str = 'metric = "loss"\ndirection = "minimize"'
    rest: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        tables = {"objective": self.objective, "space": self.space, "sampler": self.sampler, **self.tables}
        text = f'[study]\nname = "s"\n{self.metric}\n{self.study}\n'
        return text + "".join(f"[{name}]\n{body}\n" for name, body in tables.items()) + self.rest


def sweep_of(root: Path, text: Text) -> Sweep:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "sweep.toml"
    path.write_text(str(text))
    (sweep,) = load(path)
    return sweep


def make(root: Path, **text: Any) -> StudyHome:
    home = home_of(root, "s")
    revise(home, **text)
    return home


def revise(home: StudyHome, **text: Any) -> Change:
    written = Text(**text)
    return create(home, sweep_of(home.path.parent, written), toml=str(written), now=time.time())


def owner(index: int = 0, **changes: Any) -> Owner:
    pid = os.getpid()
    facts: dict[str, Any] = {
        "worker": f"{pid}-{index}",
        "job": "local",
        "host": processes.host_name(),
        "pid": pid,
        "start": processes.started_at(pid),
        "boot": processes.boot_id(),
    }
    return Owner(**{**facts, **changes})


def value_of(claim: Claim) -> float:
    """A number that depends on the configuration alone."""
    return int(claim.configuration.key[:8], 16) / 2**32


def complete(claim: Claim, value: float | None = None) -> Complete:
    number = value_of(claim) if value is None else value
    return Complete(values=(number,), metrics={"loss": number})


def checkpoints(study: Study, claim: Claim) -> Path:
    """The attempt's folder made ready, and in it the one for checkpoints, as when the user's code asks for it."""
    folder = study.open_attempt(claim) / CHECKPOINT
    folder.mkdir(exist_ok=True)
    return folder


def claimed(study: Study) -> Claim:
    given = study.claim()
    assert not isinstance(given, Idle), given
    return given[0]


def idle(study: Study) -> Idle:
    given = study.claim()
    assert isinstance(given, Idle), given
    return given


def work(
    home: StudyHome, index: int = 0, judge: Callable[[Claim], Outcome] = complete, most: int = 10_000
) -> tuple[list[int], Idle | None]:
    """Claim and tell until there is nothing left: the numbers of the trials, and why it ended."""
    done: list[int] = []
    with Study.open(home, owner(index)) as study:
        while len(done) < most:
            given = study.claim()
            if isinstance(given, Idle):
                return done, given
            study.tell(given[0], judge(given[0]))
            done.append(given[0].number)
    return done, None


def state_of(home: StudyHome) -> JournalState:
    """With reports and metrics, which ``hpo_batch.study.create.read_state`` leaves out."""
    return read_state(home.journal)


def keys(state: JournalState) -> list[str | None]:
    return [trial.key for trial in state.trials]


def plain(home: StudyHome) -> optuna.Study:
    """The study as plain Optuna opens it."""
    return optuna.load_study(study_name=home.name, storage=plain_storage(home.journal))
