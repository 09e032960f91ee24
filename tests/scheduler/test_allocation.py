"""Environments, as SLURM and the local launcher make them."""

from __future__ import annotations

import os
import socket

import pytest

from hpo_batch.scheduler import allocation
from hpo_batch.scheduler.allocation import Allocation

NOW = 1_800_000_000.0
# Of an array task on SLURM 22.05, shortened.
ARRAY = {
    "SLURM_ARRAY_JOB_ID": "1",
    "SLURM_ARRAY_TASK_ID": "0",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_JOB_ID": "2",
    "SLURM_JOB_PARTITION": "gpu",
    "SLURM_CPUS_ON_NODE": "8",
    "SLURMD_NODENAME": "n1",
    "CUDA_VISIBLE_DEVICES": "2",
}


def test_an_array_task() -> None:
    assert allocation.read(ARRAY, NOW) == Allocation(
        job="1_0", task="0", node="n1", gpus=("2",), gpu_count=1, cpus=8, deadline_s=None, restarts=0, partition="gpu"
    )


def test_a_job_that_is_no_array() -> None:
    environ = {name: value for name, value in ARRAY.items() if "ARRAY" not in name}
    found = allocation.read(environ, NOW)
    assert (found.job, found.task) == ("2", None)


def test_a_requeued_task_of_a_newer_slurm() -> None:
    found = allocation.read(ARRAY | {"SLURM_RESTART_COUNT": "2", "SLURM_JOB_END_TIME": str(int(NOW) + 3600)}, NOW)
    assert (found.restarts, found.deadline_s) == (2, NOW + 3600)


def test_without_slurm() -> None:
    assert allocation.read({}, NOW, host="box", cpus=6) == Allocation(
        job=None, task=None, node="box", gpus=(), gpu_count=0, cpus=6, deadline_s=None, restarts=0, partition=None
    )


def test_this_machine_by_default() -> None:
    found = allocation.read({}, NOW)
    assert (found.node, found.cpus) == (socket.gethostname(), len(os.sched_getaffinity(0)))


def test_a_local_worker_gets_its_launchers_share() -> None:
    environ = {"HPO_BATCH_CPUS": "1", "HPO_BATCH_DEADLINE": "1800000060.5", "CUDA_VISIBLE_DEVICES": "GPU-1a"}
    found = allocation.read(environ, NOW, cpus=6)
    assert (found.cpus, found.deadline_s, found.gpus) == (1, NOW + 60.5, ("GPU-1a",))


def test_the_launcher_within_an_allocation_comes_before_slurm() -> None:
    environ = ARRAY | {"HPO_BATCH_CPUS": "3", "HPO_BATCH_DEADLINE": "7", "SLURM_JOB_END_TIME": "9"}
    found = allocation.read(environ, NOW)
    assert (found.cpus, found.deadline_s) == (3, 7)


@pytest.mark.parametrize(
    ("given", "cpus"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "8"}, 4),
        ({"SLURM_CPUS_ON_NODE": "8", "SLURM_NTASKS_PER_NODE": "2"}, 4),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_NTASKS_PER_NODE": "2"}, 1),
        ({"SLURM_CPUS_PER_TASK": "", "SLURM_CPUS_ON_NODE": "?"}, 6),
    ],
)
def test_cpus(given: dict[str, str], cpus: int) -> None:
    assert allocation.read(given, NOW, cpus=6).cpus == cpus


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("0,1", ("0", "1")),
        (" 3 , 1 ", ("3", "1")),
        ("GPU-8a56a4bc,GPU-9", ("GPU-8a56a4bc", "GPU-9")),
        ("MIG-63feeb45", ("MIG-63feeb45",)),
        ("MIG-GPU-8a56a4bc/1/0", ("MIG-GPU-8a56a4bc/1/0",)),
        ("", ()),
        ("NoDevFiles", ()),
        ("-1", ()),
        ("1,-1,0", ("1",)),
    ],
)
def test_gpus(text: str, gpus: tuple[str, ...]) -> None:
    assert allocation.read({"CUDA_VISIBLE_DEVICES": text}, NOW).gpus == gpus


STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "4"}, 2),
        # several ranks: each sees all of its node's, or only its own, and always as 0
        ({**STEP, "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "2"}, 4),
        ({**STEP, "CUDA_VISIBLE_DEVICES": "0", "SLURM_GPUS_ON_NODE": "2"}, 4),
        ({**STEP, "CUDA_VISIBLE_DEVICES": "0,1"}, 4),
        ({**STEP, "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "2", "SLURM_GPUS": "a100:3"}, 3),
        ({**STEP, "SLURM_GPUS_ON_NODE": "2"}, 0),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1", "CUDA_VISIBLE_DEVICES": "3"}, 1),
        # of one that several share
        ({"CUDA_VISIBLE_DEVICES": "0", "HPO_BATCH_GPUS": "0.25"}, 0.25),
    ],
)
def test_the_gpus_that_a_worker_holds(given: dict[str, str], count: float) -> None:
    assert allocation.read(ARRAY | {"CUDA_VISIBLE_DEVICES": ""} | given, NOW).gpu_count == count


@pytest.mark.parametrize("end", ["", "soon", "nan", "0", str(NOW + 365 * 86_400)])
def test_an_end_that_is_none(end: str) -> None:
    assert allocation.read({"SLURM_JOB_END_TIME": end}, NOW).deadline_s is None
