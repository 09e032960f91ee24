"""Several workers in one array task: what each is given, how each ends, and what the task does once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.records import TrialState
from hpo_batch.scheduler.allocation import read
from hpo_batch.sweep.schema import Job
from hpo_batch.worker.slots import is_supervisor, slots_of
from tests.helpers import write_program

from .conftest import Project

Build = Callable[..., Project]
TASK = {
    "SLURM_ARRAY_JOB_ID": "12",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_JOB_ID": "15",
    "SLURM_JOB_NAME": "s-abc",
    "SLURMD_NODENAME": "node1",
    "SLURM_CPUS_PER_TASK": "8",
}
FAKE_CONTROL = f"""#!{sys.executable}
import os, sys
with open(os.environ["FAKE_MPS_CALLS"], "a") as file:
    words = sys.argv[1:] or [sys.stdin.read().strip()]
    file.write(" ".join([*words, os.environ["CUDA_MPS_PIPE_DIRECTORY"]]) + chr(10))
sys.exit(int(os.environ.get("FAKE_MPS_CODE", "0")))
"""


def job(more: str) -> dict[str, str]:
    return {"job": f'template = "cpu"\ncpus = 2\n{more}'}


@pytest.fixture
def mps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The calls of a control program that starts no daemon."""
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    program.parent.mkdir()
    write_program(program, FAKE_CONTROL)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    calls = tmp_path / "calls"
    monkeypatch.setenv("FAKE_MPS_CALLS", str(calls))
    return calls


def test_each_gpu_of_a_task_gets_its_workers_and_each_its_share(project: Build, mps: Path) -> None:
    here = project("says_its_gpu", study="trials = 12", tables=job("workers_per_gpu = 2\nmps = true"))
    worker = here.run(**TASK, CUDA_VISIBLE_DEVICES="0,1")
    assert worker.process.returncode == 0, worker.said
    attempts = [trial.record().attempts[0] for trial in here.state.trials]
    assert {(a.worker, a.job, a.gpus, a.gpu_count) for a in attempts} == {
        ("12-r0-3.0", "12_3", ("0",), 0.5),
        ("12-r0-3.1", "12_3", ("0",), 0.5),
        ("12-r0-3.2", "12_3", ("1",), 0.5),
        ("12-r0-3.3", "12_3", ("1",), 0.5),
    }
    assert {a.submission for a in attempts} == {"abc"}
    started, stopped = mps.read_text().splitlines()
    pipe = started.removeprefix("-d ")
    assert stopped == f"quit {pipe}"
    assert not Path(pipe).parent.exists()
    assert {here.file("stdout", number) for number in range(12)} == {f"0 {pipe} 2\n", f"1 {pipe} 2\n"}
    # lines that can be told apart, and one last word for all
    assert all(f" I [slot {slot}] worker ends: " in worker.said for slot in range(4))
    assert " I worker ends: 12 complete, 0 pruned, 0 failed, 0 given back" in worker.said.splitlines()[-1]
    assert list(here.home.workers.iterdir()) == []


def test_a_killed_worker_ends_no_other_and_is_followed_by_one(project: Build) -> None:
    here = project("first_is_killed", study="trials = 8", tables=job("workers_per_gpu = 2"))
    worker = here.run(**TASK)
    assert worker.process.returncode == 0, worker.said
    assert "the worker was killed by SIGKILL; out of memory?; the others go on" in worker.said
    records = [trial.record() for trial in here.state.trials]
    assert [record.state for record in records] == [TrialState.COMPLETE] * 8
    assert [attempt.ending for attempt in records[0].attempts] == ["lost", "complete"]
    assert [len(record.attempts) for record in records[1:]] == [1] * 7
    assert list(here.home.workers.glob("*.json")) == []


