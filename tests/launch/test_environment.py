"""What of the caller's environment reaches sbatch, and with it the job."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.launch.environment import environment_for, sbatch_environment
from hpo_batch.launch.plan import Site, Standing, plan
from hpo_batch.launch.sbatch import asked_options
from hpo_batch.store.home import StudyHome
from hpo_batch.sweep.difference import Change
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Job
from tests.helpers import REPOSITORY

IN_A_TASK = {
    "SLURM_JOB_ID": "9",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURM_CPU_BIND": "quiet",
    "SLURM_EXPORT_ENV": "NONE",
    "SRUN_DEBUG": "3",
    "SUBMITIT_EXECUTOR": "slurm",
    "PMIX_RANK": "0",
    "CUDA_VISIBLE_DEVICES": "1",
    "HPO_BATCH_SUBMISSION": "x",
    "HPO_BATCH_DEADLINE": "1.0",
}
KEPT = {"PATH": "/bin", "SLURM_CONF": "/etc/x", "SLURM_CLUSTERS": "b", "HPO_BATCH_ROOT": "/logs", "OMP_PROC_BIND": "1"}


def test_a_surrounding_job_does_not_leak_and_slurm_is_found() -> None:
    assert dict(sbatch_environment({**IN_A_TASK, **KEPT}, asked={}).env) == KEPT


def test_a_scripts_own_lines_say_what_it_asks_for() -> None:
    script = "#!/bin/bash\n#SBATCH --partition=gpu\n#SBATCH --time=5\n#SBATCH --requeue\ntrue\n"
    environ = {"SBATCH_PARTITION": "a", "SBATCH_TIMELIMIT": "7", "SBATCH_NO_REQUEUE": "1", "SBATCH_ACCOUNT": "b"}
    assert dict(environment_for(script, environ)) == {"SBATCH_ACCOUNT": "b"}


def test_gpus_that_the_user_chose_outside_of_jobs_stay() -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "1"}
    assert dict(sbatch_environment(environ, asked={}).env) == environ


@pytest.mark.parametrize(
    ("job", "variable", "counts"),
    [
        (Job(), "SBATCH_PARTITION", True),
        (Job(partition="gpu"), "SBATCH_PARTITION", False),
        (Job(sbatch={"partition": "gpu"}), "SBATCH_PARTITION", False),
        (Job(), "SBATCH_ACCOUNT", True),
        (Job(), "SBATCH_QOS", True),
        (Job(qos="x"), "SBATCH_QOS", False),
        (Job(), "SBATCH_RESERVATION", True),
        (Job(reservation="x"), "SBATCH_RESERVATION", False),
        (Job(), "SBATCH_GPUS", True),
        (Job(gres="gpu:1"), "SBATCH_GPUS", False),
        (Job(gpus_per_node="1"), "SBATCH_GRES", False),
        (Job(mem_gb=1), "SBATCH_MEM_PER_CPU", False),
        (Job(), "SBATCH_MEM_PER_NODE", True),
        (Job(mem_gb=1), "SBATCH_MEM_PER_NODE", False),
        (Job(), "SBATCH_TIMELIMIT", False),
        (Job(), "SBATCH_ARRAY_INX", False),
        (Job(), "SBATCH_JOB_NAME", False),
        (Job(), "SBATCH_OUTPUT", False),
        (Job(), "SBATCH_ERROR", False),
        (Job(), "SBATCH_OPEN_MODE", False),
        (Job(), "SBATCH_NO_REQUEUE", False),
        (Job(), "SBATCH_SIGNAL", False),
        (Job(), "SBATCH_WAIT", False),
        (Job(), "SBATCH_CLUSTERS", False),
        (Job(), "SBATCH_EXPORT", True),
    ],
)
def test_a_variable_fills_what_the_sweep_leaves_open(job: Job, variable: str, counts: bool) -> None:
    made = sbatch_environment({variable: "y"}, asked=asked_options(job))
    assert (variable in made.env, variable in made.filled, variable in made.hidden) == (counts, counts, not counts)


def test_the_plan_shows_both() -> None:
    (sweep,) = load(REPOSITORY / "configs" / "quickstart.toml")
    environ = {"SBATCH_QOS": "high", "SBATCH_GRES": "gpu:8", "HOME": "/root"}
    made = plan(
        StudyHome(path=Path("/logs/quickstart"), name="quickstart"),
        sweep,
        change=Change(),
        site=Site(has_slurm=True, environ=environ),
        standing=Standing(remaining=3),
        workdir=Path("/w"),
    )
    assert made.environment == (
        "SBATCH_QOS=high from your environment applies too",
        "SBATCH_GRES=gpu:8 from your environment is ignored",
    )
    assert "  SBATCH_QOS=high from your environment applies too" in made.lines()
