"""The screen, the JSON and the watch, on studies that were run here; squeue hangs, fails or is not there."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyte
import pytest
from msgspec import structs

from hpo_batch.cli.screen import screen
from hpo_batch.monitor import queue as queue_module
from hpo_batch.monitor import status as status_module
from hpo_batch.monitor.status import StudyStatus, study_statuses
from hpo_batch.monitor.workers import WorkerStatus
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.store.submissions import Submission, write_submission
from hpo_batch.study.study import Study
from tests.cli.conftest import Cli
from tests.helpers import REPOSITORY, start, write_program
from tests.study.helpers import claimed, complete, make, owner, work

SLURM = Submission(id="abc", kind="slurm", workers=2, walltime_s=60, submitted=time.time(), job_ids=("7",))


@pytest.fixture
def in_slurm(root: Path) -> Iterator[StudyHome]:
    """A study with a trial at work in an array, on a node far away."""
    home = make(root)
    write_submission(home, SLURM)
    with Study.open(home, owner(host="far", worker="7-r0-0", job="7_0")) as study:
        claimed(study)
        yield home


def squeue(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir(exist_ok=True)
    write_program(folder / "squeue", f"#!/bin/sh\n{script}\n")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def the_status(home: StudyHome) -> StudyStatus:
    (found,) = study_statuses([home])
    return found


def test_a_squeue_that_hangs_is_left_alone(
    in_slurm: StudyHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue(tmp_path / "bin", monkeypatch, "exec sleep 60")
    monkeypatch.setattr(queue_module, "SQUEUE_TIMEOUT_S", 0.2)
    found = the_status(in_slurm)
    assert "did not answer within 0.2 s" in found.unseen[0]
    assert [(w.job, w.state, w.trial) for w in found.live_workers] == [("7_0", "running", 0)]
    assert "unseen    array tasks: " in "\n".join(screen(found, width=None))


def test_a_squeue_that_fails(in_slurm: StudyHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue(tmp_path / "bin", monkeypatch, "echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1")
    found = the_status(in_slurm)
    assert ("Unable to contact" in found.unseen[0], found.slurm) == (True, "unseen")


def test_a_machine_without_squeue(in_slurm: StudyHome, no_slurm: None) -> None:
    found = the_status(in_slurm)
    assert "there is no squeue on this machine" in found.unseen[0]
    assert len(found.live_workers) == 1


def test_an_answer_that_the_task_has_ended_means_that_it_is_gone(
    in_slurm: StudyHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue(tmp_path / "bin", monkeypatch, "echo '7|0|FAILED|NonZeroExitCode|1:00|1:00|far|0|toy-abc'")
    then = time.time() - 30
    os.utime(in_slurm.workers / "7-r0-0.lease", (then, then))
    found = the_status(in_slurm)
    assert (found.workers, found.abandoned) == ((), (0,))
    assert "trial 0: the worker is gone" in "\n".join(screen(found, width=None))


def test_removed_folders_are_told(in_slurm: StudyHome, no_slurm: None) -> None:
    for folder in (in_slurm.slurm, in_slurm.path / "trials", in_slurm.workers):
        shutil.rmtree(folder, ignore_errors=True)
    in_slurm.revision(1).unlink()
    told = "\n".join(the_status(in_slurm).unseen)
    for what in ("logs of array tasks", "output of trials", "cards and leases", "frozen sweep"):
        assert what in told


def test_a_submission_whose_id_was_lost_is_told(root: Path, no_slurm: None) -> None:
    home = make(root)
    write_submission(home, structs.replace(SLURM, job_ids=()))
    assert "there is no squeue on this machine" in the_status(home).unseen[0]  # it would be found there by its name


def test_lines_are_no_longer_than_the_terminal_is_wide(in_slurm: StudyHome, no_slurm: None) -> None:
    with Study.open(in_slurm, owner(1)) as study:
        claim = claimed(study)
        study.tell(claim, complete(claim))
    found = the_status(in_slurm)
    for width in (60, 80, 200):
        assert max(map(len, screen(found, width=width)[1:])) <= width


def test_many_workers_are_summed_up_and_the_odd_ones_listed(root: Path) -> None:
    home = make(root)
    at_work = [
        WorkerStatus(worker=f"7-r0-{i}", job=f"7_{i}", state="running", node=f"n{i}", trial=i) for i in range(100)
    ]
    silent = WorkerStatus(worker="7-r0-100", job="7_100", state="silent", node="n100", trial=100, seen_s=400.0)
    waiting = [
        WorkerStatus(worker="", job=f"7_{i}", state="pending", reason="Priority", gloss="others")
        for i in range(101, 120)
    ]
    found = structs.replace(the_status(home), workers=(*at_work, silent, *waiting))
    told = "\n".join(screen(found, width=120))
    assert "workers   120: 100 running, 19 pending, 1 silent" in told
    assert "19 pending: Priority (others)" in told
    assert "7_100  silent  n100  trial 100  seen 0:06:40 ago" in told
    assert "119 more" in told
    assert len(told.splitlines()) < 20
    assert len(screen(found, width=120, all_workers=True)) > 120


def keys(value: Any, path: str = "") -> set[str]:
    """Every key of a JSON value: `trials.complete`, `workers[].job`; those of maps by name are `{}`."""
    if isinstance(value, list):
        return set().union(*(keys(one, f"{path}[]") for one in value)) if value else set()
    if not isinstance(value, dict):
        return set()
    if path.rpartition(".")[2] in ("params", "failures", "nodes"):
        return {f"{path}.{{}}"}
    found = set()
    for key, inner in value.items():
        inside = f"{path}.{key}" if path else key
        found |= {inside} | keys(inner, inside)
    return found


def test_shares_of_weighted_values_are_shown_beside_their_weights(root: Path, no_slurm: None) -> None:
    home = make(
        root, study="trials = 8", space="x = { low = 0.0, high = 1.0 }\nk = { choices = [1, 2], weights = [3, 1] }"
    )
    work(home)
    assert "shares    k: 1 75% (weight 75%), 2 25% (weight 25%)" in "\n".join(screen(the_status(home), width=None))


def test_gpus_that_were_slowed_down_or_had_memory_errors_are_named(root: Path, no_slurm: None) -> None:
    from hpo_batch.records import Usage

    home = make(root, study="trials = 4")
    told = [
        Usage(gpu_util=90.0, gpu_temp_c=60.0, gpu_throttled=0.0, gpu_ecc_errors=0.0),
        Usage(gpu_util=70.0, gpu_temp_c=91.0, gpu_throttled=0.5, gpu_ecc_errors=0.0),
        Usage(gpu_util=80.0, gpu_memory_mb=31_000.0, gpu_throttled=0.05, gpu_ecc_errors=2.0),
        Usage(),
    ]
    with Study.open(home, owner(1)) as study:
        for usage in told:
            claim = claimed(study)
            study.tell(claim, replace(complete(claim), usage=usage))
    shown = screen(the_status(home), width=None)
    assert "used      per trial up to 31.0 GB of GPU memory, up to 91 °C" in shown  # too short to tell the load
    assert "GPU       trial 1: slowed down by heat or power supply; do not compare times with others" in shown
    assert "GPU       trial 2: uncorrected memory errors; do not trust the results" in shown


def test_the_documented_json_is_the_real_one(root: Path, no_slurm: None) -> None:
    from hpo_batch.records import Failed, Reason, Usage

    space = 'n = { low = 1, high = 100000 }\nkind = { choices = ["a", "b"], weights = [3, 1] }'
    home = make(root, study="trials = 60", space=space, tables={"failures": "stop_after = 50"})
    write_submission(home, SLURM)
    for i, host in enumerate("aaaaaaaaaaxxxxx"):
        with Study.open(home, owner(i, host=host, worker=f"w-{i}")) as study:
            claim = claimed(study)
            failed = Failed(reason=Reason.EXCEPTION, message="no")
            study.tell(claim, failed if host == "x" else complete(claim))
    with Study.open(home, owner(99, host="a")) as study:
        claim = claimed(study)
        study.tell(claim, replace(complete(claim), usage=Usage(cpu_s=1.0)))
    with Study.open(home, owner(100, host="far")) as study:
        claimed(study)
        found = the_status(home)
    assert found.failure_groups[0].regions
    assert found.failing_nodes
    assert found.workers
    text = (REPOSITORY / "docs" / "status-json.md").read_text()
    table = text.partition("## explain")[0]
    documented = set(re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE))
    home.marker("CANCELLED").touch()
    stopped = the_status(home)
    assert stopped.stopped is not None
    real = keys(json.loads(json.dumps(found.as_json()))) | keys(json.loads(json.dumps(stopped.as_json())))
    assert documented == real
    assert f"`schema_version` is {status_module.SCHEMA_VERSION}" in table


def watching(root: Path, *options: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return start("status", "s", "-w", "--root", root, *options, stdout=stdout, env={"TERM": "xterm"})


def test_watching_prints_on_change_and_ends_on_ctrl_c(root: Path) -> None:
    home = make(root)
    watch = watching(root, "--json")
    try:
        assert watch.stdout is not None
        (first,) = json.loads(watch.stdout.readline())
        assert first["trials"]["complete"] == 0
        with Study.open(home, owner()) as study:
            claim = claimed(study)
            study.tell(claim, complete(claim))
        for line in watch.stdout:
            if json.loads(line)[0]["trials"]["complete"] == 1:
                break
        watch.send_signal(signal.SIGINT)
        _, err = watch.communicate(timeout=60)
    finally:
        watch.kill()
    assert (watch.returncode, err) == (0, "")


def test_watching_in_a_terminal_draws_over_the_last_picture(root: Path) -> None:
    home = make(root)
    ours, theirs = pty.openpty()
    watch = watching(root, stdout=theirs)
    os.close(theirs)
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)

    def look_until(text: str) -> None:
        while not any(text in line for line in screen.display):
            stream.feed(os.read(ours, 65536))

    try:
        look_until("0 of 5 finished")
        with Study.open(home, owner()) as study:
            claim = claimed(study)
            study.tell(claim, complete(claim))
        look_until("1 of 5 finished")
        assert sum(line.startswith("study ") for line in screen.display) == 1
        assert not any("0 of 5 finished" in line for line in screen.display)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(timeout=60) == 0
    finally:
        watch.kill()
        watch.communicate()
        os.close(ours)


def test_watching_asks_slurm_once_a_minute(
    in_slurm: StudyHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    squeue(tmp_path / "bin", monkeypatch, f"echo >> {asked}; echo '7|0|RUNNING|None|1:00|1:00:00|far|0|toy-abc'")
    watch = watching(in_slurm.root, "--json")
    try:
        assert watch.stdout is not None
        before = json.loads(watch.stdout.readline())
        for done in range(2):  # each is a look at the journal
            with Study.open(in_slurm, owner(done + 1)) as study:
                claim = claimed(study)
                study.tell(claim, complete(claim))
            while json.loads(watch.stdout.readline())[0]["trials"]["complete"] <= done:
                pass
        assert (before[0]["slurm"], asked.read_text()) == ("answered", "\n")
    finally:
        watch.kill()
        watch.communicate()


def test_the_studies_are_asked_about_in_one_question(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, write_sweep: Callable[..., Path]
) -> None:
    asked = tmp_path / "asked"
    squeue(tmp_path / "bin", monkeypatch, f'echo "$@" >> {asked}')
    budgets = '\n[[budget]]\nname = "A"\n\n[[budget]]\nname = "B"\n'
    assert cli("submit", write_sweep(trials=1, more=budgets), "--wait").code == 0
    for name, job in (("toy/A", "7"), ("toy/B", "8")):
        write_submission(home_of(root, name), structs.replace(SLURM, id=job, job_ids=(job,)))
    assert len(json.loads(cli("status", "toy", "--json").out)) == 2
    assert asked.read_text().count("\n") == 1
    assert "7,8" in asked.read_text()