def test_what_kills_every_worker_is_not_fed_for_ever(project: Build) -> None:
    here = project("all_are_killed", study="trials = 9\nmax_attempts = 50", tables=job("workers_per_gpu = 2"))
    worker = here.run(**TASK)
    assert worker.process.returncode == 0
    assert worker.said.count("was killed by SIGKILL") == 6
    assert worker.said.count("giving up on restarting it") == 2


@pytest.mark.parametrize("code", ["0", "7"])
def test_a_preempted_task_gives_back_all_trials_and_stops_its_daemon(
    project: Build, mps: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setenv("FAKE_MPS_CODE", code)
    here = project("long", study="trials = 4", tables=job("workers_per_gpu = 2\nmps = true"))
    worker = here.start(**TASK, SUBMITIT_EXECUTOR="slurm")  # a batch job: no other waits for SLURM's kill
    epochs = [here.home.attempt(number, 1) / "checkpoint" / "epoch" for number in range(2)]
    here.until(lambda: all(epoch.exists() for epoch in epochs))
    worker.process.send_signal(signal.SIGTERM)
    here.until(lambda: len(mps.read_text().splitlines()) == (2 if code == "0" else 1))
    here.until(lambda: [t.ending(1).get("how") for t in here.state.trials] == ["preempted"] * 2)
    here.until(lambda: list(here.home.workers.glob("*.json")) == [])
    time.sleep(1)
    assert worker.process.poll() is None  # it waits to be requeued, once for all
    worker.process.kill()
    worker.wait()
    assert "waiting, so that it is requeued if it was preempted" in worker.said
    assert (("exit code 7: no output: workers share the GPU without MPS") in worker.said) == (code == "7")


def test_without_the_control_program_the_workers_go_on(project: Build) -> None:
    here = project("says_its_gpu", study="trials = 2", tables=job("workers_per_gpu = 1\nmps = true"))
    worker = here.run(**TASK)
    assert worker.process.returncode == 0
    assert "'nvidia-cuda-mps-control' is not installed on this node: workers share the GPU without MPS" in worker.said
    assert here.file("stdout") == "None None 8\n"


def test_workers_that_cannot_work_fail_the_task(project: Build) -> None:
    here = project("fine", tables=job('workers_per_gpu = 2\ndevice = "cuda"'))
    worker = here.run(**TASK)
    assert worker.process.returncode == 2
    assert worker.said.count('device = "cuda" was requested') == 2
    assert "none of the workers of this array task could work" in worker.said.splitlines()[-1]


def test_workers_outlive_no_supervisor(project: Build) -> None:
    here = project("long", study="trials = 4", tables=job("workers_per_gpu = 2"))
    worker = here.start(**TASK, SUBMITIT_EXECUTOR="slurm")  # a batch job: no other waits for SLURM's kill
    epochs = [here.home.attempt(number, 1) / "checkpoint" / "epoch" for number in range(2)]
    here.until(lambda: all(epoch.exists() for epoch in epochs))
    worker.process.kill()
    here.until(lambda: [t.ending(1).get("how") for t in here.state.trials] == ["preempted"] * 2)
    worker.wait()


def test_who_supervises() -> None:
    task = read({**TASK, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 0.0)
    assert not is_supervisor(Job(), task, {})  # one worker, with all four
    assert is_supervisor(Job(workers_per_gpu=1), task, {})
    assert [slot.gpu for slot in slots_of(Job(workers_per_gpu=1), task, {})] == ["0", "1", "2", "3"]
    assert not is_supervisor(Job(workers_per_gpu=1), task, {"HPO_BATCH_SLOT": "0"})
    assert not is_supervisor(Job(workers_per_gpu=2), read({}, 0.0), {})
    one = read({**TASK, "CUDA_VISIBLE_DEVICES": "5"}, 0.0)
    assert not is_supervisor(Job(workers_per_gpu=1), one, {})
    slots = slots_of(Job(workers_per_gpu=3, mps=True), one, {})
    assert [(slot.gpu, slot.cpus) for slot in slots] == [("0", 2)] * 3  # the daemon's first GPU, whatever its number
