"""`scheduler.slurm` and `scheduler.allocation` against real commands: the recorded answers hold."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from hpo_batch.errors import SlurmRefused, SlurmUnreachable
from hpo_batch.scheduler.slurm import accounts, control, jobs, queue
from hpo_batch.scheduler.tasks import ArrayTask, TaskState

from .cluster import ClusterConfig, SlurmCluster


def test_squeue_shows_each_task(slurm_cluster: SlurmCluster) -> None:
    array = slurm_cluster.sbatch("--array=0-5", "--nodelist=n1", "--gres=gpu:1", "--time=10", script="sleep 60")
    single = slurm_cluster.sbatch("--hold", script="true")
    slurm_cluster.wait_for(lambda: len(slurm_cluster.squeue("-t", "running")) == 4, what="four tasks run")

    rows = queue.squeue([array, single, "99999"])

    assert sorted(task.index for task in rows if task.job == int(array)) == [0, 1, 2, 3, 4, 5]
    running = [row for row in rows.values() if row.state is TaskState.RUNNING]
    assert [row.node for row in running] == ["n1"] * 4
    assert all(row.left_s is not None and 0 < row.left_s <= 600 for row in running)
    assert rows[ArrayTask.parse(single)].reason == "JobHeldUser"
    assert queue.squeue(["99999"]) == {}


def test_sacct_tells_every_run(slurm_cluster: SlurmCluster) -> None:
    before = time.time()
    job = slurm_cluster.sbatch("--array=0-1", "--gres=gpu:a100:2", "--requeue", script="sleep ${SLURM_ARRAY_TASK_ID}00")
    second = ArrayTask(job=int(job), index=1)
    slurm_cluster.wait_for(lambda: queue.squeue([job])[second].state is TaskState.RUNNING, what="task 1 runs")
    control.requeue(f"{job}_1")

    def states() -> dict[str, list[TaskState]]:
        rows = accounts.sacct([job])
        assert rows is not None
        return {str(task): [row.state for row in runs] for task, runs in rows.items()}

    expected = {f"{job}_0": [TaskState.DONE], f"{job}_1": [TaskState.PENDING, TaskState.PENDING]}
    slurm_cluster.wait_for(lambda: states() == expected, what="both tasks, and two runs of the second")
    rows = accounts.sacct([job])
    assert rows is not None
    (done,) = rows[ArrayTask(job=int(job), index=0)]
    assert done.gpus == 2
    assert done.submitted is not None
    assert before - 2 < done.submitted < time.time() + 2


def test_folded_tasks_are_in_sacct(slurm_cluster: SlurmCluster) -> None:
    job = slurm_cluster.sbatch("--array=0-20:5%2", "--hold", script="true")
    tasks = [ArrayTask(job=int(job), index=index) for index in (0, 5, 10, 15, 20)]
    slurm_cluster.wait_for(lambda: sorted(accounts.sacct([job]) or {}) == tasks, what="accounting has the array")


def test_scancel_and_what_it_cannot_find(slurm_cluster: SlurmCluster) -> None:
    job = slurm_cluster.sbatch("--array=0-1", script="sleep 60")
    jobs.scancel([f"{job}_1", "99999"])
    slurm_cluster.wait_for(lambda: [task.index for task in queue.squeue([job])] == [0], what="task 0 is left")
    jobs.scancel([job])
    slurm_cluster.wait_for(lambda: queue.squeue([job]) == {}, what="none is left")
    jobs.scancel([job])


def test_requeue_of_an_unknown_job_is_refused(slurm_cluster: SlurmCluster) -> None:
    with pytest.raises(SlurmRefused, match="Invalid job id"):
        control.requeue("99999")


def test_the_sites_limits(slurm_cluster: SlurmCluster) -> None:
    config = control.show_config()
    assert (config.cluster, config.array_limit, config.accounting) == ("test", 1001, True)
    assert config.version


def test_other_limits_and_no_accounting(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = ClusterConfig(
        nodes=1, accounting=False, max_array_size=11, extra="JobRequeue=0\nSchedulerParameters=max_array_tasks=7"
    )
    with SlurmCluster.started(shape) as other:
        monkeypatch.setenv("SLURM_CONF", other.own_env["SLURM_CONF"])
        config = control.show_config()
        assert (config.max_array_size, config.array_limit, config.accounting) == (11, 7, False)
        job = other.sbatch("--array=0-6", script="true")
        with pytest.raises(RuntimeError, match="Invalid job array specification"):
            other.sbatch("--array=0-7", script="true")
        assert accounts.sacct([job]) is None


def test_a_controller_that_is_down(slurm_cluster: SlurmCluster) -> None:
    slurm_cluster.stop_controller()
    with pytest.raises(SlurmUnreachable, match="Unable to contact slurm controller"):
        queue.squeue(["1"])
    with pytest.raises(SlurmUnreachable, match="1_0"):
        control.requeue("1_0", timeout_s=1)


def test_a_task_knows_its_allocation(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    program = tmp_path / "show.py"
    program.write_text(
        "import json, os, sys, time\n"
        "from msgspec.structs import asdict\n"
        "from hpo_batch.scheduler.allocation import read\n"
        "found = asdict(read(os.environ, time.time()))\n"
        "print(json.dumps(found))\n"
    )
    script = f"{sys.executable} {program} > {tmp_path}/$SLURM_ARRAY_TASK_ID.json"
    options = ("--array=3,5", "--gres=gpu:a100:2", "--cpus-per-task=2", "--nodelist=n2")
    job = slurm_cluster.sbatch(*options, script=script, cwd=tmp_path)
    slurm_cluster.wait_ended(job)
    tasks = [json.loads((tmp_path / f"{index}.json").read_text()) for index in (3, 5)]
    gpus = [gpu for task in tasks for gpu in task.pop("gpus")]
    assert sorted(gpus) == ["0", "1", "2", "3"]
    # SLURM tells the end since 23.02; without a time limit given it is the partition's.
    assert all(task["deadline_s"] is None or task["deadline_s"] > time.time() for task in tasks)
    common = {"node": "n2", "cpus": 2, "deadline_s": tasks[0]["deadline_s"], "restarts": 0, "partition": "gpu"}
    common |= {"is_batch": True, "gpu_count": 2}
    assert tasks == [{"job": f"{job}_{index}", "task": index} | common for index in ("3", "5")]
