"""Fused workers as users start them: processes, the example of the documentation, kills, and our own trainer."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.records import TrialState
from tests.helpers import REPOSITORY, run
from tests.worker.conftest import Project

MakeProject = Callable[..., Project]
CELLS = "d = [1, 2]\nx = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]\n"


def fused(project: MakeProject, function: str = "fine", fuse: str = "4", **text: object) -> Project:
    tables = {"job": f"fuse = {fuse}", **text.pop("tables", {})}  # type: ignore[dict-item]
    return project(function, **{"space": CELLS, "study": "trials = 12", "tables": tables, **text})


def example(folder: Path) -> None:
    text = (REPOSITORY / "docs" / "objective.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "train_many" in block)
    (folder / "polynomials.py").write_text(code)


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    example(tmp_path)
    (tmp_path / "sweep.toml").write_text(
        '[study]\nname = "fit"\nmetric = "loss"\ndirection = "minimize"\ntrials = 24\n'
        '[objective]\nfunction = "polynomials:train"\n'
        "[space]\ndegree = [1, 3, 5]\nlr = { low = 0.01, high = 1.0, log = true }\nepochs = 30\n"
        '[sampler]\nname = "tpe"\n[job]\nfuse = 8\n'
    )
    ended = run("submit", "sweep.toml", "--local", "--wait", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert '"complete": 24' in run("status", "fit", "--json", cwd=tmp_path).out
    (tmp_path / "one.toml").write_text((tmp_path / "sweep.toml").read_text().replace('"fit"', '"one"'))
    alone = run("submit", "one.toml", "--local", "--wait", "--set", "job.fuse=1", cwd=tmp_path)
    assert alone.code == 0, alone.err


def test_a_killed_worker_gives_back_all_and_each_resumes_from_its_own_checkpoint(project: MakeProject) -> None:
    one = fused(project, "train", study="trials = 8", space="d = 1\nx = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]\n")
    worker = one.start()
    one.until(lambda: all((one.home.attempt(n, 1) / "checkpoint" / "epoch").exists() for n in range(4)))
    worker.process.send_signal(signal.SIGKILL)
    worker.wait()
    assert one.run(GO="1").process.returncode == 0
    state = one.state
    assert state.counts().complete == len(state.trials) == 8
    resumed = [trial for trial in state.trials if trial.attempt == 2]
    assert [trial.number for trial in resumed] == [0, 1, 2, 3]
    for trial in resumed:
        assert trial.ending(1)["how"] == "lost"
        first = (one.home.attempt(trial.number, 2) / "metrics.jsonl").read_text().splitlines()[0]
        assert '"step":1,' not in first.replace(" ", "")
        assert trial.values == (trial.params["x"],)
    assert all(trial.ending(trial.attempt)["usage"]["first_report_s"] >= 0 for trial in state.trials)
    assert len({trial.key for trial in state.trials}) == 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_warned_worker_gives_back_all(project: MakeProject, number: int) -> None:
    one = fused(project, "train", study="trials = 8")
    worker = one.start()
    one.until(lambda: all((one.home.attempt(n, 1) / "checkpoint" / "epoch").exists() for n in range(4)))
    worker.process.send_signal(number)
    worker.wait()
    assert [trial.state for trial in one.state.trials] == [TrialState.WAITING] * 4
    assert one.run(GO="1").process.returncode == 0
    assert one.state.counts().complete == 8


def test_many_kills_lose_nothing_and_double_nothing(project: MakeProject) -> None:
    one = fused(project, "train", study="trials = 16\nmax_attempts = 50", fuse="3")
    for i in range(6):
        workers = [one.start(SLOW="1"), one.start(SLOW="1")]
        before = len(one.state.trials) if i else 0
        one.until(lambda before=before: len(one.state.trials) > before or one.state.by_state[TrialState.RUNNING])
        for worker in workers:
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.wait()
    assert one.run(GO="1").process.returncode == 0
    state = one.state
    assert state.counts().complete == len(state.trials) == 16
    assert len({trial.key for trial in state.trials}) == 16
    assert all(trial.values == (trial.params["x"],) for trial in state.trials)


def test_a_module_without_train_many_is_refused_before_and_at_the_start(project: MakeProject) -> None:
    one = fused(project, "fine")
    (one.path / "toys.py").write_text("def fine(trial):\n    return 0.5\n")
    worker = one.run()
    assert worker.process.returncode == 2
    assert "has no 'train_many'; write it (" in worker.said
    assert "no trial was started" in worker.said
    assert not one.state.trials


def test_submit_refuses_a_module_without_train_many(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def train(trial):\n    return 0.5\n")
    text = (
        '[study]\nname = "s"\nmetric = "m"\ndirection = "minimize"\ntrials = 2\n[objective]\nfunction = "mine:train"\n'
    )
    (tmp_path / "sweep.toml").write_text(f"{text}[space]\nx = [1, 2]\n[job]\nfuse = 4\n")
    said = run("submit", "sweep.toml", "--local", cwd=tmp_path)
    assert said.code == 2
    assert "job.fuse: 'mine:train_many': module 'mine' has no 'train_many'; write it (" in said.err
    assert "or remove job.fuse" in said.err
    assert run("submit", "sweep.toml", "--local", "--wait", "--set", "job.fuse=auto", cwd=tmp_path).code == 0


def test_auto_fuses_only_where_it_can(project: MakeProject) -> None:
    one = fused(project, "fine", fuse='"auto"')
    (one.path / "toys.py").write_text("def fine(trial):\n    return 0.5\n")
    assert one.run().process.returncode == 0
    assert {trial.record().attempts[0].fused for trial in one.state.trials} == {1}


def test_a_train_many_without_a_shape_is_refused(project: MakeProject) -> None:
    one = fused(project, "fine")
    (one.path / "toys.py").write_text("def fine(trial):\n    return 0.5\n\ndef train_many(trials):\n    pass\n")
    worker = one.run()
    assert worker.process.returncode == 2
    assert "'toys:train_many' needs a shape" in worker.said


def test_a_block_that_does_not_stop_is_ended(project: MakeProject) -> None:
    one = fused(
        project, "train", tables={"failures": 'stall = "0:02"\nstop_after = 99'}, study="trials = 4\nmax_attempts = 1"
    )
    worker = one.run(HANG="1")
    assert "the function of trials 0, 1, 2, 3 does not return and cannot be interrupted" in worker.said
    assert [trial.record().reason for trial in one.state.trials] == ["stalled"] * 4


def test_our_trainer_is_fused_in_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(
        '[study]\nname = "digits"\nmetric = "val_auc"\ndirection = "maximize"\ntrials = 8\n'
        '[objective]\nfunction = "hpo_batch.training.patchtst.train:train"\n'
        'n_params = "hpo_batch.training.patchtst.size:n_params"\n'
        "[space]\nd_model = [8, 16]\nn_heads = 2\nn_layers = 1\nepochs = 2\nbatch_size = 128\n"
        "learning_rate = { low = 1e-4, high = 3e-2, log = true }\ndropout = { low = 0.0, high = 0.5 }\n"
        '[sampler]\nname = "tpe"\n[job]\nfuse = "auto"\n'
    )
    ended = run("submit", "sweep.toml", "--local", "--wait", cwd=tmp_path)
    assert ended.code == 0, ended.err
    text = run("logs", "digits", "3", cwd=tmp_path)
    assert "one of up to 16 in its process" in text.out + text.err
    assert "trial 3, epoch 2 of 2" in text.out + text.err
    status = run("status", "digits", "--json", cwd=tmp_path)
    assert '"complete": 8' in status.out
