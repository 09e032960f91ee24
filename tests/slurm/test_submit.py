"""Submitting to a real cluster: limits, lost answers, refusals, and submitting from inside a job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpo_batch.cli.main import run
from hpo_batch.launch.sbatch import sbatch_text
from hpo_batch.monitor.live import live
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import read_submissions
from tests.cli.conftest import SWEEP
from tests.helpers import REPOSITORY, write_program
from tests.launch.test_sbatch import SITES

from .cluster import ClusterConfig, SlurmCluster

Submit = Callable[..., tuple[int, str]]


@pytest.fixture
def submit(
    slurm_cluster: SlurmCluster,
    root: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Submit:
    """``submit("--workers", "4")`` of a toy on CPUs: exit code and what it said."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("HPO_BATCH_ROOT", str(root))
    path = tmp_path / "toy.toml"
    path.write_text(SWEEP.format(name="toy", trials=30, function="sleeps").replace('"local"', '"cpu"'))

    def call(*options: str) -> tuple[int, str]:
        capfd.readouterr()
        code = run(["submit", str(path), *options])
        return code, capfd.readouterr().err

    return call


@pytest.fixture(scope="module")
def _strict_cluster() -> Iterator[SlurmCluster]:
    with SlurmCluster.started(ClusterConfig(nodes=1, max_array_size=5, submit_limits={"few": 6})) as cluster:
        yield cluster


