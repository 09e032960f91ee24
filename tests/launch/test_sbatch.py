"""The sbatch texts for several kinds of site, whole, and what a plan decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hpo_batch.errors import UserError
from hpo_batch.launch.plan import Site, Standing, plan
from hpo_batch.launch.sbatch import sbatch_text
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.difference import Change
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Job, Sweep
from tests.conftest import REPOSITORY

DATA = Path(__file__).parent / "data"
SITES = {
    "typed-gres": Job(gres="gpu:a100:1", cpus=8, walltime="4:00:00", partition="gpu", account="lab", python="python3"),
    "gpus-per-node": Job(gpus_per_node="a100:1", cpus=16, walltime="1-12", mem_gb=63.5, python="python3"),
    "cpu": Job(cpus=4, walltime="90", max_running=3, python="python3", setup=("module load python/3.11",)),
    "container": Job(
        gres="gpu:1", cpus=4, walltime="2:00:00", srun_args=("--container-image=ml.sqsh",), python="/opt/env/bin/python"
    ),
    "no-srun": Job(gres="gpu:1", walltime="1:00:00", srun=False, python="python3", sbatch={"exclusive": True}),
}


@pytest.mark.parametrize("site", SITES)
def test_sbatch_text_of_a_site(site: str) -> None:
    """To accept a change on purpose: delete the file, run the test twice, read the difference."""
    text = sbatch_text(
        SITES[site], folder=Path("/study/slurm"), name="sweep-0123456789ab", workdir=Path("/home/user/project"), tasks=4
    )
    golden = DATA / f"{site}.sh"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
        pytest.fail(f"wrote {golden}: read it, then run the test again")
    assert text == golden.read_text()


def test_one_worker_is_no_array() -> None:
    text = sbatch_text(Job(python="python3"), folder=Path("/s"), name="x-1", workdir=Path("/w"), tasks=1)
    assert "--array" not in text


def a_sweep(**job: object) -> Sweep:
    (sweep,) = load(REPOSITORY / "configs" / "quickstart.toml")
    return sweep.model_copy(update={"job": sweep.job.model_copy(update=job)})


def a_plan(sweep: Sweep, *, site: Site, standing: Standing):
    home = StudyHome(path=Path("/logs/quickstart"), name="quickstart")
    return plan(home, sweep, change=Change(), site=site, standing=standing, workdir=Path("/w"))


@pytest.mark.parametrize(
    ("asked", "remaining", "live", "started"),
    [(4, 12, 0, 4), (4, 12, 3, 1), (4, 12, 9, 0), (4, 2, 0, 2), (4, 2, 1, 1), (4, 0, 0, 0)],
)
def test_workers_are_what_is_wanted_less_what_lives(asked: int, remaining: int, live: int, started: int) -> None:
    made = a_plan(
        a_sweep(workers=asked), site=Site(has_slurm=True), standing=Standing(remaining=remaining, live_workers=live)
    )
    assert made.workers == started


def test_a_slurm_template_without_slurm_is_an_error() -> None:
    with pytest.raises(UserError, match="say --local"):
        a_plan(a_sweep(), site=Site(has_slurm=False), standing=Standing(remaining=1))


def test_workers_that_share_gpus_are_told() -> None:
    sweep = a_sweep(scheduler="local", workers=3)
    made = a_plan(sweep, site=Site(has_slurm=False, gpus=("GPU-a",)), standing=Standing(remaining=9))
    assert made.workers == 3
    assert made.warnings == ("3 local workers share 1 GPUs",)
    quiet = replace(made, sweep=a_sweep(scheduler="local", workers=3, device="cpu"))
    assert quiet.sweep.job.device == "cpu"
