"""The cluster itself: what the other tests of this folder take for granted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import submitit

from .cluster import ClusterConfig, SlurmCluster, free_ports, wait_for

_SHOW_GPU = 'echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES" > gpu.$SLURM_ARRAY_TASK_ID'


def test_all_nodes_are_idle(slurm_cluster: SlurmCluster) -> None:
    answer = slurm_cluster.run("sinfo", "-h", "-N", "-p", "gpu", "-o", "%N %T %G %c").stdout
    assert sorted(answer.splitlines()) == [f"n{number} idle gpu:a100:4 8" for number in (1, 2, 3, 4)]


def test_tasks_of_an_array_get_gpus_of_their_own(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    job = slurm_cluster.sbatch("--array=0-3", "--gres=gpu:a100:1", script=f"{_SHOW_GPU}; sleep 1", cwd=tmp_path)
    slurm_cluster.wait_ended(job)
    gpus = [(tmp_path / f"gpu.{task}").read_text().split() for task in range(4)]
    assert len({tuple(gpu) for gpu in gpus}) == 4
    assert all(index in "0123" for _, index in gpus)


def test_a_full_node_takes_no_fifth_gpu_task(slurm_cluster: SlurmCluster) -> None:
    slurm_cluster.sbatch("--array=0-4", "--gres=gpu:a100:1", "--nodelist=n2", script="sleep 60")

    def states() -> bool:
        return Counter(row.state for row in slurm_cluster.squeue()) == {"RUNNING": 4, "PENDING": 1}

    slurm_cluster.wait_for(states, what="four tasks running, one pending")


def test_sacct_tells_how_tasks_ended(slurm_cluster: SlurmCluster) -> None:
    job = slurm_cluster.sbatch("--array=0-1", script="exit $SLURM_ARRAY_TASK_ID")
    expected = {f"{job}_0": "COMPLETED", f"{job}_1": "FAILED"}
    slurm_cluster.wait_for(lambda: slurm_cluster.sacct(job) == expected, what="accounting has both tasks")


def test_submitit_runs_an_array(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(folder=tmp_path, cluster="slurm")
    executor.update_parameters(timeout_min=5, slurm_gres="gpu:a100:1", cpus_per_task=1)
    jobs = executor.map_array(abs, [-1, -2, -3])
    slurm_cluster.wait_ended(jobs[0].job_id.split("_")[0])
    assert [job.result() for job in jobs] == [1, 2, 3]


def test_an_urgent_job_preempts_and_the_preempted_one_runs_again(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    script = "echo ${SLURM_RESTART_COUNT:-0} >> runs; sleep 300"
    low = slurm_cluster.sbatch("--nodelist=n1", "--gres=gpu:4", "--requeue", script=script, cwd=tmp_path)
    runs = tmp_path / "runs"
    slurm_cluster.wait_for(runs.exists, what="the first run")
    urgent = slurm_cluster.sbatch("--partition=urgent", "--nodelist=n1", "--gres=gpu:4", script="true")
    slurm_cluster.wait_for(lambda: runs.read_text() == "0\n1\n", what="the second run")
    assert slurm_cluster.sacct(urgent) == {urgent: "COMPLETED"}
    assert [row.job for row in slurm_cluster.squeue()] == [low]


def test_a_killed_node_takes_its_jobs_along_and_they_run_elsewhere(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    script = "echo $SLURMD_NODENAME $$ >> runs; sleep 300"
    slurm_cluster.sbatch("--requeue", script=script, cwd=tmp_path)
    runs = tmp_path / "runs"
    slurm_cluster.wait_for(runs.exists, what="the first run")
    node, pid = runs.read_text().split()
    slurm_cluster.kill_node(node)
    assert not Path(f"/proc/{pid}").exists()
    slurm_cluster.wait_for(lambda: len(runs.read_text().splitlines()) == 2, timeout_s=120, what="the second run")
    assert runs.read_text().split()[2] != node


def test_jobs_go_on_while_the_controller_is_down(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    slurm_cluster.sbatch(script="touch started; while [ ! -e go ]; do sleep 0.1; done; touch done", cwd=tmp_path)
    slurm_cluster.wait_for((tmp_path / "started").exists, what="the job runs")
    slurm_cluster.stop_controller()
    assert "Unable to contact slurm controller" in slurm_cluster.run("squeue", check=False).stderr
    (tmp_path / "go").touch()
    slurm_cluster.wait_for((tmp_path / "done").exists, what="the job goes on")
    slurm_cluster.start_controller()
    slurm_cluster.wait_for(lambda: not slurm_cluster.squeue(), what="the job's end has been heard of")


def test_reset_ends_what_ignores_signals_and_heals_nodes(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    stubborn = "trap '' TERM; touch $$; while :; do sleep 1; done"
    slurm_cluster.sbatch("--array=0-20", "--gres=gpu:a100:1", script=stubborn, cwd=tmp_path)
    slurm_cluster.sbatch("--hold", script="true")
    slurm_cluster.wait_for(lambda: len(list(tmp_path.glob("[0-9]*"))) == 16, what="16 tasks ignore SIGTERM")
    slurm_cluster.run("scontrol", "update", "NodeName=n3", "State=DRAIN", "Reason=test")
    slurm_cluster.reset()
    assert slurm_cluster.squeue() == []
    assert not [pid for pid in tmp_path.glob("[0-9]*") if Path("/proc", pid.name).exists()]


def test_two_clusters_know_nothing_of_each_other(slurm_cluster: SlurmCluster) -> None:
    with SlurmCluster.started(ClusterConfig(nodes=1, gpus=1, accounting=False, max_array_size=11)) as other:
        job = other.sbatch(script="sleep 60")
        other.wait_for(lambda: other.squeue("-t", "running"), what="the other cluster runs its job")
        assert slurm_cluster.squeue() == []
        assert other.run("sacct", "-j", job, check=False).stderr == "Slurm accounting storage is disabled\n"
        with pytest.raises(RuntimeError, match="Invalid job array specification"):
            other.sbatch("--array=0-11", script="true")


def test_nothing_is_left_when_the_owner_is_killed(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    # A job that hides from its step: its own session, its parent gone.
    script = f"setsid nohup sleep 1000 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 1000"
    program = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from slurm.cluster import ClusterConfig, SlurmCluster
with SlurmCluster.started(ClusterConfig(nodes=1, accounting=False)) as cluster:
    cluster.sbatch(script={script!r})
    print(cluster.root, flush=True)
    time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        root = owner.stdout.readline().strip()
        try:
            wait_for((tmp_path / "pid").exists, timeout_s=60, what="the job runs")
            assert _processes_with(f"SLURM_CONF={root}")
        finally:
            os.kill(owner.pid, signal.SIGKILL)
    wait_for(lambda: not _processes_with(f"SLURM_CONF={root}"), timeout_s=30, what="all processes of the cluster gone")
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
    subprocess.run(["rm", "-r", root], check=True)


def test_free_ports_differ() -> None:
    assert len(set(free_ports(50))) == 50


def test_waiting_ends_with_a_message() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="rain: not so after"):
        wait_for(lambda: False, timeout_s=0.05, what="rain", every_s=0.01)
    assert time.monotonic() - started < 5


def _processes_with(variable: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and variable.encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found
