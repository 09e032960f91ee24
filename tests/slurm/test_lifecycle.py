"""cancel, drain, resume and the collector on a real cluster: what was cancelled stays so, what is left goes on."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.launch.task_exits import how_they_ended
from hpo_batch.monitor.queue import ask
from hpo_batch.records import TrialState
from hpo_batch.scheduler.tasks import TaskState
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import read_submissions
from tests.cli.conftest import SWEEP
from tests.helpers import REPOSITORY, write_program
from tests.study.helpers import state_of

from .cluster import SlurmCluster

Submit = Callable[..., str]


@pytest.fixture
def home(root: Path) -> StudyHome:
    return home_of(root, "toy")


@pytest.fixture
def submit(
    slurm_cluster: SlurmCluster, home: StudyHome, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Submit:
    """Submit a sweep of small CPU tasks as an array; its id."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("HPO_BATCH_ROOT", str(root))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))

    def call(function: str, *options: str, trials: int = 4) -> str:
        path = tmp_path / "toy.toml"
        text = SWEEP.format(name="toy", trials=trials, function=function).replace('"local"', '"cpu"')
        path.write_text(text + "cpus = 1\n")
        assert run(["submit", str(path), *options]) == 0
        (job,) = read_submissions(home)[-1].job_ids
        return job

    return call


def running(home: StudyHome) -> int:
    return state_of(home).counts().running


def go_file(tmp_path: Path) -> tuple[Path, list[str]]:
    go = tmp_path / "go"
    return go, ["--set", f"objective.env={{GO='{go}'}}"]


