"""``hpo_batch.report``, ``should_stop`` and ``checkpoint_dir``: in a command, in a function, and outside a sweep."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hpo_batch
from hpo_batch import script
from hpo_batch.envvars import EnvVar
from hpo_batch.objective.trial import Trial, TrialContext
from hpo_batch.records import Verdict
from hpo_batch.script import running
from tests.cli.test_light import HEAVY
from tests.helpers import run, write_program


@pytest.fixture
def metrics_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process as a command of a trial."""
    monkeypatch.setenv(EnvVar.METRICS_FILE, str(tmp_path / "reported.jsonl"))
    monkeypatch.setenv(EnvVar.STOP_FILE, str(tmp_path / "STOP"))
    monkeypatch.setenv(EnvVar.CHECKPOINT_DIR, str(tmp_path / "checkpoint"))
    return tmp_path / "reported.jsonl"


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_steps_and_the_result_are_lines_of_the_metrics_file(metrics_file: Path) -> None:
    hpo_batch.report(0, loss=0.5)
    hpo_batch.report(1, {"val/auc": np.float32(0.75)}, loss=torch.tensor(0.25))
    hpo_batch.report(loss=0.125)
    assert lines(metrics_file) == [
        {"step": 0, "loss": 0.5},
        {"step": 1, "val/auc": 0.75, "loss": 0.25},
        {"loss": 0.125},
    ]


@pytest.mark.parametrize(
    ("arguments", "named", "wrong"),
    [
        ((1,), {}, "without a metric"),
        ((), {}, "without a metric"),
        ((1.5,), {"loss": 1.0}, "the step of a report is an integer, not 1.5"),
        ((-1,), {"loss": 1.0}, "not negative"),
        ((1,), {"loss": "low"}, "metric 'loss' is a text"),
        ((1,), {"loss": None}, "metric 'loss' is None"),
        ((1, {"step": 2.0}), {}, "cannot be called 'step'"),
    ],
)
@pytest.mark.parametrize("where", ["in a sweep", "outside"])
def test_a_wrong_report_is_an_error_everywhere(
    request: pytest.FixtureRequest, arguments: tuple[object, ...], named: dict[str, object], wrong: str, where: str
) -> None:
    if where == "in a sweep":
        request.getfixturevalue("metrics_file")
    with pytest.raises((TypeError, ValueError), match=wrong):
        hpo_batch.report(*arguments, **named)  # type: ignore[arg-type]


def test_outside_a_sweep_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hpo_batch.report(0, loss=0.5)
    hpo_batch.report(loss=0.5)
    assert not hpo_batch.should_stop()
    assert list(tmp_path.iterdir()) == []
    assert hpo_batch.checkpoint_dir("mine") == Path("mine")
    assert Path("mine").is_dir()


def test_it_stops_when_the_stop_file_is_there(metrics_file: Path) -> None:
    assert not hpo_batch.should_stop()
    metrics_file.with_name("STOP").touch()
    assert hpo_batch.should_stop()


def test_checkpoints_lie_in_the_folder_of_the_trial(metrics_file: Path) -> None:
    assert hpo_batch.checkpoint_dir() == metrics_file.with_name("checkpoint")
    assert metrics_file.with_name("checkpoint").is_dir()


def test_only_the_first_process_of_torchrun_reports(metrics_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        hpo_batch.report(0, loss=float(rank))
    assert lines(metrics_file) == [{"step": 0, "loss": 0.0}]


def test_each_of_several_workers_that_srun_has_started_reports(
    metrics_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "3")
    hpo_batch.report(0, loss=1.0)
    assert lines(metrics_file) == [{"step": 0, "loss": 1.0}]


def test_a_file_that_cannot_be_written_is_told_once_and_does_not_end_the_training(
    metrics_file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "_is_told", False)
    metrics_file.mkdir()
    for step in range(3):
        hpo_batch.report(step, loss=0.5)
    assert [record.message for record in caplog.records] == [
        f"metrics cannot be written to '{metrics_file}': Is a directory"
    ]


def test_in_a_function_they_are_those_of_its_trial(tmp_path: Path) -> None:
    class Engine:
        def take_report(self, step: int, metrics: object) -> Verdict:
            return Verdict.PRUNE if step == 1 else Verdict.CONTINUE

        def stopping(self) -> None:
            return None

    context = TrialContext(number=0, attempt=1, params={}, seed=1, dir=tmp_path, checkpoint=tmp_path / "saved")
    trial = Trial(context, Engine())
    with running(trial):
        hpo_batch.report(0, loss=0.5)
        assert not hpo_batch.should_stop()
        hpo_batch.report(1, loss=0.25)
        assert hpo_batch.should_stop()
        assert hpo_batch.checkpoint_dir() == tmp_path / "saved"
        with pytest.raises(TypeError, match="a function returns its result"):
            hpo_batch.report(loss=0.25)
    assert trial.progress.metrics == {"loss": 0.25}
    assert not hpo_batch.should_stop()


SCRIPT = "import hpo_batch; hpo_batch.report(0, loss=0.5); hpo_batch.should_stop()"


def cpu_ms(code: str) -> float:
    """CPU time of a Python process, in milliseconds; the least of several, since others slow it down."""
    times = []
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return 1000 * min(times)


def test_a_script_pays_less_than_30_ms_for_it_and_loads_nothing_heavy(metrics_file: Path) -> None:
    code = f"import sys; {SCRIPT}; print([m for m in {(*HEAVY, 'msgspec', 'click')!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
    assert lines(metrics_file) == [{"step": 0, "loss": 0.5}]
    assert cpu_ms(SCRIPT) - cpu_ms("pass") < 30


WAITS = """
import sys, time
import hpo_batch
folder = hpo_batch.checkpoint_dir()
for epoch in range(600):
    hpo_batch.report(epoch, score=float(sys.argv[2]))
    if hpo_batch.should_stop():
        (folder / "saved").touch()
        break
    if float(sys.argv[2]) < 1:
        break
    time.sleep(0.1)
"""
SWEEP = """
[study]
name = "waits"
metric = "score"
direction = "minimize"
trials = 2
[objective]
command = ["{python}", "{script}", "--x", "{{x}}"]
[space]
x = [0.5, 5.0]
[sampler]
name = "grid"
[pruner]
name = "threshold"
options = {{ upper = 1.0 }}
"""


def test_in_a_sweep_a_bad_trial_is_pruned_and_the_last_report_of_a_good_one_is_its_result(
    tmp_path: Path, root: Path
) -> None:
    script = write_program(tmp_path / "waits.py", WAITS)
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(SWEEP.format(python=sys.executable, script=script))
    done = run("submit", sweep, "--local", "--wait", env={"HPO_BATCH_ROOT": str(root)})
    assert done.code == 0
    shown = run("collect", "waits", "--format", "json", env={"HPO_BATCH_ROOT": str(root)})
    found = {trial["params_x"]: (trial["state"], trial["value"]) for trial in json.loads(shown.out)}
    assert found[0.5] == ("COMPLETE", 0.5)
    assert found[5.0][0] == "PRUNED"
