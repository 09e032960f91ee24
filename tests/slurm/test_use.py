"""What users do to their jobs, and what sites do to them: what is then said is true, and what is advised leads on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions
from tests.helpers import REPOSITORY, write_program
from tests.study.helpers import state_of

from .cluster import SLURM_VARIABLES, ClusterConfig, SlurmCluster, slurm_version
from .sweeps import log_of, submit_toy

STRICT = (
    "SelectTypeParameters=CR_Core_Memory\nJobAcctGatherParams=OverMemoryKill\nJobAcctGatherFrequency=1\n"
    "PrivateData=jobs"
)
"""SLURM looks each second at what a job's processes hold, and kills jobs that hold more than they asked for; and it
shows nobody the jobs of others"""


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def status(cli, home: StudyHome) -> dict[str, Any]:
    (found,) = json.loads(cli("status", home.name, "--json")[1])
    return dict(found)


def facts(cluster: SlurmCluster, job: str) -> dict[str, str]:
    return dict(re.findall(r"(\S+?)=(\S*)", cluster.run("scontrol", "show", "job", job).stdout))


def test_a_job_that_gets_no_environment_and_options_that_are_keys(
    slurm_cluster: SlurmCluster, cli, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SBATCH_EXPORT=NONE: srun handed on nothing, and submitit's runner did not know its own job."""
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    path = tmp_path / "toy.toml"
    home, _ = submit_toy(tmp_path, root, "waits", study="trials = 1")
    (home.path / "go").touch()
    slurm_cluster.wait_ended(read_submissions(home)[-1].job_ids[0])
    assert state_of(home).counts().complete == 1, log_of(home)
    (home.path / "go").unlink()
    argv = ("submit", path, "--trials", "2", "--", "--no-requeue", "--cpus-per-task=2", "--export=PATH")
    code, _, err = cli(*argv)
    assert code == 0, err
    (job,) = read_submissions(home)[-1].job_ids
    assert (found := facts(slurm_cluster, job))["Requeue"] == "0", found
    assert found["CPUs/Task"] == "2"
    (home.path / "go").touch()
    slurm_cluster.wait_ended(job)
    assert state_of(home).counts().complete == 2, log_of(home)
    assert "2 CPUs" in log_of(home)


def test_what_is_ending_is_no_worker(slurm_cluster: SlurmCluster, cli, root: Path, tmp_path: Path) -> None:
    home, job = submit_toy(tmp_path, root, "waits", study="trials = 2", job="workers = 2")
    slurm_cluster.wait_for(lambda: state_of(home).counts().running == 2, timeout_s=120, what="both work")
    slurm_cluster.run("scancel", job)
    code, _, err = cli("resume", "toy")
    assert code == 0
    assert f"not counted as workers: 2 array tasks ({job}_0,{job}_1): ending" in err
    assert "2 array tasks from template" in err
    assert [s.workers for s in read_submissions(home)] == [2, 2]
    (home.path / "go").touch()
    slurm_cluster.wait_ended(read_submissions(home)[-1].job_ids[0])
    assert state_of(home).counts().complete == 2


def test_what_can_never_start_is_told_and_replaced(
    slurm_cluster: SlurmCluster, cli, root: Path, tmp_path: Path
) -> None:
    home, job = submit_toy(tmp_path, root, "waits", study="trials = 1", job='walltime = "2-00:00:00"')
    slurm_cluster.wait_for(lambda: slurm_cluster.squeue()[0].reason == "PartitionTimeLimit", what="SLURM says so")
    assert "no workers running; change job.walltime first" in cli("status", "toy")[1]
    found = status(cli, home)
    assert [(w["state"], w["will_work"]) for w in found["workers"]] == [("pending", False)]
    code, _, err = cli("submit", tmp_path / "toy.toml", "--wait", "-n")
    assert f"not counted as workers: array task {job}: can never start (PartitionTimeLimit: asks for more time" in err
    (home.path / "go").touch()
    code, _, err = cli("submit", tmp_path / "toy.toml", "--wait", "--set", 'job.walltime="5"')
    assert code == 0, err
    assert f"cancelled, since they could never start: {job}" in err
    assert state_of(home).counts().complete == 1
    slurm_cluster.wait_for(lambda: slurm_cluster.squeue() == [], what="the worker's job has ended, too")


