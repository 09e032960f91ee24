"""The job that tries two nodes: its script, and what the nodes' answers mean. `tests/slurm` runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hpo_batch import __version__
from hpo_batch.doctor.finding import Level
from hpo_batch.doctor.node_answers import clocks, gpu_type, node_findings
from hpo_batch.doctor.node_job import Order, script
from hpo_batch.launch.sbatch import sbatch_text
from hpo_batch.scheduler.site import Partition
from hpo_batch.sweep.schema import Job

PARTITION = Partition(
    name="p", is_default=True, state="UP", nodes=4, max_nodes=None, max_time_s=None, preempt_mode="OFF", grace_s=0.0,
    accounts=None, qos=None, gpus=None,
)  # fmt: skip
WORKDIR = Path("/work here")


def order(*, with_gpus: bool = False, site: Partition = PARTITION, **job: Any) -> Order:
    return Order(
        job=Job(template="t", **job), root=Path("/logs"), workdir=WORKDIR, paths=(), partitions=(site,),
        with_gpus=with_gpus, start_within_s=1.0,
    )  # fmt: skip


def lines_of(asked: Order) -> list[str]:
    return script(asked, Path("/logs/a b"), {"asked": "it's"}).strip().splitlines()


def test_the_job_is_small_and_like_a_workers() -> None:
    lines = lines_of(
        order(partition="p", gres="gpu:a100:1", cpus=8, mem_gb=64.0, walltime=4 * 3600.0, setup=("module load x",),
              python="apptainer exec i.sif python", dependency="afterok:1", sbatch={"comment": "c"})
    )  # fmt: skip
    for line in ("--partition=p", "--nodes=2", "--ntasks-per-node=1", "--time=5", "--mem=4096M", "--comment=c"):
        assert f"#SBATCH {line}" in lines
    whole = "\n".join(lines)
    assert not any(word in whole for word in ("gres", "requeue", "dependency", "array"))
    assert lines.index("module load x") > lines.index("trap 'echo $? > '\"'\"'/logs/a b/ended'\"'\"'' EXIT") > 0
    probe = next(line for line in lines if line.startswith("srun") and " -c " in line)
    assert probe.startswith("srun --unbuffered")
    assert probe.endswith("""python -u -c "$HPO_BATCH_CONTENTION" '/logs/a b' '{"asked": "it'"'"'s"}'""")
    # and a worker starts as a worker's own script has it: the same words but for those of the array
    text = sbatch_text(
        Job(template="t", python="apptainer exec i.sif python"), folder=Path("/logs/a b"), name="x", workdir=WORKDIR,
        tasks=None, pickle="probe.pkl",
    )  # fmt: skip
    assert lines[-4:] == ["(", "export SUBMITIT_EXECUTOR=slurm", text.strip().splitlines()[-1], ")"]
    assert "#SBATCH --gres=gpu:a100:1" in lines_of(order(gres="gpu:a100:1", with_gpus=True))


def test_where_a_job_has_one_node_two_processes_of_it_are_tried() -> None:
    assert "[job] srun = false" in order(srun=False).why_one_node
    assert any(line.endswith(" 0 && wait $!") for line in lines_of(order(srun=False)))
    assert lines_of(order(srun=False))[-2].startswith("exec ")  # in a subshell: the job goes on, and says that it ended
    small = order(site=replace(PARTITION, max_nodes=1))
    assert "partition 'p' gives a job one node only" in small.why_one_node
    assert "#SBATCH --ntasks-per-node=2" in lines_of(small)


ANSWER: dict[str, Any] = {
    "host": "n1", "python": "/py", "version": ".".join(map(str, sys.version_info[:3])), "cwd": str(WORKDIR),
    "unseen": [],
    "facts": {
        "hpo_batch": __version__, "place": "/site/hpo_batch", "lacking": [], "scontrol": {"said": "22"},
        "sbatch": {"said": "x"}, "given": ["0"], "gpus": ["NVIDIA A100-SXM4-80GB"], "torch": {"said": "cuda"},
    },
}  # fmt: skip


def told(asked: Order | None = None, changes: dict[str, Any] | None = None, **facts: Any) -> list[tuple[str, str]]:
    """Level and words of what is not fine."""
    answer = {**ANSWER, "facts": {**ANSWER["facts"], **facts}, **(changes or {})}
    found = node_findings(answer, asked or order())
    return [(one.level.value, f"{one.what}; {one.do}") for one in found if one.level is not Level.FINE]


def test_a_node_that_has_all() -> None:
    assert told() == told(order(gres="gpu:a100:1", with_gpus=True)) == []


@pytest.mark.parametrize(
    ("facts", "changes", "level", "words"),
    [
        ({}, {"facts": None, "no_facts": "ImportError: no"}, "bad", "cannot load hpo-batch: ImportError: no; install"),
        ({"lacking": ["submitit"]}, {}, "bad", "lacks submitit; install hpo-batch into that Python"),
        ({"hpo_batch": "0.0"}, {}, "note", "has hpo-batch 0.0, here it is"),
        ({}, {"version": "3.1.0"}, "note", "here it is Python"),
        ({}, {"unseen": ["/venv"]}, "bad", "not there: /venv; put it where all nodes see it"),
        ({}, {"cwd": "/tmp"}, "bad", "jobs start in '/tmp', not in '/work here'"),
        ({"scontrol": {"failed": "no"}}, {}, "note", "scontrol does not work there: no"),
        ({"sbatch": {"failed": "no"}}, {}, "note", "sbatch does not work there: no"),
        ({"given": []}, {}, "bad", "SLURM gave no GPU"),
        ({"gpus": ["NVIDIA H100"]}, {}, "note", "nvidia-smi shows NVIDIA H100"),
        ({"torch": {"said": "torch 2 sees no CUDA device"}}, {}, "bad", "GPU 0 was given, but torch 2 sees no CUDA"),
        ({"torch": {"failed": "no answer within 120 s"}}, {}, "bad", "but no answer within 120 s"),
        ({"torch": {"said": "no torch"}}, {}, "note", "has no torch"),
    ],
)
def test_what_a_node_lacks(facts: dict[str, Any], changes: dict[str, Any], level: str, words: str) -> None:
    (one,) = told(order(gres="gpu:a100:1", with_gpus=True), changes, **facts)
    assert one[0] == level
    assert words in one[1]


@pytest.mark.parametrize(
    ("asked", "kind"),
    [("gpu:a100:1", "a100"), ("a100:2", "a100"), ("gpu:a100_1g.10gb:1", "a100"), ("gpu:1", ""), ("2", ""), ("", "")],
)
def test_the_type_of_gpu_that_is_asked_for(asked: str, kind: str) -> None:
    assert gpu_type(asked) == kind


def test_clocks_are_compared_through_the_file_server() -> None:
    assert clocks({"n1": (-0.1, 0.1), "n2": (2.0, 2.1)}).level is Level.FINE
    found = clocks({"n1": (0.0, 0.1), "n2": (60.0, 60.1)})
    assert found.level is Level.NOTE
    assert "at most 60.0 s apart" in found.what
    assert "n1 is ahead of n2" in found.what  # the server is ahead of n2