def test_what_scancel_ended_is_resumed_and_each_trial_finishes_once(
    slurm_cluster: SlurmCluster, home: StudyHome, submit: Submit, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    go, options = go_file(tmp_path)
    job = submit("waits_or_stops", *options)
    slurm_cluster.wait_for(lambda: running(home) == 2, timeout_s=120, what="two trials run")
    slurm_cluster.run("scancel", job)
    slurm_cluster.wait_ended(job)
    assert slurm_cluster.squeue() == []
    # two commands at once add each worker once
    argv = [sys.executable, "-m", "hpo_batch", "resume", "toy"]
    both = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("2 workers are already running; none added" in text for text in said) == [False, True], said
    assert [s.workers for s in read_submissions(home)] == [2, 2]
    go.touch()
    slurm_cluster.wait_ended(read_submissions(home)[-1].job_ids[0], timeout_s=240)
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (4, 4)
    assert len(read_submissions(home)) == 2
    assert {trial.attempt for trial in state.trials} == {1, 2}
    capfd.readouterr()
    assert run(["resume", "toy"]) == 0
    assert "all 4 trials are finished: nothing to do" in capfd.readouterr().err


def test_cancel_ends_all_and_nothing_comes_back(
    slurm_cluster: SlurmCluster, home: StudyHome, submit: Submit, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    go, options = go_file(tmp_path)
    job = submit("waits_or_stops", *options, "--set", "job.auto_resume=3")
    (submission,) = read_submissions(home)
    assert submission.collector
    slurm_cluster.wait_for(lambda: running(home) == 2, timeout_s=120, what="two trials run")
    slurm_cluster.run("scontrol", "requeue", f"{job}_1")

    def reason(task: str) -> str | None:
        return next((row.reason for row in slurm_cluster.squeue() if row.job == task), None)

    slurm_cluster.wait_for(lambda: reason(f"{job}_1") == "BeginTime", what="a requeued task waits")
    capfd.readouterr()
    assert run(["resume", "toy"]) == 0
    said = capfd.readouterr().err
    assert "2 workers are already running" in said
    assert f"requeued tasks start now instead of waiting: {job}_1" in said
    assert reason(f"{job}_1") != "BeginTime"
    slurm_cluster.wait_for(lambda: running(home) == 2, timeout_s=120, what="it runs again")
    slurm_cluster.run("scontrol", "requeue", f"{job}_0")
    slurm_cluster.wait_for(lambda: reason(f"{job}_0") == "BeginTime", what="another requeued task waits")

    assert run(["cancel", "toy"]) == 0
    assert f"cancelled jobs: {job}, {submission.collector}" in capfd.readouterr().err
    slurm_cluster.wait_for(lambda: slurm_cluster.squeue() == [], what="no job is left")
    go.touch()
    assert run(["cancel", "toy"]) == 0
    # longer than a requeued task would wait; the cluster says nothing when nothing happens
    slurm_cluster.wait_ended(slurm_cluster.sbatch(script="sleep 15"))
    assert slurm_cluster.squeue() == []
    assert len(read_submissions(home)) == 1
    state = state_of(home)
    assert state.counts().complete == 0
    # and the collector, if it had been started all the same
    script = next(home.slurm.glob("*_collector.sh"))
    done = slurm_cluster.run("bash", script, check=False)
    assert "toy is not resumed: the study was cancelled" in done.stderr
    assert len(read_submissions(home)) == 1


def test_what_scancel_ended_is_known_without_squeue_and_accounts(
    slurm_cluster: SlurmCluster, home: StudyHome, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where jobs are forgotten at once and there is no slurmdbd: two tasks run and listen to nobody, one waits."""
    _, options = go_file(tmp_path)
    more = ("--workers", "3", "--set", "job.max_running=2", "--set", "job.auto_resume=3")
    job = submit("waits_for_file", *options, *more)
    slurm_cluster.wait_for(lambda: running(home) == 2, timeout_s=120, what="two trials run")
    slurm_cluster.run("scancel", job)
    slurm_cluster.wait_for(lambda: slurm_cluster.squeue() == [], timeout_s=120, what="tasks and collector ended")
    (submission,) = read_submissions(home)
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, line in (("squeue", 'exec /usr/bin/squeue "${@/all/running}"'), ("sacct", "exit 1")):
        write_program(folder / name, f"#!/bin/bash\n{line}\n")
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    told = how_they_ended(home, submission, ask([submission], ended=True), state=state_of(home))
    assert told == (TaskState.CANCELLED,) * 5  # by two logs, one that is missing, and two trials
    script = next(home.slurm.glob("*_collector.sh"))
    done = slurm_cluster.run("bash", script, check=False, PATH=path)
    assert "toy is not resumed: workers were cancelled or preempted for good" in done.stderr
    assert len(read_submissions(home)) == 1


def test_drain_finishes_what_runs_and_starts_nothing(
    slurm_cluster: SlurmCluster, home: StudyHome, submit: Submit, tmp_path: Path
) -> None:
    go, options = go_file(tmp_path)
    job = submit("waits_for_file", *options, "--set", "job.max_running=1", "--set", "job.collect=true")
    slurm_cluster.wait_for(lambda: running(home) == 1, timeout_s=120, what="one trial runs")
    assert run(["cancel", "--drain"]) == 0
    slurm_cluster.wait_for(
        lambda: {row.job for row in slurm_cluster.squeue()} == {f"{job}_0", read_submissions(home)[0].collector},
        what="the task that waited is gone",
    )
    go.touch()
    slurm_cluster.wait_for(lambda: slurm_cluster.squeue() == [], timeout_s=120, what="task and collector ended")
    counts = state_of(home).counts()
    assert (counts.complete, counts.running, counts.waiting, counts.failed) == (1, 0, 0, 0)
    with (home.path / "results" / "trials.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["COMPLETE"]


def test_the_collector_resumes_as_often_as_it_may(
    slurm_cluster: SlurmCluster, home: StudyHome, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker loses one trial and dies, as at a time limit that gives no warning; three such arrays are too few."""
    submit("dies_after_one", "--workers", "1", "--set", "job.auto_resume=2", "--set", "study.max_attempts=9", trials=5)

    def is_over() -> bool:
        return slurm_cluster.squeue() == [] and len(read_submissions(home)) == 3

    slurm_cluster.wait_for(is_over, timeout_s=300, what="two resumes and their collectors")
    submissions = read_submissions(home)
    assert [s.resumes for s in submissions] == [0, 1, 2]
    assert all(s.collector for s in submissions)
    assert state_of(home).counts().finished == 3
    logs = "".join(path.read_text() for path in home.slurm.glob("*_collector.log"))
    assert "toy is not resumed: already resumed 2 times (job.auto_resume = 2)" in logs
    with (home.path / "results" / "trials.csv").open() as file:
        assert sum(row["state"] == "COMPLETE" for row in csv.DictReader(file)) == 3
    # by hand it goes on from there, and the row begins anew
    monkeypatch.setenv("DONE_DYING", "1")
    assert run(["resume", "toy"]) == 0
    slurm_cluster.wait_for(lambda: slurm_cluster.squeue() == [], timeout_s=180, what="the last array and its collector")
    assert state_of(home).counts().finished == 5
    assert read_submissions(home)[-1].resumes == 0
    assert state_of(home).by_state[TrialState.RUNNING] == set()


def test_a_partition_that_refuses_the_collector_keeps_its_workers(
    slurm_cluster: SlurmCluster, home: StudyHome, submit: Submit, tmp_path: Path, capfd, monkeypatch
) -> None:
    (tmp_path / "job_templates").mkdir()
    (tmp_path / "job_templates" / "collector.toml").write_text('scheduler = "slurm"\npartition = "nowhere"\n')
    (tmp_path / "tests").symlink_to(REPOSITORY / "tests")
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    job = submit("quadratic", "--set", "job.collect=true")
    said = capfd.readouterr().err
    assert "warning: the workers were submitted, but SLURM refused the collector" in said
    assert "nowhere" in said
    assert "job_templates/collector.toml" in said
    slurm_cluster.wait_ended(job)
    assert state_of(home).counts().complete == 4
