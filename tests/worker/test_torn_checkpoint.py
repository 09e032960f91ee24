"""A checkpoint that a kill has torn is no failure of its trial."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from hpo_batch.records import TrialState

from .conftest import Project

Build = Callable[..., Project]
FUNCTION = """
import json, os, signal
def train(trial):
    path = trial.checkpoint / "state.json"
    start = json.loads(path.read_text())["epoch"] if trial.resumes else 0
    print("from", start, flush=True)
    for epoch in range(start, 4):
        trial.report(epoch, loss=1.0)
        file = path.open("w")
        file.write('{"epoch": ')
        file.flush()
        if (trial.attempt, epoch) in KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        file.write(f"{epoch + 1}}}")
        file.close()
        if (trial.attempt, epoch) in BETWEEN:
            os.kill(os.getpid(), signal.SIGKILL)
    return 0.5
"""
COMMAND = """
import json, os, signal, sys
from pathlib import Path
attempt = int(os.environ["HPO_BATCH_ATTEMPT"])
path = Path(os.environ["HPO_BATCH_CHECKPOINT_DIR"], "state.json")
start = json.loads(path.read_text())["epoch"] if path.exists() else 0
print("from", start, flush=True)
for epoch in range(start, 4):
    with open(os.environ["HPO_BATCH_METRICS_FILE"], "a") as file:
        file.write(json.dumps({"step": epoch, "loss": 1.0}) + chr(10))
    file = path.open("w")
    file.write('{"epoch": ')
    file.flush()
    if (attempt, epoch) in KILLED:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    file.write(f"{epoch + 1}}}")
    file.close()
    if (attempt, epoch) in BETWEEN:
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
print("RESULT: loss=0.5")
"""


@pytest.fixture(params=["function", "command"])
def trains(request: pytest.FixtureRequest, project: Build) -> Callable[..., Project]:
    def build(killed: set[tuple[int, int]], between: set[tuple[int, int]] = frozenset()) -> Project:
        objective = {"function": 'function = "train:train"', "command": f"command = ['{sys.executable}', 'train.py']"}
        here = project(
            study="max_attempts = 9",
            space="n = [1]",
            sampler='name = "grid"',
            objective=objective[request.param],
        )
        facts = f"KILLED = {set(killed)}\nBETWEEN = {set(between)}\n"
        (here.path / "train.py").write_text(facts + {"function": FUNCTION, "command": COMMAND}[request.param])
        return here

    return build


def test_the_trial_begins_anew_if_it_has_no_other_checkpoint(trains: Callable[..., Project]) -> None:
    here = trains({(1, 2)})
    assert here.run().process.returncode == -9
    second = here.run()
    assert second.process.returncode == 0, second.said
    assert here.state.trials[0].state is TrialState.COMPLETE
    assert here.file("stdout", attempt=2).splitlines()[0] == "from 0"
    assert "failed after resuming, before it reported or saved anything" in second.said
    assert "continues from the beginning" in here.file("stderr", attempt=2)
    assert "JSONDecodeError" in here.file("stderr", attempt=2)
    assert dict(here.state.trials[0].record().steps) == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}


def test_the_trial_goes_on_from_an_older_checkpoint_that_can_be_read(trains: Callable[..., Project]) -> None:
    here = trains({(2, 2)}, {(1, 1)})
    assert here.run().process.returncode == -9
    assert here.run().process.returncode == -9
    third = here.run()
    assert third.process.returncode == 0, third.said
    assert here.file("stdout", attempt=2).splitlines()[0] == "from 2"
    assert here.file("stdout", attempt=3).splitlines()[0] == "from 2"
    assert here.state.trials[0].state is TrialState.COMPLETE


def test_several_torn_ones_cost_several_runs_and_no_failure(trains: Callable[..., Project]) -> None:
    here = trains({(1, 1), (2, 0)})
    assert [here.run().process.returncode for _ in range(3)] == [-9, -9, 0]
    assert here.file("stdout", attempt=3).splitlines()[0] == "from 0"


@pytest.mark.parametrize("why", ["raise ValueError('a bug')", "import sys; sys.exit(3)"])
def test_a_bug_is_still_a_failure_and_told_as_such(project: Build, why: str) -> None:
    here = project(
        study="max_attempts = 9", space="n = [1]", sampler='name = "grid"', objective='function = "train:train"'
    )
    code = FUNCTION.replace("    print(", f"    if trial.attempt == 2: {why}\n    print(")
    (here.path / "train.py").write_text("KILLED = set()\nBETWEEN = {(1, 1)}\n" + code)
    assert here.run().process.returncode == -9
    second = here.run()
    assert second.process.returncode == 1
    record = here.state.trials[0].record()
    assert record.state is TrialState.FAIL
    assert ("a bug" if "bug" in why else "sys.exit(3)") in str(record.message)
    assert here.file("stderr", attempt=2).count("Traceback") == 2


def test_what_fails_after_a_report_is_not_run_twice(project: Build) -> None:
    here = project(
        study="max_attempts = 9", space="n = [1]", sampler='name = "grid"', objective='function = "train:train"'
    )
    code = FUNCTION.replace(
        "        file = path", "        if trial.attempt == 2: raise ValueError('late')\n        file = path"
    )
    (here.path / "train.py").write_text("KILLED = set()\nBETWEEN = {(1, 1)}\n" + code)
    assert here.run().process.returncode == -9
    assert here.run().process.returncode == 1
    assert here.file("stderr", attempt=2).count("Traceback") == 1
