"""Walltimes shorter than the sweep: it finishes through requeues, each trial once."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.records import TrialState
from tests.helpers import REPOSITORY
from tests.study.helpers import state_of

from .cluster import SlurmCluster
from .sweeps import log_of, steps, submit_toy


def test_a_sweep_finishes_through_requeues_each_trial_once(
    slurm_cluster: SlurmCluster, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    home, job = submit_toy(
        tmp_path,
        root,
        "trains",
        study="trials = 2",
        space="x = { low = 0.0, high = 1.0 }\nepochs = 6\nseconds = 5",
        job='workers = 1\nwalltime = "1:00"\nsignal_lead_s = 15',
    )
    slurm_cluster.wait_ended(job, timeout_s=400)
    state, said = state_of(home), log_of(home)
    assert [trial.state for trial in state.trials] == [TrialState.COMPLETE] * 2, said
    for trial in state.trials:
        assert [step for n in range(1, trial.attempt + 1) for step in steps(home, trial.number, n)] == list(range(6))
        endings = [attempt.ending for attempt in trial.record().attempts]
        assert endings == ["time_limit"] * (len(endings) - 1) + ["complete"]
    assert said.count("asking SLURM to requeue") >= 1
    assert "no more trials for this worker: target met" in said
    assert slurm_cluster.squeue() == []
