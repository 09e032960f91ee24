"""``hpo-batch doctor --cluster`` on two real nodes, and what it says when something is wrong there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.cli.main import run
from tests.cli.conftest import SWEEP
from tests.cli.conftest import few_turns as few_turns  # a fixture
from tests.helpers import REPOSITORY, write_program

from .cluster import SlurmCluster

Doctor = Callable[..., tuple[int, dict[tuple[str, str], str]]]


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Path]:
    def write(*keys: str) -> Path:
        path = tmp_path / "toy.toml"
        text = SWEEP.format(name="toy", trials=4, function="quadratic").replace('"local"', '"cpu"')
        path.write_text(text + "".join(f"{key}\n" for key in keys))
        return path

    return write


@pytest.fixture
def doctor(
    slurm_cluster: SlurmCluster, sweep, root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Doctor:
    """Exit code, and what was found by level and subject; nothing is left behind."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("HPO_BATCH_ROOT", str(root))

    def call(*keys: str, options: tuple[str, ...] = ("--cluster",)) -> tuple[int, dict[tuple[str, str], str]]:
        capfd.readouterr()
        code = run(["doctor", str(sweep(*keys)), "--json", *options])
        shown: dict[str, Any] = json.loads(capfd.readouterr().out)
        found: dict[tuple[str, str], str] = {}
        for finding in shown["examined"][-1]["findings"]:
            place = (finding["level"], finding["about"])
            found[place] = f"{found.get(place, '')}{finding['what']}; {finding['do']}\n"
        assert list(root.iterdir()) == []
        slurm_cluster.wait_for(lambda: slurm_cluster.squeue() == [], what="its job has ended")
        return code, found

    return call


def test_two_nodes_that_have_all(doctor: Doctor) -> None:
    code, found = doctor("sbatch = { export = 'NONE' }")
    assert code == 0, found
    assert "a worker starts" in found["ok", "start"]
    assert not any(level == "bad" for level, _ in found)
    locks = found["ok", "locks"]
    assert locks.count("two processes of this host") == 2
    assert "nodes n1 and n2: kernel locks keep each other out" in locks
    assert "nodes n1 and n2: '.lock' files keep each other out" in locks
    assert f"n1, n2: '{sys.executable}'" in found["ok", "python"]
    assert "n1, n2: scontrol and sbatch work there" in found["ok", "nodes"]
    assert "clocks of nodes and this host" in found["ok", "clocks"]
    assert "may have 1,001 tasks" in found["ok", "limits"]
    assert "preempted (REQUEUE)" in found["ok", "preempt"]
    assert "3 s to save (KillWait)" in found["note", "preempt"]
    assert "sbatch would take the sweep's job" in found["ok", "slurm"]


@pytest.mark.usefixtures("few_turns")
def test_what_is_wrong_on_the_nodes_is_told(doctor: Doctor, tmp_path: Path) -> None:
    code, found = doctor('python = "/nonexistent"')
    assert code == 3
    assert "/nonexistent: No such file or directory; set [job] python" in found["bad", "python"].replace(
        "; srun: error: n2: task 1: Exited with exit code 2", ""
    ).replace("; srun: error: n1: task 0: Exited with exit code 2", "")
    code, found = doctor('gres = "gpu:a100:2"', options=("--cluster", "--gpu"))
    assert code == 3
    assert "n1, n2: GPU 0,1 was given, but torch" in found["bad", "gpus"]
    # a Python that answers all questions, and cannot start a worker
    python = tmp_path / "python"
    write_program(
        python,
        '#!/bin/sh\ncase "$*" in *submitit*) echo "No module named submitit" >&2; exit 1;; esac\n'
        f'exec {sys.executable} "$@"\n',
    )
    code, found = doctor(f'python = "{python}"')
    assert code == 3
    assert "n[1-2]: a worker does not start: No module named submitit; see [job] setup" in found["bad", "start"]
    code, found = doctor("srun = false")
    assert code == 0
    assert "one node answered (n1): [job] srun = false" in found["note", "nodes"]
    assert "a worker starts" in found["ok", "start"]
    # in few turns they may never meet, which is a note
    locks = found.get(("ok", "locks"), "") + found.get(("note", "locks"), "")
    assert "two processes of node n1: '.lock' files" in locks
    assert ("bad", "locks") not in found


@pytest.mark.usefixtures("few_turns")
def test_a_job_that_cannot_start_is_told_and_cancelled(slurm_cluster: SlurmCluster, doctor: Doctor) -> None:
    code, found = doctor("sbatch = { hold = true }", options=("--cluster", "--start-within", "1"))
    assert code == 0
    assert "did not start within 1 s: PENDING, JobHeldUser; it was cancelled" in found["note", "nodes"]
    slurm_cluster.run("scontrol", "update", "PartitionName=urgent", "State=DOWN")
    try:
        code, found = doctor('partition = "urgent"')
    finally:
        slurm_cluster.run("scontrol", "update", "PartitionName=urgent", "State=UP")
    assert code == 3
    assert "partition 'urgent' is DOWN: it starts no jobs; ask your administrators" in found["bad", "slurm"]
    assert "no job was submitted" in found["note", "nodes"]
    code, found = doctor('partition = "nowhere"', options=())
    assert code == 3
    assert "no partition 'nowhere'; there are gpu, urgent" in found["bad", "slurm"]


def test_a_doctor_that_is_ended_cancels_its_job_and_leaves_nothing(
    slurm_cluster: SlurmCluster, sweep, root: Path
) -> None:
    # ten minutes, since none may give up before the last one waits, however slow this machine is
    words = ["doctor", str(sweep("sbatch = { hold = true }")), "--cluster", "--start-within", "600"]
    # tests that run under nohup ignore SIGHUP, and so would what they start
    argv = ["env", "--default-signal=HUP", sys.executable, "-m", "hpo_batch", *words]
    env = {**os.environ, "HPO_BATCH_ROOT": str(root)}
    asked = {"cwd": REPOSITORY, "env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    doctors = {number: subprocess.Popen(argv, **asked) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for process in doctors.values():
            assert process.stderr is not None
            assert b"for its start" in process.stderr.readline()
        assert len(slurm_cluster.squeue()) == 3
        for number, process in doctors.items():
            process.send_signal(number)
            process.send_signal(number)  # as impatient people and batch systems do
        assert [process.wait(timeout=240) for process in doctors.values()] == [130] * 3
    finally:
        for process in doctors.values():
            process.kill()
            process.communicate()
    assert slurm_cluster.squeue() == []
    assert list(root.iterdir()) == []
