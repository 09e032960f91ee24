"""Several workers on each GPU of a real array task: what each is given, who ends with whom, one requeue for all."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.records import TrialState
from hpo_batch.store.home import home_of
from hpo_batch.store.leases import read_owners
from hpo_batch.store.submissions import read_submissions
from tests.cli.conftest import SWEEP
from tests.helpers import REPOSITORY
from tests.study.helpers import state_of

from .cluster import SlurmCluster


def test_workers_share_the_gpus_of_their_tasks_and_are_requeued_together(
    slurm_cluster: SlurmCluster,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(REPOSITORY)
    path = tmp_path / "toy.toml"
    text = (
        SWEEP.format(name="toy", trials=12, function="sleeps")
        .replace("tests.cli.toys", "tests.slurm.toys")
        .replace('template = "local"\nworkers = 2', "")
    )
    path.write_text(f'{text}template = "cpu"\nworkers = 6\ncpus = 1\ngres = "gpu:a100:2"\nworkers_per_gpu = 2\n')
    assert run(["submit", str(path), "--root", str(root)]) == 0
    home = home_of(root, "toy")
    (job,) = read_submissions(home)[0].job_ids
    tasks = [f"{job}_0", f"{job}_1"]  # of four workers each: six were asked for

    def held() -> list[tuple[str, str]]:
        state = state_of(home)
        running = [state.trials[number].record().attempts[-1] for number in state.by_state[TrialState.RUNNING]]
        return sorted((attempt.worker, ",".join(attempt.gpus)) for attempt in running)

    def endings() -> list[str]:
        return [a.ending for t in state_of(home).trials for a in t.record().attempts if a.ending]

    slurm_cluster.wait_for(lambda: len(held()) == 8, timeout_s=180, what="8 running trials")
    assert [worker for worker, _ in held()] == [f"{job}-r0-{task}.{slot}" for task in (0, 1) for slot in range(4)]
    gpus = [gpu for _, gpu in held()]
    assert all(len(gpu) == 1 for gpu in gpus)  # one each, and two workers on each
    assert [len(set(gpus[first : first + 4])) for first in (0, 4)] == [2, 2]
    assert [gpus.count(gpu) % 2 for gpu in set(gpus)] == [0] * len(set(gpus))
    for i in range(2):
        shown = slurm_cluster.run("scontrol", "show", "job", tasks[i]).stdout
        assert "CPUs/Task=4" in shown
    capfd.readouterr()
    assert run(["status", "toy", "--root", str(root), "--json"]) == 0
    (status,) = json.loads(capfd.readouterr().out)
    assert sorted(worker["job"] for worker in status["workers"]) == sorted(tasks * 4)
    assert len({worker["trial"] for worker in status["workers"]}) == 8
    assert run(["submit", str(path), "--root", str(root)]) == 0
    assert "workers are already running; none added" in capfd.readouterr().err

    # as the kernel does for want of memory: the other seven go on, and another worker follows it
    killed = read_owners(home.workers)[f"{job}-r0-0.1"]
    os.kill(killed.pid, signal.SIGKILL)
    slurm_cluster.wait_for(
        lambda: endings() == ["lost"] and len(held()) == 8, timeout_s=120, what="another worker in its place"
    )
    assert read_owners(home.workers)[f"{job}-r0-0.1"].pid != killed.pid

    # the limit is near: all give back, and each task asks once to be requeued
    slurm_cluster.run("scancel", "--signal=USR2", job)
    slurm_cluster.wait_for(lambda: not held(), timeout_s=120, what="every trial given back")
    slurm_cluster.wait_for(
        lambda: all("Restarts=1" in slurm_cluster.run("scontrol", "show", "job", task).stdout for task in tasks),
        timeout_s=120,
        what="both tasks requeued",
    )
    slurm_cluster.wait_for(
        lambda: any(worker.startswith(f"{job}-r1-0.") for worker, _ in held()), timeout_s=180, what="a trial goes on"
    )
    assert sorted(endings()) == ["lost", *["time_limit"] * 8]
