"""Every way in which sbatch can be asked for GPUs, and that all who decide by it decide alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.launch.sbatch import sbatch_text
from hpo_batch.launch.task_layout import gpus_of, shape_of
from hpo_batch.monitor.hours import task_gpus
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.scheduler.gpu_request import gpu_request
from hpo_batch.sweep.schema import Job
from hpo_batch.sweep.tables import to_raw
from hpo_batch.sweep.validate import checked
from hpo_batch.worker.slots import slots_of

SPELLINGS = [
    # what [job] says, the GPUs of a task on one node, and what reaches sbatch
    ({}, 0, []),
    ({"gres": "gpu"}, 1, ["gres=gpu"]),
    ({"gres": "gpu:2"}, 2, ["gres=gpu:2"]),
    ({"gres": "gpu:a100:2"}, 2, ["gres=gpu:a100:2"]),
    ({"gres": "gpu:a100:1,gpu:v100:2"}, 3, ["gres=gpu:a100:1,gpu:v100:2"]),
    ({"gres": "gpu:a100:2(S:0-1)"}, 2, ["gres=gpu:a100:2(S:0-1)"]),
    ({"gres": "gpu:a100_1g.10gb:2"}, 2, ["gres=gpu:a100_1g.10gb:2"]),
    ({"gres": "nic:1,gpu:2"}, 2, ["gres=nic:1,gpu:2"]),
    ({"gres": "gres/gpu:2"}, 2, ["gres=gres/gpu:2"]),
    ({"gres": "shard:8"}, 0, ["gres=shard:8"]),
    ({"gres": "none"}, 0, ["gres=none"]),
    ({"gpus_per_node": "4"}, 4, ["gpus-per-node=4"]),
    ({"gpus_per_node": "a100:1,v100:2"}, 3, ["gpus-per-node=a100:1,v100:2"]),
    ({"sbatch": {"gres": "gpu:3"}}, 3, ["gres=gpu:3"]),
    ({"sbatch": {"gpus": "2"}}, 2, ["gpus=2"]),
    ({"sbatch": {"gpus": 2}}, 2, ["gpus=2"]),
    ({"sbatch": {"gpus": "a100:2"}}, 2, ["gpus=a100:2"]),
    ({"sbatch": {"gpus_per_node": "a100:4"}}, 4, ["gpus-per-node=a100:4"]),
    ({"sbatch": {"gpus-per-task": "a100:2", "ntasks": 1}}, 2, ["gpus-per-task=a100:2"]),
    ({"sbatch": {"gpus_per_task": 2}}, 2, ["gpus-per-task=2"]),
    ({"sbatch": {"tres-per-task": "gres/gpu:2"}}, 2, ["tres-per-task=gres/gpu:2"]),
    ({"sbatch": {"tres-per-task": "cpu=4,gres/gpu:a100=2"}}, 2, ["tres-per-task=cpu=4,gres/gpu:a100=2"]),
    ({"sbatch": {"tres_per_task": "gres:gpu:2"}}, 2, ["tres-per-task=gres:gpu:2"]),
    # what is said in [job.sbatch] stands in the place of the template's keys, also if it asks for none
    ({"gres": "gpu:4", "sbatch": {"gpus": 2}}, 2, ["gpus=2"]),
    ({"gres": "gpu:4", "sbatch": {"gpus": 0}}, 0, ["gpus=0"]),
    ({"gpus_per_node": "4", "sbatch": {"gres": "none"}}, 0, ["gres=none"]),
    ({"gpus_per_node": "4", "sbatch": {"gpus": False}}, 4, ["gpus-per-node=4"]),
    # what says nothing of GPUs stands beside them
    ({"gres": "gpu:3", "sbatch": {"tres-per-task": "cpu=4"}}, 3, ["gres=gpu:3", "tres-per-task=cpu=4"]),
    ({"gpus_per_node": "2", "sbatch": {"gres": "shard:1"}}, 2, ["gpus-per-node=2", "gres=shard:1"]),
    ({"gpus_per_node": "2", "sbatch": {"gres": "lustre:1,nic:2"}}, 2, ["gpus-per-node=2", "gres=lustre:1,nic:2"]),
    ({"gres": "shard:1", "sbatch": {"gpus": 2}}, 2, ["gpus=2", "gres=shard:1"]),
]


@pytest.mark.parametrize(("keys", "gpus", "options"), SPELLINGS)
def test_plan_script_worker_and_status_count_the_same_gpus(
    keys: dict[str, object], gpus: int, options: list[str]
) -> None:
    job = checked(Job, {**keys, "workers_per_gpu": 3, "cpus": 4, "python": "python3"})
    text = sbatch_text(job, folder=Path("/s"), name="x-1", workdir=Path("/w"), tasks=2, pickle="p.pkl")
    lines = [line.split("--", 1)[1].replace("'", "") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert [line for line in lines if line.startswith(("gpus", "gres", "tres"))] == options
    assert gpus_of(job).count == gpus
    assert task_gpus({"job": to_raw(job)}) == gpus
    layout = shape_of(job)
    held = Allocation(
        job="7_0",
        task="0",
        node="n1",
        gpus=tuple(map(str, range(gpus))),
        gpu_count=gpus,
        cpus=layout.cpus,
        deadline_s=None,
        restarts=0,
        partition=None,
    )
    slots = slots_of(job, held, {})
    assert layout.workers == len(slots)
    assert {slot.cpus for slot in slots} == {4}


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"gpus": "4"}, 4),  # of the whole job
        ({"gpus-per-node": "4"}, 8),
        ({"gres": "gpu:4"}, 8),
        ({"gpus-per-task": "1"}, 6),
        ({"tres-per-task": "gres/gpu=1"}, 6),
        ({"gpus-per-socket": "1"}, None),
        ({"gpus-per-socket": "a100:2", "sockets-per-node": "2"}, 8),
        ({"gpus-per-socket": "0"}, 0),
        ({"gpus": "4", "gpus-per-node": "2"}, 4),
    ],
)
def test_gpus_on_two_nodes_of_three_tasks_each(options: dict[str, object], count: int | None) -> None:
    assert gpu_request({}, options, nodes=2, tasks_per_node=3).count == count


def test_how_they_were_asked_for_is_told_as_slurm_spells_it() -> None:
    keys = {"gres": "gpu:a100:2", "gpus-per-node": None}
    assert gpu_request(keys, {}, nodes=1, tasks_per_node=1).text == "gpu:a100:2"
    assert gpu_request(keys, {"gpus_per_task": 1}, nodes=1, tasks_per_node=1).text == "1"
    assert gpu_request(keys, {"gpus": 0}, nodes=1, tasks_per_node=1).text == ""
    assert gpu_request({}, {"tres-per-task": "cpu=1"}, nodes=1, tasks_per_node=1).text == ""
