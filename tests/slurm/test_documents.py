"""The sweeps of the five documents, made small, on the cluster: arrays of tasks that train, and a report of each."""

from __future__ import annotations

from pathlib import Path

from hpo_batch.store.home import all_homes
from hpo_batch.store.submissions import read_submissions
from tests.cli.conftest import Cli, cli  # noqa: F401  # the fixture
from tests.training.documents import SMALL, check_complete, collected, submit, write_rows

from .cluster import SlurmCluster


def test_the_sweeps_of_the_five_documents(
    slurm_cluster: SlurmCluster,
    cli: Cli,  # noqa: F811
    root: Path,
    tmp_path: Path,
) -> None:
    """All at once, with the GPU that each task asks for; the cluster's have no hardware, so they train on CPUs."""
    rows = write_rows(tmp_path / "rows.csv")
    for name in SMALL:
        submit(cli, name, rows, job__cpus=1, job__device="cpu", job__workers=2 if name.startswith("supp") else 1)
    jobs = {job for home in all_homes(root) for job in read_submissions(home)[0].job_ids}
    assert len(jobs) == 7  # one array for each study; the budgets are three
    slurm_cluster.wait_for(lambda: not slurm_cluster.squeue(), timeout_s=400, what="all sweeps have ended")
    trials = {name: collected(cli, name, tmp_path / name) for name in SMALL}
    check_complete(trials["supplementary-trials"], 29)
    check_complete(trials["patchtst-budgets"], 6)
    check_complete(trials["loss-sweep"], 6)
    check_complete(trials["gainakt4-grid"], 8)
    assert len(trials["visual-classifier-v3"]) == 8
    assert {trial["state"] for trial in trials["visual-classifier-v3"]} <= {"COMPLETE", "PRUNED"}
    ran_in = [trial["job"] for every in trials.values() for trial in every if trial["node"]]
    assert {job.split("_")[0] for job in ran_in} == jobs
    assert len({job for job in ran_in if "_1" in job}) == 1  # the second task of the first sweep
