"""Functions that cannot be interrupted, in real array tasks: each ends its own task, in order, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.records import TrialState
from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import read_submissions
from tests.cli.conftest import SWEEP
from tests.helpers import REPOSITORY
from tests.study.helpers import state_of

from .cluster import SlurmCluster


def submit(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, *options: str, more: str = "") -> str:
    """The id of the array."""
    monkeypatch.chdir(REPOSITORY)
    path = tmp_path / "toy.toml"
    text = SWEEP.format(name="toy", trials=4, function="first_hangs").replace('"local"', '"cpu"')
    path.write_text(text + more)
    assert run(["submit", str(path), "--root", str(root), *options]) == 0
    (job,) = read_submissions(home_of(root, "toy"))[-1].job_ids
    return job


def test_a_function_that_hangs_ends_its_task_and_the_others_go_on(
    slurm_cluster: SlurmCluster, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(tmp_path, root, monkeypatch, "--workers", "2", more='\n[failures]\nstall = "0:00:03"\n')
    slurm_cluster.wait_ended(job)
    state = state_of(home_of(root, "toy"))
    assert state.trials[0].record().reason == "stalled"
    assert state.counts().complete >= 3
    slurm_cluster.wait_for(
        lambda: sorted(slurm_cluster.sacct(job).values()) == ["COMPLETED", "FAILED"], what="accounting of both tasks"
    )


@pytest.mark.timeout(240)
def test_a_function_that_does_not_listen_is_given_back_before_the_limit(
    slurm_cluster: SlurmCluster, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(tmp_path, root, monkeypatch, "--workers", "1", "--trials", "1", "--set", "job.walltime=0:01:00")
    slurm_cluster.wait_ended(job, timeout_s=150)
    trial = state_of(home_of(root, "toy")).trials[0]
    assert trial.state is TrialState.WAITING
    ending = trial.ending(1)
    assert (ending["how"], ending["moved"]) == ("time_limit", False)
    assert 10 < ending["seconds"] < 70  # what is left of a minute after SLURM's and the worker's start
    (log,) = home_of(root, "toy").slurm.glob("*_log.err")
    # another such run would do no better: it ends in words, not in a circle of requeues
    assert "not requeued: this run has finished no trial and saved no checkpoint" in log.read_text()