def test_waiting_ends_where_nothing_will_start(slurm_cluster: SlurmCluster, cli, root: Path, tmp_path: Path) -> None:
    first = slurm_cluster.sbatch(script="exit 1")
    slurm_cluster.wait_ended(first)
    submit_toy(tmp_path, root, "waits", study="trials = 1", job=f'dependency = "afterok:{first}"')
    slurm_cluster.wait_for(
        lambda: slurm_cluster.squeue()[0].reason == "DependencyNeverSatisfied", what="SLURM says so", timeout_s=90
    )
    code, _, err = cli("submit", tmp_path / "toy.toml", "--wait", "--set", f'job.dependency="afterok:{first}"')
    assert code != 0
    assert "1 array task will not start: DependencyNeverSatisfied (the job it waits for has failed" in err


def test_tasks_that_wait_get_the_new_limit_and_end_with_the_target(
    slurm_cluster: SlurmCluster, cli, root: Path, tmp_path: Path
) -> None:
    job = 'workers = 2\nwalltime = "10"\nnodelist = "n1"\nsbatch = { exclusive = true }\ncollect = true'
    home, array = submit_toy(tmp_path, root, "waits", study="trials = 2", job=job)
    slurm_cluster.wait_for(lambda: state_of(home).counts().running == 1, timeout_s=120, what="one works")
    code, _, err = cli("submit", tmp_path / "toy.toml", "--set", 'job.walltime="20"', "--set", "job.cpus=2")
    assert code == 0
    assert "2 workers are already running; none added" in err
    assert f"pending array tasks have the new limit too, 0:20:00: {array}_1" in err
    assert f"running array tasks keep their limit: {array}_0" in err
    assert f"warning: pending array tasks keep the job.cpus they were submitted with: {array}_1" in err
    assert facts(slurm_cluster, f"{array}_1")["TimeLimit"] == "00:20:00"
    assert facts(slurm_cluster, f"{array}_0")["TimeLimit"] == "00:10:00"
    (home.path / "go").touch()
    # the second task never runs: the first finds the target met, and the collector need not wait for it
    slurm_cluster.wait_for(lambda: slurm_cluster.squeue() == [], timeout_s=120, what="all have ended")
    assert state_of(home).counts().complete == 2
    assert f"the target is met: tasks that still wait are cancelled, jobs {array}" in log_of(home)
    assert not list(home.slurm.glob(f"{array}_1_*_log.err"))
    assert (home.path / "results" / "trials.csv").exists()


def test_a_lengthened_limit_is_asked_for_before_a_trial_is_given_up(
    slurm_cluster: SlurmCluster, root: Path, tmp_path: Path
) -> None:
    # the worker reckons with 12 s, and would stop the trial 3 s before
    home, job = submit_toy(tmp_path, root, "slow", study="trials = 1", job='walltime = "0:12"')
    slurm_cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=5")
    slurm_cluster.wait_ended(job)
    state, said = state_of(home), log_of(home)
    assert [(trial.state, trial.attempt) for trial in state.trials] == [(TrialState.COMPLETE, 1)], said
    # from 23.02 on SLURM_JOB_END_TIME may have told the worker already
    assert slurm_version() >= (23, 2) or re.search(r"SLURM has moved the time limit: 2\d\d s left", said), said


