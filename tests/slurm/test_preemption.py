"""A preempted array: what each kind of objective loses, and what is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch import processes
from hpo_batch.records import TrialState
from tests.helpers import REPOSITORY
from tests.study.helpers import state_of

from .cluster import SlurmCluster
from .sweeps import log_of, steps, submit_toy

KINDS = ("listens", "loads", "deaf", "ignores")


def test_preempted_trials_go_on_and_nothing_but_the_running_step_is_redone(
    slurm_cluster: SlurmCluster, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    planned = "".join(f'[[trial]]\nname = "{kind}_"\nparams = {{ kind = "{kind}" }}\n' for kind in KINDS)
    home, job = submit_toy(
        tmp_path,
        root,
        "meets_preemption",
        study="lease_s = 5",
        space="",
        sampler='name = "list"',
        job='workers = 4\ngres = "gpu:a100:1"\nnodelist = "n1"\nwalltime = "0:30:00"\ngrace_s = 10',
        more=planned,
    )
    slurm_cluster.wait_for(
        lambda: all(steps(home, number, 1) for number in range(4)), timeout_s=180, what="a report of every trial"
    )
    urgent = slurm_cluster.sbatch("--partition=urgent", "--nodelist=n1", "--gres=gpu:4", script="true")
    slurm_cluster.wait_ended(urgent)
    slurm_cluster.wait_ended(job, timeout_s=240)

    said = log_of(home)
    records = {str(record.name): record for record in (trial.record() for trial in state_of(home).trials)}
    assert {record.state for record in records.values()} == {TrialState.COMPLETE}, said
    endings = {name: [attempt.ending for attempt in record.attempts] for name, record in records.items()}
    assert endings == {
        "listens_": ["preempted", "complete"],
        "loads_": ["preempted", "complete"],
        "deaf_": ["preempted", "complete"],
        "ignores_": ["lost", "complete"],  # it took the signal from its worker too; no other trial was
    }, said
    number = records["listens_"].number
    before, after = steps(home, number, 1), steps(home, number, 2)
    assert before + after == list(range(len(before) + len(after)))  # the next epoch, and none twice
    loads = records["loads_"].number
    assert steps(home, loads, 2) == [steps(home, loads, 1)[-1] + 1]
    assert "waiting, so that it is requeued if it was preempted" in said
    # the forked children neither saved nor stayed
    children = [int(pid) for n in (1, 2) for pid in (home.attempt(number, n) / "children").read_text().split()]
    assert len(children) == 4
    assert not any(processes.is_alive(pid) for pid in children)
    assert not list(home.trial(number).rglob("child"))
    # each task was requeued once, by SLURM, and ended by itself
    runs = slurm_cluster.wait_for(
        lambda: _ended(slurm_cluster, job), what="accounting of the four tasks after their second run"
    )
    assert set(runs.values()) == {"COMPLETED"}


def _ended(cluster: SlurmCluster, job: str) -> dict[str, str] | None:
    states = cluster.sacct(job)
    return states if len(states) == 4 and set(states.values()) <= {"COMPLETED", "FAILED"} else None
