"""The sbatch texts for several kinds of site, whole, and what a plan decides."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpo_batch.errors import UserError
from hpo_batch.launch.plan import Site, Standing, plan
from hpo_batch.launch.sbatch import sbatch_text
from hpo_batch.processes import run
from hpo_batch.scheduler.slurm.options import REFUSED
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.difference import Change
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Job, Sweep
from tests.helpers import REPOSITORY

GOLDEN = Path(__file__).parent / "golden"
SITES = {
    "typed-gres": Job(gres="gpu:a100:1", cpus=8, walltime=4 * 3600.0, partition="gpu", account="lab", python="python3"),
    "gpus-per-node": Job(gpus_per_node="a100:1", cpus=16, walltime=36 * 3600.0, mem_gb=63.5, python="python3"),
    "mig": Job(gres="gpu:a100_1g.10gb:1", cpus=4, walltime=4 * 3600.0, qos="shared", python="python3"),
    "cpu": Job(cpus=4, walltime=90 * 60.0, max_running=3, python="python3", setup=("module load python/3.11",)),
    "container": Job(
        gres="gpu:1", cpus=4, walltime=2 * 3600.0, python="apptainer exec --nv '/data/my images/ml.sif' python"
    ),
    "container-srun": Job(
        gres="gpu:1",
        cpus=4,
        walltime=2 * 3600.0,
        srun_args=("--container-image=ml.sqsh",),
        python="/opt/env/bin/python",
    ),
    "multi-node": Job(gres="gpu:a100:2", cpus=4, walltime=24 * 3600.0, python="python3", nodes=2, tasks_per_node=2),
    "gpus-per-task": Job(cpus=4, walltime=3600.0, python="python3", sbatch={"ntasks": 1, "gpus-per-task": "a100:1"}),
    "no-srun": Job(gres="gpu:1", walltime=3600.0, srun=False, python="python3", sbatch={"exclusive": True}),
}


def text_of(
    job: Job, *, tasks: int | None = 4, folder: str = "/study/slurm", workdir: str = "/home/user/project"
) -> str:
    id = "0123456789ab"
    return sbatch_text(
        job, folder=Path(folder), name=f"sweep-{id}", workdir=Path(workdir), tasks=tasks, pickle=f"{id}.pkl"
    )


@pytest.mark.parametrize("site", SITES)
def test_sbatch_text_of_a_site(site: str) -> None:
    """To accept a change on purpose: remove the files of ``golden/``, run this test twice, read ``git diff``."""
    text = text_of(SITES[site])
    golden = GOLDEN / f"{site}.sh"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
        pytest.fail(f"wrote {golden}: read it, then run the test again")
    assert text == golden.read_text()


def test_no_site_without_its_text() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(SITES)


def test_one_worker_is_no_array() -> None:
    assert "--array" not in text_of(Job(python="python3"), tasks=None)


def test_an_option_stands_in_the_script_once() -> None:
    text = text_of(Job(cpus=2, mem_gb=4, sbatch={"partition": "b", "mem-per-cpu": "2G", "ntasks": 1}))
    for option, lines in (("partition", ["#SBATCH --partition=b"]), ("mem", ["#SBATCH --mem-per-cpu=2G"])):
        assert [line for line in text.splitlines() if line.startswith(f"#SBATCH --{option}")] == lines


@pytest.mark.parametrize(
    ("job", "lines"),
    [
        ({"sbatch": {"no-requeue": True}}, ["--no-requeue"]),
        ({"sbatch": {"requeue": False}}, ["--no-requeue"]),
        ({"sbatch": {"requeue": True}}, ["--requeue"]),
        ({"sbatch": {"exclusive": False}}, ["--requeue"]),
        ({"gres": "gpu:a100:1", "sbatch": {"gpus": 2}}, ["--gpus=2", "--requeue"]),
        ({"gpus_per_node": "1", "sbatch": {"gpus-per-task": "2"}}, ["--gpus-per-task=2", "--requeue"]),
        ({"gres": "shard:1", "sbatch": {"gpus": 2}}, ["--gpus=2", "--gres=shard:1", "--requeue"]),
        ({"mem_gb": 4, "sbatch": {"mem-per-gpu": "2G"}}, ["--mem-per-gpu=2G", "--requeue"]),
        ({"mem_gb": 4}, ["--mem=4096M", "--requeue"]),
    ],
)
def test_what_asks_for_the_same_stands_in_its_place(job: dict[str, object], lines: list[str]) -> None:
    text = text_of(Job(**job))  # type: ignore[arg-type]
    ours = [line.split()[-1] for line in text.splitlines() if line.startswith("#SBATCH")]
    kinds = ("--gpu", "--gres", "--mem", "--requeue", "--no-requeue", "--exclusive")
    assert [line for line in ours if line.startswith(kinds)] == lines


@pytest.mark.parametrize("option", REFUSED)
def test_options_that_are_ours_are_refused_with_what_to_say_instead(option: str) -> None:
    with pytest.raises(UserError, match=f"--{option} is not allowed: "):
        text_of(Job(sbatch={option: "x"}))


def test_the_script_gives_the_pickle_the_name_that_submitit_looks_for(tmp_path: Path) -> None:
    """Run by a shell, with the variables of an array task and of a plain job; twice, as after a requeue."""
    folder = tmp_path / "a study's"
    folder.mkdir()
    (folder / "0123456789ab.pkl").write_text("the pickle")
    text = text_of(Job(python="true", srun=False), folder=str(folder), workdir=str(tmp_path))
    for name, variables in (
        ("7_3", {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}),
        ("8", {"SLURM_JOB_ID": "8"}),
    ):
        for _ in range(2):
            run(["bash", "-c", text], timeout_s=30, env={**os.environ, **variables})
        assert (folder / f"{name}_submitted.pkl").read_text() == "the pickle"


def a_sweep(**job: object) -> Sweep:
    (sweep,) = load(REPOSITORY / "configs" / "quickstart.toml")
    return replace(sweep, job=replace(sweep.job, **job))


def a_plan(sweep: Sweep, *, site: Site, standing: Standing, root: str = "/logs"):
    home = StudyHome(path=Path(root, "quickstart"), name="quickstart")
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
    with pytest.raises(UserError, match="use --local"):
        a_plan(a_sweep(), site=Site(has_slurm=False), standing=Standing(remaining=1))


def test_a_logs_directory_whose_name_slurm_would_change_is_refused() -> None:
    with pytest.raises(UserError, match=r"'/100%/quickstart': SLURM expands '%'.*--root"):
        a_plan(a_sweep(), site=Site(has_slurm=True), standing=Standing(remaining=1), root="/100%")
    a_plan(a_sweep(scheduler="local"), site=Site(has_slurm=True), standing=Standing(remaining=1), root="/100%")


def test_who_is_there_and_will_not_work_is_told() -> None:
    site, standing = Site(has_slurm=True), Standing(remaining=9, live_workers=2, not_counted=("7_1: held",))
    (told,) = a_plan(a_sweep(), site=site, standing=standing).warnings
    assert told == "not counted as workers: 7_1: held"
    assert a_plan(a_sweep(), site=site, standing=replace(standing, remaining=0)).warnings == ()


def test_gpus_of_the_callers_environment_are_not_counted_and_so_refused() -> None:
    site = Site(has_slurm=True, environ={"SBATCH_GPUS": "2"})
    a_plan(a_sweep(scheduler="slurm", gres=None), site=site, standing=Standing(remaining=9))
    with pytest.raises(UserError, match=r"SBATCH_GPUS=2 in your environment .*unset SBATCH_GPUS"):
        a_plan(a_sweep(scheduler="slurm", workers_per_gpu=2, gres=None), site=site, standing=Standing(remaining=9))
    sweep = a_sweep(scheduler="slurm", workers_per_gpu=2, gres="gpu:1")
    a_plan(sweep, site=site, standing=Standing(remaining=9))  # hidden by it


def test_tasks_that_somebody_has_to_release_are_told() -> None:
    site, standing = Site(has_slurm=True), Standing(remaining=9, live_workers=2, on_hold=("7_1", "7_2"))
    (told,) = a_plan(a_sweep(), site=site, standing=standing).warnings
    assert "'scontrol release 7_1,7_2'" in told
    assert a_plan(a_sweep(), site=site, standing=replace(standing, remaining=0)).warnings == ()


def test_workers_that_share_gpus_are_told() -> None:
    sweep = a_sweep(scheduler="local", workers=3)
    made = a_plan(sweep, site=Site(has_slurm=False, gpus=("GPU-a",)), standing=Standing(remaining=9))
    assert made.workers == 3
    assert made.warnings == ("3 local workers share 1 GPUs",)
    quiet = replace(made, sweep=a_sweep(scheduler="local", workers=3, device="cpu"))
    assert quiet.sweep.job.device == "cpu"
