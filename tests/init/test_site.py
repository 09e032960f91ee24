"""The job template of a site, from what its sinfo says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.init.site import site_template
from hpo_batch.scheduler.slurm.sinfo import parse_nodes
from hpo_batch.sweep.load import loads
from tests.scheduler.conftest import fake_command  # noqa: F401  # a fixture

SINFO = """\
cpu*|up|3-00:00:00|40|48|191000|(null)
gpu|up|2-00:00:00|10|64|515000+|gpu:a100:4(S:0-1)
mig|up|1:00:00|2|64|515000|gpu:a100_1g.10gb:7,shard:4
old|down|infinite|3|16+|64000|gpu:2
"""
SWEEP = """
[study]
name = "a"
metric = "loss"
direction = "minimize"
trials = 2
[objective]
command = "python train.py {args}"
[space]
lr = { low = 1e-3, high = 1.0 }
[job]
template = "hpc-1"
"""
Fake = Callable[..., Any]


@pytest.fixture
def slurm(fake_command: Fake) -> Fake:  # noqa: F811
    def answer(sinfo: str, **more: Any) -> Any:
        for name in ("sbatch", "srun"):
            fake_command(name)
        fake_command("scontrol", stdout="ClusterName = HPC 1\n")
        return fake_command("sinfo", stdout=sinfo, **more)

    return answer


def test_what_sinfo_says() -> None:
    kinds = parse_nodes(SINFO)
    assert [(k.partition, k.is_default, k.is_up, k.nodes, k.cpus, k.gpu, k.gpus) for k in kinds] == [
        ("cpu", True, True, 40, 48, "", 0),
        ("gpu", False, True, 10, 64, "a100", 4),
        ("mig", False, True, 2, 64, "a100_1g.10gb", 7),
        ("old", False, False, 3, 16, "", 2),
    ]
    assert [k.max_time_s for k in kinds] == [3 * 86400, 2 * 86400, 3600, None]
    assert parse_nodes("slurm_load_partitions: error\n||\n") == ()


def test_the_template_is_for_the_nodes_with_gpus_and_loads(slurm: Fake, tmp_path: Path) -> None:
    fake = slurm(SINFO)
    template, note = site_template({})
    assert template is not None
    assert template.name == "hpc-1"
    assert note == (
        "job_templates/hpc-1.toml is for partition gpu: 10 nodes with 4 x a100, 64 CPUs, 503 GB, up to 2-0:00:00, "
        "by sinfo"
    )
    (tmp_path / "job_templates").mkdir()
    (tmp_path / "job_templates" / "hpc-1.toml").write_text(template.text)
    (sweep,) = loads(SWEEP, path=tmp_path / "sweep.toml")
    job = sweep.job
    assert (job.scheduler, job.partition, job.gres, job.cpus, job.walltime) == ("slurm", "gpu", "gpu:a100:1", 16, 14400)
    assert "#   partition cpu: 40 nodes with 48 CPUs, 186 GB, up to 3-0:00:00" in template.text
    assert "old" not in template.text
    assert "# mem_gb = 125 " in template.text  # a GPU's share of 503 GB
    assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("sinfo", "gres", "cpus", "walltime"),
    [
        ("only*|up|1:00:00|1|8|0|(null)\n", None, 8, 3600),
        ("only*|up|infinite|1|8|16000|gpu:8\n", "gpu:1", 1, 14400),
        ("a*|up|infinite|1|8|16000|gpu:2\nb|up|infinite|9|8|16000|gpu:2\n", "gpu:1", 4, 14400),
    ],
)
def test_other_sites(slurm: Fake, tmp_path: Path, sinfo: str, gres: str | None, cpus: int, walltime: int) -> None:
    slurm(sinfo)
    template, _ = site_template({})
    assert template is not None
    (tmp_path / "job_templates").mkdir()
    (tmp_path / "job_templates" / "hpc-1.toml").write_text(template.text)
    (sweep,) = loads(SWEEP, path=tmp_path / "sweep.toml")
    assert (sweep.job.gres, sweep.job.cpus, sweep.job.walltime) == (gres, cpus, walltime)
    assert sweep.job.device == ("auto" if gres else "cpu")
    assert sweep.job.partition == sinfo.split("*")[0]


def test_a_cluster_may_be_called_as_one_of_our_templates(slurm: Fake, fake_command: Fake) -> None:  # noqa: F811
    slurm(SINFO)
    fake_command("scontrol", stdout="ClusterName = local\n")
    template, _ = site_template({})
    assert template is not None
    assert template.name == "local-slurm"


def test_a_slurm_that_does_not_answer_is_one_line(slurm: Fake) -> None:
    slurm("", stderr="sinfo: error: fetch_config: DNS SRV lookup failed\nsinfo: fatal: no config", returncode=1)
    template, note = site_template({})
    assert template is None
    assert note.startswith("no job template, since SLURM does not tell which nodes there are: ")
    assert "fetch_config" in note
    assert "fatal" not in note


def test_no_partition_is_up(slurm: Fake) -> None:
    slurm("old|down|infinite|3|16|64000|gpu:2\n")
    assert site_template({}) == (None, "no job template: sinfo shows no partition that is up")


@pytest.mark.usefixtures("no_slurm")
def test_without_slurm() -> None:
    template, note = site_template({})
    assert template is None
    assert note == "no job template: there is no SLURM on this machine (sbatch is not on PATH)"
