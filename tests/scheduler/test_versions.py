"""The answers of several versions of SLURM are read alike: ``record.py`` has recorded them from clusters of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.errors import SlurmRefused, SubmitLimit
from hpo_batch.init.site import site_template
from hpo_batch.scheduler.site import Limit, NodeKind, Partition
from hpo_batch.scheduler.slurm import accounts, control, jobs, queue
from hpo_batch.scheduler.slurm.sinfo import parse_nodes
from hpo_batch.scheduler.slurm.site import parse_associations, parse_partitions, parse_qos
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask, QueueRow, TaskState

from .conftest import DATA, FakeCommand

Fake = Callable[..., FakeCommand]
DAY = 86_400.0


@pytest.fixture(params=sorted(path.name for path in DATA.iterdir() if path.is_dir()))
def recorded(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """``recorded("squeue")`` is the text of a version."""
    folder: Path = DATA / request.param
    return lambda name: (folder / f"{name}.txt").read_text()


def test_versions_on_both_sides_of_those_in_use_are_recorded() -> None:
    assert {path.name for path in DATA.iterdir() if path.is_dir()} >= {"22.05", "24.11", "26.05"}


def test_sinfo(recorded: Callable[[str], str]) -> None:
    gpu, urgent = parse_nodes(recorded("sinfo"))
    assert gpu == NodeKind(
        partition="gpu", is_default=True, is_up=True, max_time_s=DAY, nodes=4, cpus=8, mem_gb=7.8, gpu="a100", gpus=4
    )
    assert (urgent.partition, urgent.is_default) == ("urgent", False)


def test_init_writes_a_template(recorded: Callable[[str], str], fake_command: Fake) -> None:
    for name in ("sbatch", "srun"):
        fake_command(name)
    fake_command("scontrol", stdout=recorded("config"))
    fake_command("sinfo", stdout=recorded("sinfo"))
    template, note = site_template({"SLURM_CONF": "/nowhere"})
    assert note.startswith(
        "job_templates/test.toml is for partition gpu: 4 nodes with 4 x a100, 8 CPUs, 8 GB, up to 1-0"
    )
    assert template is not None
    assert 'gres = "gpu:a100:1"' in template.text


def test_squeue(recorded: Callable[[str], str]) -> None:
    rows = queue.parse_squeue(recorded("squeue"), whole=True)
    assert len(rows) == 13
    named: dict[str, list[QueueRow]] = {}
    for row in sorted(rows.values(), key=lambda row: row.task.index):
        named.setdefault(row.name, []).append(row)
    assert [row.state for row in named["array"]] == [
        TaskState.DONE, TaskState.FAILED, TaskState.FAILED, TaskState.CANCELLED, TaskState.PENDING, TaskState.RUNNING,
    ]  # fmt: skip
    running = named["array"][5]
    assert (running.is_array, running.node) == (True, "n2")
    assert running.left_s is not None
    assert (running.elapsed_s + running.left_s, named["array"][4].left_s) == (1800, 1800)
    alone = {name: row for name, (row, *more) in named.items() if not more}
    assert {name: (row.state, row.reason) for name, row in alone.items()} == {
        "unlimited": (TaskState.RUNNING, "None"),
        "held": (TaskState.PENDING, "JobHeldUser"),
        "after": (TaskState.PENDING, "Dependency"),
        "stopped": (TaskState.SUSPENDED, "None"),
        "low": (TaskState.PENDING, "BeginTime"),
        "high": (TaskState.RUNNING, "None"),
        "wide": (TaskState.PENDING, "Resources"),
    }
    assert alone["unlimited"].node == "n[1-2]"
    assert not alone["held"].is_array
    assert all(row.script.startswith("/srv/slurm/scripts/") for row in rows.values())


def test_sacct(recorded: Callable[[str], str]) -> None:
    rows = accounts.parse_sacct(recorded("sacct"))

    def last(index: int) -> AccountingRow:
        return rows[ArrayTask(job=1, index=index)][-1]

    assert [last(index).state for index in (0, 1, 2, 3, 5)] == [
        TaskState.DONE, TaskState.FAILED, TaskState.FAILED, TaskState.CANCELLED, TaskState.RUNNING,
    ]  # fmt: skip
    assert [(last(index).exit_code, last(index).signal) for index in (0, 1, 2)] == [(0, 0), (3, 0), (0, 9)]
    assert (last(5).gpus, last(5).cpus, last(5).node, last(5).ended) == (1, 1, "n2", None)
    states = [row.state for runs in rows.values() for row in runs]
    assert TaskState.SUSPENDED in states
    assert TaskState.UNKNOWN not in states
    (preempted,) = [row for runs in rows.values() for row in runs if row.state is TaskState.PREEMPTED]
    assert (preempted.gpus, preempted.node) == (4, "n4")


def test_partitions_and_limits(recorded: Callable[[str], str]) -> None:
    gpu, urgent = parse_partitions(recorded("partitions"))
    assert gpu == Partition(
        name="gpu", is_default=True, state="UP", nodes=4, max_nodes=None, max_time_s=DAY, preempt_mode="REQUEUE",
        grace_s=10.0, accounts=None, qos=None, gpus=16,
    )  # fmt: skip
    assert (urgent.name, urgent.is_default, urgent.preempt_mode) == ("urgent", False, "OFF")
    mine = parse_associations(recorded("assoc"))
    assert mine[-1] == Limit(of="account 'root'", account="root", qos=("normal", "small"))
    assert parse_qos(recorded("qos"))["small"].submitted == 2


def test_config(recorded: Callable[[str], str], request: pytest.FixtureRequest) -> None:
    config = control.parse_config(recorded("config"))
    assert re.match(r"2\d\.\d\d\.\d", config.version)
    assert request.node.callspec.params["recorded"] in config.version
    assert (config.cluster, config.max_array_size, config.accounting) == ("test", 1001, True)
    assert (config.kill_wait_s, config.preempts) == (2.0, True)
    assert set(config.enforced) >= {"limits", "qos"}


def refusals(text: str) -> dict[str, tuple[int, str]]:
    """What was asked -> exit code and stderr."""
    parts = re.findall(r"^\[(\w+)\] (\d+)\n(.*?)(?=^\[|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return {name: (int(code), said) for name, code, said in parts}


@pytest.mark.parametrize(
    ("asked", "error"),
    [("partition", SlurmRefused), ("gres", SlurmRefused), ("array", SubmitLimit), ("limit", SubmitLimit)],
)
def test_what_sbatch_refuses(
    recorded: Callable[[str], str], fake_command: Fake, tmp_path: Path, asked: str, error: type[SlurmRefused]
) -> None:
    code, said = refusals(recorded("refusals"))[asked]
    assert code == 1
    fake_command("sbatch", stderr=said, returncode=code)
    with pytest.raises(SlurmRefused) as refused:
        jobs.sbatch(tmp_path / "job.sh", env=os.environ)
    assert type(refused.value) is error


def test_a_job_that_is_gone_is_no_error(recorded: Callable[[str], str], fake_command: Fake) -> None:
    code, said = refusals(recorded("refusals"))["gone"]
    fake_command("squeue", stderr=said, returncode=code)
    assert queue.squeue(["4242"]) == {}