def test_workers_that_die_on_one_node_are_told_beside_those_that_go_on(
    slurm_cluster: SlurmCluster, cli, root: Path, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    write_program(
        python, f'#!/bin/sh\n[ "$SLURMD_NODENAME" = n2 ] && exec /nowhere/python "$@"\nexec {sys.executable} "$@"\n'
    )
    job = f'workers = 4\nexclude = "n[3-4]"\npython = "{python}"\nsbatch = {{ exclusive = true }}'
    home, _ = submit_toy(tmp_path, root, "waits", study="trials = 4", job=job)
    slurm_cluster.wait_for(
        lambda: state_of(home).counts().running == 1 and [row.state for row in slurm_cluster.squeue()] == ["RUNNING"],
        timeout_s=120,
        what="one works, and the others are gone",
    )
    shown = cli("status", "toy")[1]
    assert "3 of 4 array tasks ended on n2: " in shown
    assert "/nowhere/python: not found" in shown or "/nowhere/python: No such file" in shown
    (dead,) = status(cli, home)["dead"]
    assert (len(dead["tasks"]), dead["of"], dead["node"]) == (3, 4, "n2")
    (home.path / "go").touch()
    slurm_cluster.wait_for(lambda: slurm_cluster.squeue() == [], what="the one that worked has ended")


@pytest.fixture(scope="module")
def _strict_site() -> Iterator[SlurmCluster]:
    with SlurmCluster.started(ClusterConfig(nodes=1, accounting=False, extra=STRICT)) as cluster:
        cluster.root.chmod(0o755)  # so that another user reads slurm.conf
        yield cluster


@pytest.fixture
def strict_site(_strict_site: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    for name in [name for name in os.environ if name.startswith(SLURM_VARIABLES)]:
        monkeypatch.delenv(name)
    for name, value in _strict_site.own_env.items():
        monkeypatch.setenv(name, value)
    yield _strict_site
    _strict_site.reset()


def test_a_site_that_hides_the_jobs_of_others(
    strict_site: SlurmCluster, cli, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """squeue as another user sees it: SLURM says that there is no such job."""
    home, job = submit_toy(tmp_path, root, "waits", study="trials = 4\nlease_s = 3", job="workers = 2\nmem_gb = 1")
    strict_site.wait_for(lambda: state_of(home).counts().running == 2, timeout_s=120, what="both work")
    squeue, seen = tmp_path / "bin" / "squeue", shutil.which("squeue")
    squeue.parent.mkdir()
    write_program(squeue, f'#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups {seen} "$@"\n')
    monkeypatch.setenv("PATH", f"{squeue.parent}{os.pathsep}{os.environ['PATH']}")
    hidden = subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True, check=False)
    assert "Invalid job id specified" in hidden.stderr
    found = status(cli, home)
    assert [(w["state"], w["will_work"]) for w in found["workers"]] == [("running", True)] * 2
    assert all("SLURM does not show its job" in w["doubt"] for w in found["workers"])
    assert found["abandoned"] == found["dead"] == []
    code, _, err = cli("submit", tmp_path / "toy.toml")
    assert code == 0
    assert "2 workers are already running; none added" in err
    assert "but 2 of its workers refresh their leases and are counted" in err
    assert len(read_submissions(home)) == 1
    (home.path / "go").touch()  # at the end nobody has to be killed
    strict_site.wait_ended(job)


def test_a_worker_that_slurm_kills_for_its_memory(strict_site: SlurmCluster, cli, root: Path, tmp_path: Path) -> None:
    home, job = submit_toy(tmp_path, root, "greedy", study="trials = 1\nmax_failed = 5", job="mem_gb = 0.6")
    strict_site.wait_ended(job)
    shown = cli("status", "toy")[1]
    assert "exceeded memory limit" in shown
    assert cli("resume", "toy")[0] == 0
    strict_site.wait_ended(read_submissions(home)[-1].job_ids[0])
    first = state_of(home).trials[0].record()
    assert (first.state, first.reason) == (TrialState.FAIL, "oom_host")
    assert "exceeded memory limit" in (first.message or "")
    assert state_of(home).counts().complete == 1


def test_a_command_that_calls_srun_itself(slurm_cluster: SlurmCluster, cli, root: Path, tmp_path: Path) -> None:
    """A step inside the worker's step: SLURM let it wait for the worker's CPUs until the walltime."""
    (tmp_path / "train.py").write_text("import os\nprint('RESULT: loss=0.5', flush=True)\n")
    path = tmp_path / "step.toml"
    path.write_text(
        f'[study]\nname = "step"\nmetric = "loss"\ndirection = "minimize"\ntrials = 2\n'
        f'[objective]\ncommand = "srun {sys.executable} train.py --x {{x}}"\ncwd = "{tmp_path}"\n'
        f'[space]\nx = {{ low = 0.0, high = 1.0 }}\n[sampler]\nname = "random"\n'
        f'[job]\ntemplate = "cpu"\ncpus = 1\nwalltime = "10"\npython = "{sys.executable}"\n'
    )
    code, _, err = cli("submit", path)
    assert code == 0, err
    home = StudyHome(path=root / "step", name="step")
    slurm_cluster.wait_ended(read_submissions(home)[-1].job_ids[0], timeout_s=120)
    assert state_of(home).counts().complete == 2, log_of(home)