@pytest.fixture
def strict(_strict_cluster: SlurmCluster, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """A site with small arrays and a QOS of six jobs; ``submit`` goes there."""
    monkeypatch.setenv("SLURM_CONF", _strict_cluster.own_env["SLURM_CONF"])
    yield _strict_cluster
    _strict_cluster.reset()


@pytest.fixture
def in_place_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """``in_place_of("sbatch", "$REAL ...")``: a shell script before the real command on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def put(name: str, script: str) -> None:
        real = shutil.which(name)
        assert real is not None
        program = folder / name
        write_program(program, f"#!/bin/bash\nREAL={real}\n{script}\n")

    # only after the real ones have been looked up
    put_first = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def put_and_use(name: str, script: str) -> None:
        put(name, script)
        monkeypatch.setenv("PATH", put_first)

    return put_and_use


def throttles(cluster: SlurmCluster, jobs: tuple[str, ...]) -> list[int]:
    shown = [cluster.run("scontrol", "show", "job", job).stdout for job in jobs]
    return [int(re.findall(r"ArrayTaskThrottle=(\d+)", text)[0]) for text in shown]


def test_what_is_above_the_largest_array_is_split(strict: SlurmCluster, submit: Submit, root: Path) -> None:
    options = ("--workers", "12", "--set", "job.max_running=6", "--", "--hold")
    code, err = submit(*options)
    assert code == 0, err
    home = home_of(root, "toy")
    (submission,) = read_submissions(home)
    assert (submission.workers, submission.limit, submission.is_open) == (12, "", False)
    sizes = [sum(row.job.startswith(f"{job}_") for row in strict.squeue()) for job in submission.job_ids]
    assert sizes == [5, 5, 2]
    shares = throttles(strict, submission.job_ids)
    assert sum(shares) == 6
    assert min(shares) >= 1
    assert live([home])[home.name].workers == 12
    assert "12 workers are already running" in submit(*options)[1]


def test_a_submit_limit_is_met_with_fewer_workers(strict: SlurmCluster, submit: Submit, root: Path) -> None:
    """Six may be there: five are taken as one array, of the second chunk one."""
    code, err = submit("--workers", "10", "--qos", "nix")
    assert code == 3
    assert "sbatch refused the job: Invalid qos specification; " in err
    assert "set [job] qos" in err
    assert list(root.iterdir()) == []

    code, err = submit("--workers", "10", "--qos", "few", "--", "--hold")
    assert code == 0, err
    assert "only 6 of 10 workers were submitted: QOSMaxSubmitJobPerUserLimit" in err
    assert "Run the same command again later to add the rest" in err
    home = home_of(root, "toy")
    (submission,) = read_submissions(home)
    assert (submission.workers, submission.asked, len(submission.job_ids)) == (6, 10, 2)
    assert len(strict.squeue()) == live([home])[home.name].workers == 6
    assert {path.name for path in home.slurm.iterdir()} == {
        f"{submission.id}.pkl",
        f"{submission.id}.sh",
        f"{submission.id}-2.sh",
    }

    code, err = submit("--workers", "10", "--qos", "few", "--", "--hold")
    assert code == 3
    assert "not even one worker fits now" in err
    assert len(strict.squeue()) == 6
    assert home.exists
    strict.run("scancel", submission.job_ids[0])
    strict.wait_for(lambda: len(strict.squeue()) == 1, what="the first array is gone")
    code, err = submit("--workers", "4", "--qos", "few", "--", "--hold")
    assert code == 0, err
    assert len(strict.squeue()) == 4


@pytest.mark.parametrize(
    ("options", "words", "fix"),
    [
        (("--set", "job.gres=tpu:1"), "Invalid generic resource (gres) specification", "sinfo -o"),
        (("--constraint", "big"), "Invalid feature specification", "[job] constraint"),
        (("--dependency", "whenever"), "Job dependency problem", "afterok:1234"),
        (("--", "--no-such-option=1"), "unrecognized option '--no-such-option=1'", "[job] sbatch"),
    ],
)
def test_a_refused_first_submission_leaves_nothing(
    slurm_cluster: SlurmCluster, submit: Submit, root: Path, options: tuple[str, ...], words: str, fix: str
) -> None:
    code, err = submit(*options)
    assert code == 3
    assert f"sbatch refused the job: {words}" in err
    assert fix in err
    assert list(root.iterdir()) == []
    assert slurm_cluster.squeue() == []


def test_a_refused_submission_leaves_a_study_as_it_was(slurm_cluster: SlurmCluster, submit: Submit, root: Path) -> None:
    assert submit("--workers", "1", "--", "--hold")[0] == 0
    home = home_of(root, "toy")
    home.marker("CANCELLED").write_text("by a test")
    files = {path.name for path in home.slurm.iterdir()}
    assert submit("--workers", "2", "--partition", "nowhere")[0] == 3
    assert home.marker("CANCELLED").read_text() == "by a test"
    assert {path.name for path in home.slurm.iterdir()} == files
    assert [bool(one.refused) for one in read_submissions(home)] == [False, True]
    assert live([home])[home.name].workers == 1


LOST = {
    "no answer": '$REAL "$@" >/dev/null\necho "sbatch: error: Socket timed out on send/recv operation" >&2\nexit 1',
    "killed": '$REAL "$@" >/dev/null\nkill -9 $PPID',
}


@pytest.mark.parametrize("how", LOST)
def test_a_job_whose_id_was_lost_works_and_is_counted(
    slurm_cluster: SlurmCluster,
    submit: Submit,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_place_of: Callable[[str, str], None],
    how: str,
) -> None:
    home = home_of(root, "toy")
    with monkeypatch.context():
        in_place_of("sbatch", LOST[how])
        ended = subprocess.run(
            [sys.executable, "-m", "hpo_batch", "submit", str(tmp_path / "toy.toml")],
            capture_output=True, text=True, cwd=REPOSITORY, timeout=120,
        )  # fmt: skip
    assert ended.returncode == (3 if how == "no answer" else -9)
    if how == "no answer":
        assert "the job may have been submitted" in ended.stderr
    (submission,) = read_submissions(home)
    assert (submission.job_ids, submission.may_have_more) == ((), True)
    in_place_of("sbatch", 'exec $REAL "$@"')
    in_place_of("squeue", f'echo call >>{tmp_path}/squeues; exec $REAL "$@"')
    code, err = submit()
    assert code == 0
    assert "2 workers are already running; none added" in err
    assert (tmp_path / "squeues").read_text() == "call\n"
    (found,) = read_submissions(home)
    assert set(found.job_ids) == {row.job.split("_")[0] for row in slurm_cluster.squeue()}
    assert not found.may_have_more
    # submitit's runner has found its pickle, though nobody came to rename it
    slurm_cluster.wait_for(
        lambda: len(list(home.workers.glob("*.json"))) == 2, what="two workers have left their cards"
    )


def test_submitting_from_inside_an_array_task(
    slurm_cluster: SlurmCluster, submit: Submit, root: Path, tmp_path: Path
) -> None:
    toml = tmp_path / "toy.toml"
    toml.write_text(toml.read_text() + f"setup = ['env > {tmp_path}/env', 'exit']\n")
    script = (
        f"export HPO_BATCH_DEADLINE=1.0 SBATCH_COMMENT=mine\n{sys.executable} -m hpo_batch submit {toml} --workers 1"
    )
    job = slurm_cluster.sbatch(
        "--array=3", "--gres=gpu:1", f"--output={tmp_path}/out", f"--export=ALL,HPO_BATCH_ROOT={root}",
        script=script, cwd=REPOSITORY,
    )  # fmt: skip
    slurm_cluster.wait_ended(job)
    assert "started job" in (tmp_path / "out").read_text()
    (inner,) = read_submissions(home_of(root, "toy"))[0].job_ids
    slurm_cluster.wait_ended(inner)
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    assert env["SLURM_JOB_ID"] == inner
    assert env["SLURM_CONF"] == os.environ["SLURM_CONF"]
    leaked = {
        "SLURM_ARRAY_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "HPO_BATCH_DEADLINE",
        "CUDA_VISIBLE_DEVICES",
        "SLURM_JOB_GRES",
    }
    assert not leaked & set(env)


def test_variables_of_the_caller_fill_what_is_open(
    slurm_cluster: SlurmCluster, submit: Submit, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "urgent")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "3")
    code, err = submit("--workers", "1", "--", "--hold")
    assert code == 0, err
    assert "SBATCH_PARTITION=urgent from your environment applies too" in err
    (job,) = read_submissions(home_of(root, "toy"))[0].job_ids
    shown = slurm_cluster.run("scontrol", "show", "job", job).stdout
    assert "Partition=urgent" in shown
    assert "TimeLimit=04:00:00" in shown
    assert submit("--workers", "2", "--partition", "gpu", "--", "--hold")[0] == 0
    (second,) = read_submissions(home_of(root, "toy"))[1].job_ids
    assert "Partition=gpu" in slurm_cluster.run("scontrol", "show", "job", second).stdout


@pytest.mark.parametrize("site", SITES)
def test_slurm_takes_the_text_of_each_site(slurm_cluster: SlurmCluster, tmp_path: Path, site: str) -> None:
    """The nodes of the tests have 8 CPUs, 8 GB and no slices of GPUs, and no QOS has these names."""
    here = {"mem_gb": 4.0 if SITES[site].mem_gb else None, "cpus": 4, "qos": None}
    if site == "mig":
        here["gres"] = "gpu:a100:1"
    script = tmp_path / "job.sh"
    home = StudyHome(path=tmp_path, name="x")
    job = replace(SITES[site], **here)
    script.write_text(sbatch_text(job, folder=home.slurm, name="x-0", workdir=tmp_path, tasks=4, pickle="0.pkl"))
    assert "to start at" in slurm_cluster.run("sbatch", "--test-only", script).stderr
