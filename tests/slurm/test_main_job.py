"""The main job on a real cluster: one array, each task with a GPU of its own, exactly as many trials as asked for."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import read_submissions
from tests.cli.conftest import SWEEP
from tests.helpers import REPOSITORY

from .cluster import SlurmCluster


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., Path]:
    """A sweep whose workers import no torch, where only what SLURM makes of them is asked."""

    def write(function: str, trials: int) -> Path:
        path = tmp_path / "toy.toml"
        path.write_text(SWEEP.format(name="toy", trials=trials, function=function).replace('"local"', '"cpu"'))
        return path

    return write


def test_the_quickstart_as_one_array_of_four(slurm_cluster: SlurmCluster, cli, root: Path) -> None:
    sweep = REPOSITORY / "configs" / "quickstart.toml"
    code, out, err = cli("submit", sweep, "--workers", "4", "--set", "job.device=cpu", "--set", "space.epochs=3")
    assert code == 0, err
    (submission,) = read_submissions(home_of(root, "quickstart"))
    assert submission.kind == "slurm"
    (job,) = submission.job_ids
    slurm_cluster.wait_for(
        lambda: "4 running" in cli("status", "quickstart")[1], timeout_s=120, what="4 running trials"
    )
    _, out, _ = cli("status", "quickstart", "--json")
    (status,) = json.loads(out)
    assert [worker["job"] for worker in status["workers"]] == [f"{job}_{i}" for i in range(4)]
    slurm_cluster.wait_ended(job)

    # one array of four tasks, and no other job
    tasks = {f"{job}_{i}" for i in range(4)}
    slurm_cluster.wait_for(
        lambda: slurm_cluster.sacct(job) == dict.fromkeys(tasks, "COMPLETED"), what="accounting of the ended tasks"
    )

    code, out, err = cli("collect", "quickstart", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["state"] for row in rows] == ["COMPLETE"] * 12
    assert {row["submission"] for row in rows} == {submission.id}
    assert {row["job"] for row in rows} == {f"{job}_{i}" for i in range(4)}
    place_of = {(row["job"], row["node"], row["gpus"]) for row in rows}
    assert len(place_of) == 4  # each task kept its GPU
    assert len({(node, gpu) for _, node, gpu in place_of}) == 4  # and no two shared one
    assert all(gpu in "0123" and len(gpu) == 1 for _, _, gpu in place_of)

    code, out, err = cli("status", "quickstart")
    assert "12 of 12 finished: 12 complete" in out
    assert "workers   none" in out
    code, out, err = cli("logs", "quickstart", "3")
    assert "trial 3: COMPLETE, attempt 1 of 1" in err
    assert "epoch 3 of 3" in out

    code, out, err = cli("submit", sweep, "--workers", "4", "--set", "job.device=cpu", "--set", "space.epochs=3")
    assert "all 12 trials are finished: nothing to do" in err
    assert len(read_submissions(home_of(root, "quickstart"))) == 1


def test_a_gpu_that_slurm_gave_and_torch_does_not_see_stops_the_worker(
    slurm_cluster: SlurmCluster, cli, root: Path
) -> None:
    code, _, err = cli("submit", REPOSITORY / "configs" / "quickstart.toml", "--workers", "1")
    assert code == 0, err
    home = home_of(root, "quickstart")
    (job,) = read_submissions(home)[0].job_ids
    slurm_cluster.wait_ended(job)
    (log,) = home.slurm.glob("*_log.err")
    assert "GPU 0 was allocated, but" in log.read_text()
    assert "0 of 12 finished: none started" in cli("status", "quickstart")[1]


def test_an_unknown_partition_fails_in_slurms_words(slurm_cluster: SlurmCluster, cli, root: Path) -> None:
    code, _, err = cli("submit", REPOSITORY / "configs" / "quickstart.toml", "--set", "job.partition=nowhere")
    assert code == 3
    assert "error: sbatch refused the job: invalid partition specified: nowhere" in err
    assert "'sinfo -s' lists the partitions" in err
    assert slurm_cluster.squeue() == []
    assert list(root.iterdir()) == []


def test_a_second_submission_adds_no_workers(slurm_cluster: SlurmCluster, cli, root: Path, toy) -> None:
    sweep = toy("sleeps", 12)
    code, out, _ = cli("submit", sweep, "--json")
    assert code == 0
    (started,) = json.loads(out)
    code, out, err = cli("submit", sweep, "--json")
    assert code == 0
    assert "2 workers are already running; none added" in err
    (submission,) = read_submissions(home_of(root, "toy"))
    assert (started["scheduler"], started["workers"]) == ("slurm", 2)
    assert started["job_ids"] == list(submission.job_ids) != []
    (again,) = json.loads(out)
    assert (again["running"], again["workers"], again["job_ids"]) == (2, 0, [])
    assert "--gres" not in slurm_cluster.run("scontrol", "show", "job", submission.job_ids[0]).stdout


def test_commands_after_two_dashes_go_to_sbatch(slurm_cluster: SlurmCluster, cli, root: Path) -> None:
    sweep = REPOSITORY / "configs" / "quickstart.toml"
    code, _, err = cli("submit", sweep, "--workers", "1", "--", "--partition=urgent", "--comment", "a b", "--hold")
    assert code == 0, err
    (submission,) = read_submissions(home_of(root, "quickstart"))
    shown = slurm_cluster.run("scontrol", "show", "job", submission.job_ids[0]).stdout
    assert "Partition=urgent" in shown
    assert "Comment=a b" in shown
    assert "JobHeldUser" in cli("status", "quickstart")[1]
    said = cli("resume", "quickstart")[2]
    assert "1 worker is already running; none added" in said
    assert f"do not start: run 'scontrol release {submission.job_ids[0]}'" in said
    slurm_cluster.run("scontrol", "release", submission.job_ids[0])


def test_waiting_for_an_array_ends_with_its_table(slurm_cluster: SlurmCluster, cli, root: Path, toy) -> None:
    code, out, err = cli("submit", toy("quadratic", 6), "--wait", "--workers", "2")
    assert code == 0, err
    assert out.count("COMPLETE") == 6
    assert "toy: 6 of 6 trials finished" in err
    assert slurm_cluster.run("squeue", "-h").stdout.count("toy") <= 2  # at most still leaving


@pytest.mark.parametrize("srun", ["true", "false"])
def test_a_shared_study_is_its_groups_in_all_files(
    slurm_cluster: SlurmCluster, cli, root: Path, toy, srun: str
) -> None:
    """SLURM hands the umask of sbatch on to the job and its logs; pickles and scripts are submitit's."""
    group = 31001
    os.chown(root, -1, group)
    options = ["--workers", "2", "--set", "study.shared=true", "--set", f"job.srun={srun}"]
    code, _, err = cli("submit", toy("quadratic", 2), *options)
    assert code == 0, err
    home = home_of(root, "toy")
    slurm_cluster.wait_ended(read_submissions(home)[0].job_ids[0])
    assert "2 of 2 finished" in cli("status", "toy")[1]
    found = [path for path in (home.path, *home.path.rglob("*")) if not path.is_symlink()]
    assert {path.suffix for path in home.slurm.iterdir()} == {".err", ".out", ".pkl", ".sh"}
    wrong = {
        str(path): oct(path.stat().st_mode)
        for path in found
        if path.stat().st_mode & 0o7777 not in ((0o2770,) if path.is_dir() else (0o660, 0o770))
        or path.stat().st_gid != group
    }
    assert wrong == {}
