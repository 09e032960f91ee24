"""Nodes that see the logs directory through mounts of their own, with the caches of NFS clients (tests/network)."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome
from tests.cli.conftest import SWEEP
from tests.helpers import REPOSITORY
from tests.network.mount import Host
from tests.study.helpers import state_of

from .cluster import SlurmCluster
from .sweeps import log_of, submit_toy

TRIALS = 60
"""enough for the others to outlast a lease: who has seen a worker live within the last one does not wait for it"""


def test_a_sweep_over_nodes_comes_to_its_target_though_a_nodes_worker_is_killed(
    slurm_cluster: SlurmCluster, mounts: dict[str, Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    login = mounts["login"]
    seen_here, job = submit_toy(
        tmp_path,
        login.path,
        "trains",
        study=f"trials = {TRIALS}\nlease_s = 5\nmax_attempts = 5",
        space="epochs = [1, 2, 3, 4]\nseconds = { low = 0.05, high = 0.3 }",
        job='workers = 4\ngres = "gpu:a100:4"\nwalltime = "0:30:00"',
    )
    home = StudyHome(path=login.source / seen_here.path.relative_to(login.path), name=seen_here.name)

    def workers() -> dict[str, int]:
        """The processes that train right now, by node."""
        running = [trial for trial in state_of(home).trials if trial.state is TrialState.RUNNING]
        return {facts["host"]: facts["pid"] for facts in (trial.attempt_facts(trial.attempt) for trial in running)}

    victim = slurm_cluster.wait_for(lambda: len(workers()) >= 3 and workers(), timeout_s=120, what="three nodes train")
    node, pid = sorted(victim.items())[0]
    os.kill(pid, signal.SIGKILL)
    slurm_cluster.wait_ended(job)

    state, said = state_of(home), log_of(home)
    counts = state.counts()
    assert (counts.finished, counts.failed, counts.running, counts.waiting) == (TRIALS, 0, 0, 0), said
    assert max(Counter(trial.key for trial in state.trials).values()) == 1
    assert len({trial.attempt_facts(trial.attempt)["host"] for trial in state.trials}) >= 3
    assert any(trial.ending(1).get("how") == "lost" for trial in state.trials), f"{node} lost no trial: {said}"
    assert not list(home.path.glob("journal*.bad"))
    assert "Traceback" not in said
    assert state_of(seen_here).counts() == counts


def test_doctor_tells_what_locks_the_nodes_have(
    slurm_cluster: SlurmCluster,
    mounts: dict[str, Host],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(REPOSITORY)
    sweep = tmp_path / "toy.toml"
    sweep.write_text(SWEEP.format(name="toy", trials=4, function="quadratic").replace('"local"', '"cpu"'))
    told: dict[str, dict[str, str]] = {}
    for locks in ("shared", "local", "none"):
        for host in mounts.values():
            host.set_locks(locks)
        capfd.readouterr()
        run(["doctor", str(sweep), "--json", "--cluster", "--root", str(mounts["login"].path)])
        findings = json.loads(capfd.readouterr().out)["examined"][-1]["findings"]
        assert not [finding for finding in findings if finding["level"] == "bad"]
        said = [finding["what"] for finding in findings if finding["about"] == "locks"]
        told[locks] = {what.partition(": ")[0] + kind: what for what in said for kind in (_kind(what),)}
        slurm_cluster.wait_for(lambda: slurm_cluster.squeue() == [], what="its job has ended")
    here, nodes = "two processes of this host", "nodes n1 and n2"
    for locks in told:
        assert "keep each other out, and appends are seen" in told[locks][f"{nodes} link"]
    for locks in ("shared", "local"):
        assert "kernel locks keep each other out, and appends are seen" in told[locks][f"{here} kernel"]
    assert "kernel locks keep each other out, and appends are seen" in told["shared"][f"{nodes} kernel"]
    assert "kernel locks do not keep each other out" in told["local"][f"{nodes} kernel"]
    for where in (here, nodes):
        assert "no kernel locks here (Function not implemented): '.lock' alone" in told["none"][f"{where} kernel"]


def _kind(what: str) -> str:
    return " kernel" if "kernel locks" in what else " link"
