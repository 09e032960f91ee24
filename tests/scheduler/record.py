"""Records what a version of SLURM answers to our questions, for ``test_versions.py``.

``python -m tests.scheduler.record`` as root where that version is installed, such as in a chroot of another release of
Debian. It starts a cluster of its own, has jobs in all states, and writes ``data/VERSION/*.txt``. It needs nothing but
Python and SLURM.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from hpo_batch.scheduler.slurm.accounts import _SACCT_FIELDS
from hpo_batch.scheduler.slurm.queue import _SQUEUE_FIELDS
from hpo_batch.scheduler.slurm.sinfo import FORMAT
from hpo_batch.scheduler.slurm.site import LIMIT_FIELDS, QOS_FIELDS
from tests.slurm.cluster import ClusterConfig, SlurmCluster

DATA = Path(__file__).with_name("data")
ARRAY = """
case $SLURM_ARRAY_TASK_ID in
  0) exit 0 ;;
  1) exit 3 ;;
  2) kill -9 $$ ;;
  *) sleep 600 ;;
esac
"""
SLEEP = "sleep 600"
DEAF = "trap '' TERM; sleep 600"
QUESTIONS: dict[str, Sequence[str]] = {
    "sinfo": ("sinfo", "--noheader", "--format", FORMAT),
    "squeue": ("squeue", "-h", "-r", "-t", "all", "-o", f"{_SQUEUE_FIELDS}|%e|%j\t%o"),
    "sacct": ("sacct", "-X", "-D", "-P", "-n", "-o", _SACCT_FIELDS),
    "config": ("scontrol", "show", "config"),
    "partitions": ("scontrol", "show", "partition", "-o"),
    "assoc": ("sacctmgr", "-n", "-P", "show", "assoc", f"format={LIMIT_FIELDS}"),
    "qos": ("sacctmgr", "-n", "-P", "show", "qos", f"format={QOS_FIELDS}"),
}
REFUSALS: dict[str, Sequence[str]] = {
    "partition": ("sbatch", "--partition=nowhere"),
    "gres": ("sbatch", "--gres=gpu:h100:1"),
    "array": ("sbatch", "--array=0-5000"),
    "limit": ("sbatch", "--qos=small", "--array=0-9"),
    "unknown": ("scancel", "4242"),
    "gone": ("squeue", "-h", "-j", "4242"),
}


def submit_all(cluster: SlurmCluster) -> None:
    """Jobs 1 to 8, each in another state; the numbers are what ``test_versions.py`` asks for."""

    def sbatch(*options: str, script: str = SLEEP) -> str:
        return cluster.sbatch("--output=/dev/null", *options, script=script)

    array = sbatch("--job-name=array", "--array=0-5", "--gres=gpu:1", "--time=30", "--requeue", script=ARRAY)
    sbatch("--job-name=unlimited", "--time=1-0", "--nodes=2")
    held = sbatch("--job-name=held", "--hold", "--time=2:00:00")
    sbatch("--job-name=after", f"--dependency=afterok:{held}")
    suspended = sbatch("--job-name=stopped", "--time=1:00:00")
    low = sbatch("--job-name=low", "--gres=gpu:4", "--requeue", "--nodelist=n4", "--exclusive")
    states = {"1_5": "RUNNING", suspended: "RUNNING", low: "RUNNING"}
    cluster.wait_for(
        lambda: states.items() <= {row.job: row.state for row in cluster.squeue()}.items(), what="jobs run"
    )
    cluster.run("scontrol", "suspend", suspended)
    cluster.run("scancel", f"{array}_3")
    cluster.run("scontrol", "requeue", f"{array}_4")
    sbatch("--job-name=high", "--partition=urgent", "--gres=gpu:4", "--nodelist=n4", "--exclusive")
    sbatch("--job-name=wide", "--nodes=4", "--exclusive", "--time=1-0")
    waiting = {low: "PENDING", "1_4": "PENDING"}
    cluster.wait_for(
        lambda: waiting.items() <= {row.job: row.state for row in cluster.squeue()}.items(), what="both wait again"
    )
    cluster.wait_for(
        lambda: cluster.sacct("1").get("1_3", "").startswith("CANCELLED"), what="the database has the ended tasks"
    )


def last_words(cluster: SlurmCluster) -> str:
    """What SLURM writes into the logs of jobs that end in several ways, each below its name."""
    logs = cluster.root / "scripts"
    jobs = {
        "cancelled": cluster.sbatch(f"--output={logs}/cancelled.err", script=f"srun {SLEEP}"),
        "limit": cluster.sbatch(f"--output={logs}/limit.err", "--time=1", script=f"srun {SLEEP}"),
        "preempted": cluster.sbatch(
            *(f"--output={logs}/preempted.err", "--open-mode=append", "--nodelist=n3", "--exclusive", "--requeue"),
            script=f"trap '' TERM\nsrun sh -c \"{DEAF}\"",  # as workers do, which wait for the kill
        ),
        "missing": cluster.sbatch(f"--output={logs}/missing.err", script="srun /nowhere/python"),
        "folder": cluster.sbatch(f"--output={logs}/folder.err", "--chdir=/nowhere", script="srun true"),
        "failed": cluster.sbatch(f"--output={logs}/failed.err", script="srun sh -c 'exit 3'"),
        "killed": cluster.sbatch(f"--output={logs}/killed.err", script="srun sh -c 'kill -9 $$'"),
    }
    lasting = {jobs[name]: "RUNNING" for name in ("cancelled", "limit", "preempted")}
    cluster.wait_for(
        lambda: lasting.items() <= {row.job: row.state for row in cluster.squeue()}.items(), what="jobs with steps run"
    )
    time.sleep(3)  # until their steps do
    cluster.run("scancel", jobs["cancelled"])
    urgent = cluster.sbatch("--partition=urgent", "--nodelist=n3", "--exclusive", "--output=/dev/null", script="true")
    for name in ("cancelled", "limit", "missing", "folder", "failed", "killed"):
        cluster.wait_ended(jobs[name], timeout_s=200)
    cluster.wait_ended(urgent)
    cluster.run("scancel", jobs["preempted"])
    return "".join(f"[{name}]\n{(logs / f'{name}.err').read_text()}" for name in jobs)


def main() -> None:
    config = ClusterConfig(submit_limits={"small": 2}, kill_wait_s=2, min_job_age_s=600, requeue_wait_s=60)
    with SlurmCluster.started(config) as cluster:
        version = cluster.run("sinfo", "--version").stdout.split()[1]
        folder = DATA / ".".join(version.split(".")[:2])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        submit_all(cluster)
        env = {"SLURM_TIME_FORMAT": "%s"}
        for name, argv in QUESTIONS.items():
            text = cluster.run(*argv, **env).stdout.replace(str(cluster.root), "/srv/slurm")
            (folder / f"{name}.txt").write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")
        script = cluster.root / "scripts" / "refused.sh"
        script.write_text("#!/bin/bash\nsleep 1\n")
        refused = ""
        for name, argv in REFUSALS.items():
            done = subprocess.run(
                [*argv, *([str(script)] if argv[0] == "sbatch" else [])],
                env=cluster.env,
                capture_output=True,
                text=True,
            )
            refused += f"[{name}] {done.returncode}\n{done.stderr.strip()}\n"
        (folder / "refusals.txt").write_text(refused)
        cluster.reset()
        (folder / "last-words.txt").write_text(last_words(cluster).replace(str(cluster.root), "/srv/slurm"))
        print(f"{folder}: {version}")


if __name__ == "__main__":
    main()
