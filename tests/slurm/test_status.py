"""What the reading commands see of a real cluster, and how often each command asks it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from hpo_batch.cli.main import SECTIONS
from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import read_submissions
from tests.cli.conftest import SWEEP
from tests.helpers import write_program

from .cluster import ClusterConfig, SlurmCluster

PROGRAMS = ("squeue", "sacct", "scontrol", "scancel", "sinfo", "sacctmgr")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "toy.toml"
    text = SWEEP.format(name="toy", trials=40, function="sleeps")
    path.write_text(text.replace('template = "local"', 'template = "cpu"\ngres = "gpu:a100:1"\ncpus = 1'))
    return path


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Counts calls of SLURM's programs: one of the same name stands before each and starts it."""
    folder, notes = tmp_path / "wrappers", tmp_path / "asked"
    folder.mkdir()

    def start() -> None:
        for name in PROGRAMS:
            real = shutil.which(name)
            assert real, name
            wrapper = folder / name
            write_program(wrapper, f'#!/bin/sh\necho {name} >> {notes}\nexec {real} "$@"\n')
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def count() -> dict[str, int]:
        lines = notes.read_text().split() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return {name: lines.count(name) for name in set(lines)}

    return start, count


def test_what_is_shown_of_an_array_and_how_often_slurm_is_asked(
    slurm_cluster: SlurmCluster, cli, sweep: Path, root: Path, tmp_path: Path, asked
) -> None:
    start, count = asked
    start()
    code, _, err = cli("submit", sweep, "--workers", "3", "--", "--nodelist=n1", "--exclusive")
    assert code == 0, err
    assert count().get("squeue", 0) <= 1
    home = home_of(root, "toy")
    (job,) = read_submissions(home)[0].job_ids

    def status(*options: str) -> dict[str, object]:
        (found,) = json.loads(cli("status", "toy", "--json", *options)[1])
        return dict(found)

    # the whole node is the first task's: the others wait for it
    slurm_cluster.wait_for(lambda: status()["trials"]["running"] == 1, timeout_s=120, what="a trial runs")  # type: ignore[index]

    def words() -> set[str]:
        return {row.reason for row in slurm_cluster.squeue("-t", "pending")}

    slurm_cluster.wait_for(lambda: "None" not in words(), timeout_s=60, what="SLURM has looked at the tasks that wait")
    count()
    found = status()
    assert count() == {"squeue": 1}
    first, *waiting = found["workers"]  # type: ignore[misc]
    assert (first["job"], first["state"], first["node"], first["trial"]) == (f"{job}_0", "running", "n1", 0)
    assert first["gpus"]
    assert 0 <= first["seen_s"] < 60
    assert first["left_s"] > 0
    assert [(w["state"], w["trial"]) for w in waiting] == [("pending", None)] * 2
    # SLURM's own word is passed on as it is
    assert {w["reason"] for w in waiting} <= words() | {"Resources", "Priority"}
    assert all(w["gloss"] for w in waiting)
    assert (found["slurm"], found["unseen"], found["abandoned"]) == ("answered", [], [])

    theirs = tmp_path / "theirs.csv"
    theirs.write_text("score,x,n\n0.5,0.25,1\n")
    commands: dict[str, tuple[object, ...]] = {
        "check": (sweep,),
        "submit": (sweep, "--workers", "3"),
        "status": ("toy",),
        "logs": ("toy", "0"),
        "explain": ("toy", "0"),
        "list": (),
        "collect": ("toy", "--format", "csv"),
        "report": ("toy", "-o", tmp_path / "report"),
        "compare": ("toy", "toy"),
        **dict.fromkeys(("refine", "confirm", "propose"), ("toy", "--dry-run")),
        "transfer": ("toy", "toy", "--dry-run"),
        "ledger": (),
        "init": ("--command", "-o", tmp_path / "new" / "sweep.toml"),
        "import": (theirs, "--into", sweep),
        "doctor": ("toy",),
    }
    at_the_end: dict[str, tuple[object, ...]] = {
        "retry": ("toy",),
        "resume": ("toy", "--dry-run"),
        "cancel": ("toy", "-y"),
        "rm": ("toy",),
    }
    every = {name for section in SECTIONS.values() for name in section}
    assert every == commands.keys() | at_the_end.keys() | {"worker", "dashboard"}  # those go on until they are ended
    for name in commands:
        cli(name, *commands[name])
        made = count()
        assert made.get("squeue", 0) <= 1, (name, made)
        assert made.get("sacct", 0) == 0, (name, made)
    slurm_cluster.wait_for(lambda: slurm_cluster.sacct(job), what="accounting knows the job")
    count()
    charged = status("--accounting")
    assert count() == {"squeue": 1, "sacct": 1}
    assert charged["hours"]["allocated"] is not None  # type: ignore[index]

    # without a controller, leases tell who is there
    slurm_cluster.stop_controller()
    blind = status()
    assert (blind["slurm"], blind["trials"]["running"]) == ("unseen", 1)  # type: ignore[index]
    assert [(w["job"], w["state"], w["trial"]) for w in blind["workers"]] == [(f"{job}_0", "running", 0)]  # type: ignore[union-attr]
    assert "slurm" in str(blind["unseen"]).lower()
    slurm_cluster.start_controller()

    slurm_cluster.run("scancel", "--signal=KILL", "--full", job)
    slurm_cluster.run("scancel", job)
    slurm_cluster.wait_ended(job)
    after = status()
    assert after["workers"] == []
    assert after["abandoned"] in ([0], [])  # killed at work, or after it had given its trial back
    code, out, err = cli("logs", "toy", "0")
    assert code == 0
    assert f"{job}_0" in err + out
    count()
    for name, argv in at_the_end.items():
        cli(name, *argv)
        made = count()
        assert made.get("squeue", 0) <= 1, (name, made)
        assert made.get("sacct", 0) == 0, (name, made)
        assert made.get("scancel", 0) <= 1, (name, made)


def test_without_accounting_all_but_the_charged_hours_is_there(
    cli, sweep: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SlurmCluster.started(ClusterConfig(nodes=1, accounting=False)) as other:
        for name, value in other.own_env.items():
            monkeypatch.setenv(name, value)
        sweep.write_text(sweep.read_text().replace("sleeps", "quadratic"))
        code, _, err = cli("submit", sweep, "--trials", "4", "--workers", "2", "--set", "job.device=cpu")
        assert code == 0, err
        (job,) = read_submissions(home_of(root, "toy"))[0].job_ids
        other.wait_ended(job)
        (found,) = json.loads(cli("status", "toy", "--json", "--accounting")[1])
        assert found["trials"]["complete"] == 4
        assert found["unseen"] == ["accounting: this site keeps no accounts"]
        assert (found["hours"]["allocated"], found["hours"]["unit"]) == (None, "GPU")
        assert found["hours"]["complete"] > 0
        assert "4 of 4 finished" in cli("status", "toy")[1]
        assert "trial 1: x = " in cli("logs", "toy", "1")[1]
        assert "worker ends" in cli("logs", "toy", "1", "--worker")[1]
        assert f"{job}_" in cli("explain", "toy", "1")[1]
        assert cli("collect", "toy", "--format", "csv")[1].count("COMPLETE") == 4
        assert "nothing to do" in cli("submit", sweep, "--trials", "4", "--set", "job.device=cpu")[2]
