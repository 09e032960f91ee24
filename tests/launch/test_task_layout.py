"""How workers lie in array tasks, and what is asked of SLURM for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.launch.plan import Site, Standing
from hpo_batch.launch.sbatch import sbatch_text
from hpo_batch.launch.task_layout import shape_of
from hpo_batch.sweep.schema import Job
from hpo_batch.sweep.validate import checked
from tests.launch.test_sbatch import a_plan, a_sweep


@pytest.mark.parametrize(
    ("job", "workers"),
    [
        ({}, 1),
        ({"gres": "gpu:a100:4"}, 1),
        ({"gres": "gpu:a100:4", "workers_per_gpu": 1}, 4),
        ({"gres": "gpu:a100:2(S:0-1)", "workers_per_gpu": 3}, 6),
        ({"gres": "gpu", "workers_per_gpu": 2}, 2),
        ({"gres": "shard:8", "workers_per_gpu": 2}, 2),
        ({"gres": "gpu:a100_1g.10gb:2", "workers_per_gpu": 1}, 2),
        ({"gpus_per_node": "a100:1,v100:2", "workers_per_gpu": 2}, 6),
        ({"gpus_per_node": "4", "workers_per_gpu": 1}, 4),
        ({"sbatch": {"gpus-per-node": "4"}, "workers_per_gpu": 2}, 8),
        ({"sbatch": {"gpus": 2}, "workers_per_gpu": 2}, 4),
        ({"sbatch": {"gpus": "a100:2"}, "workers_per_gpu": 1}, 2),
        ({"sbatch": {"ntasks": 1, "gpus-per-task": "a100:2"}, "workers_per_gpu": 2}, 4),
        ({"sbatch": {"gpus_per_task": "a100:2"}, "workers_per_gpu": 2}, 4),
        ({"sbatch": {"tres-per-task": "cpu:4,gres/gpu:a100:2"}, "workers_per_gpu": 1}, 2),
        ({"sbatch": {"tres-per-task": "cpu=4"}, "gres": "gpu:3", "workers_per_gpu": 1}, 3),
        # what is said further stands in the template's place
        ({"sbatch": {"gpus": 2}, "gres": "gpu:4", "workers_per_gpu": 1}, 2),
        ({"workers_per_gpu": 3}, 3),
        ({"scheduler": "local", "workers_per_gpu": 3}, 1),
    ],
)
def test_workers_in_an_array_task(job: dict[str, object], workers: int) -> None:
    assert shape_of(checked(Job, job)).workers == workers


@pytest.mark.parametrize(
    ("asked", "remaining", "live", "tasks"),
    [(8, 99, 0, 2), (5, 99, 0, 2), (8, 3, 0, 1), (8, 99, 4, 1), (8, 99, 8, 0)],
)
def test_array_tasks_hold_the_workers_that_are_missing(asked: int, remaining: int, live: int, tasks: int) -> None:
    sweep = a_sweep(workers=asked, workers_per_gpu=2, gres="gpu:2", scheduler="slurm")
    made = a_plan(sweep, site=Site(has_slurm=True), standing=Standing(remaining=remaining, live_workers=live))
    assert made.tasks == tasks


def test_the_plan_says_what_lies_where() -> None:
    site, standing = Site(has_slurm=True), Standing(remaining=99)
    sweep = a_sweep(workers=8, workers_per_gpu=2, gres="gpu:2", cpus=4, scheduler="slurm")
    shared = a_plan(sweep, site=site, standing=standing)
    assert "2 array tasks of 4 workers each from template" in shared.lines()[-1]
    assert "4 CPUs per worker, gpu:2" in shared.lines()[-1]
    spread = a_plan(a_sweep(workers=1, nodes=2, tasks_per_node=4, scheduler="slurm"), site=site, standing=standing)
    assert "1 batch job, each of 8 processes on 2 nodes" in spread.lines()[-1]


def text_of(job: Job) -> str:
    return sbatch_text(job, folder=Path("/s"), name="x-1", workdir=Path("/w"), tasks=2, pickle="p.pkl")


def test_a_task_with_several_workers_asks_for_all_of_them() -> None:
    text = text_of(Job(workers_per_gpu=3, gres="gpu:2", cpus=4, mem_gb=8, python="python3"))
    for line in ("--cpus-per-task=24", "--mem=49152M", "--nodes=1", "--ntasks-per-node=1", "--gres=gpu:2"):
        assert f"#SBATCH {line}\n" in text
    assert "srun --unbuffered" in text
    assert "--cpus-per-task=24" in text.split("srun ")[1]
    assert "kill-on-bad-exit" not in text


def test_ranks_are_tasks_of_one_step_that_ends_as_one() -> None:
    text = text_of(Job(nodes=2, tasks_per_node=4, gres="gpu:4", cpus=4, mem_gb=8, python="python3"))
    for line in ("--cpus-per-task=4", "--mem=32768M", "--nodes=2", "--ntasks-per-node=4", "--gres=gpu:4"):
        assert f"#SBATCH {line}\n" in text
    assert "--cpus-per-task=4 --kill-on-bad-exit=1" in text.split("srun ")[1]
