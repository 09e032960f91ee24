"""A trial on two real nodes: trained together, ended together, continued from its checkpoint after a requeue."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.records import TrialState
from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import read_submissions
from tests.helpers import REPOSITORY
from tests.study.helpers import state_of

from .cluster import SlurmCluster

SWEEP = """
[study]
name = "toy"
metric = "loss"
direction = "minimize"

[objective]
function = "tests.worker.toys:trains_together"

[sampler]
name = "list"

[job]
template = "cpu"
cpus = 1
gres = "gpu:a100:2"
nodes = 2
tasks_per_node = 1

[[trial]]
name = "fine"
params = { kind = "fine", steps = 6, loss = 0.25 }

[[trial]]
name = "killed"
params = { kind = "killed", steps = 6, loss = 0.5 }

[[trial]]
name = "long"
params = { kind = "long", steps = 100_000, loss = 0.75 }
"""


def test_a_worker_of_two_nodes(
    slurm_cluster: SlurmCluster, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    path = tmp_path / "toy.toml"
    path.write_text(SWEEP)
    assert run(["submit", str(path), "--root", str(root)]) == 0
    home = home_of(root, "toy")
    (job,) = read_submissions(home)[0].job_ids
    (row,) = slurm_cluster.wait_for(
        lambda: [row for row in slurm_cluster.squeue() if row.state == "RUNNING"], timeout_s=120, what="it runs"
    )
    assert row.node == "n[1-2]"
    metrics = home.attempt(2, 1) / "metrics.jsonl"
    slurm_cluster.wait_for(metrics.exists, timeout_s=240, what="the third trial trains")
    fine, killed, _ = [trial.record() for trial in state_of(home).trials]
    assert (fine.state, fine.values) == (TrialState.COMPLETE, (0.25,))
    assert (home.attempt(0, 1) / "rank-1" / "stdout").read_text().startswith("rank 1 of 2 local 0 from 0\n")
    assert (killed.state, [a.ending for a in killed.attempts]) == (TrialState.COMPLETE, ["lost", "complete"])
    assert {a.host for a in killed.attempts} == {"n1"}
    assert {(len(a.gpus), a.gpu_count) for a in killed.attempts} == {(2, 4)}  # of both nodes
    log = next(home.slurm.glob("*_0_log.err")).read_text()
    assert "rank 1 on n2: its process was killed by SIGKILL" in log

    # the limit is near: both ranks stop at one step, and the whole step is requeued
    slurm_cluster.run("scancel", "--signal=USR2", job)
    slurm_cluster.wait_for(
        lambda: state_of(home).trials[2].ending(1).get("how") == "time_limit", timeout_s=60, what="it is given back"
    )
    last = [(home.attempt(2, 1) / name / "stdout").read_text().splitlines()[-1] for name in ("", "rank-1")]
    assert last[0] == last[1]
    assert last[0].startswith("stopped time_limit at ")
    slurm_cluster.wait_for(
        (home.attempt(2, 2) / "metrics.jsonl").exists, timeout_s=240, what="it goes on after the requeue"
    )
    step = int(last[0].rpartition(" ")[2])
    for name in ("", "rank-1"):
        text = (home.attempt(2, 2) / name / "stdout").read_text()
        assert text.splitlines()[0].endswith(f"local 0 from {step + 1}")
