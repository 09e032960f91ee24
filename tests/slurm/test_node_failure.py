"""Nodes that fail, wholly or to SLURM alone: the trials go on elsewhere, and what comes late changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpo_batch import processes
from hpo_batch.records import TrialState
from tests.helpers import REPOSITORY
from tests.study.helpers import state_of

from .cluster import SlurmCluster
from .sweeps import log_of, submit_toy


def test_trials_of_failed_nodes_go_on_elsewhere_and_a_worker_that_lives_on_is_fenced(
    slurm_cluster: SlurmCluster, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    home, _ = submit_toy(
        tmp_path,
        root,
        "meets_node_failure",
        study='trials = 2\nlease_s = 5\nkeep_checkpoints = "all"',
        job='workers = 2\ngres = "gpu:a100:4"\nwalltime = "0:30:00"',
    )

    def begun() -> bool:
        saved = [home.attempt(number, 1) / "checkpoint" / "epoch" for number in (0, 1)]
        return all(path.exists() and path.read_text() for path in saved)

    slurm_cluster.wait_for(begun, timeout_s=180, what="a checkpoint of both trials")
    first = [trial.attempt_facts(1) for trial in state_of(home).trials]
    dead, zombie = first
    assert dead["host"] != zombie["host"]
    slurm_cluster.kill_node(dead["host"])
    slurm_cluster.kill_slurmd(zombie["host"])
    assert not processes.is_alive(dead["pid"])
    slurm_cluster.wait_for(
        lambda: all(trial.state is TrialState.COMPLETE for trial in state_of(home).trials),
        timeout_s=240,
        what="both trials complete",
    )
    assert processes.is_alive(zombie["pid"])
    told = home.journal.read_bytes()
    (home.path / "late").touch()
    slurm_cluster.wait_for(
        lambda: not processes.is_alive(zombie["pid"]), timeout_s=60, what="the worker that was cut off has ended"
    )

    state, said = state_of(home), log_of(home)
    for trial, before in zip(state.trials, first, strict=True):
        record = trial.record()
        assert (record.state, record.values) == (TrialState.COMPLETE, (0.5,))
        assert [attempt.ending for attempt in record.attempts] == ["lost", "complete"]
        assert record.attempts[1].host not in (dead["host"], zombie["host"])
        # by the next run of its own task, which need not wait until a lease has run out
        assert record.attempts[1].job == before["job"], said
    assert home.journal.read_bytes() == told
    assert "its outcome does not count" in said
    assert "SLURM has restarted this array task elsewhere" in said
    result = json.loads((home.attempt(1, 1) / "result.json").read_text())
    assert result["values"] == [99.0]  # in its own folder, and nowhere else
    saved = [(home.attempt(1, n) / "checkpoint" / "epoch").read_text() for n in (1, 2)]
    assert saved == ["late", "0"]
