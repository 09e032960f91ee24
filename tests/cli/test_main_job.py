"""The main job as a user does it: submit here, look at it, collect it, submit again."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest

from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import read_submissions
from tests.cli.conftest import Cli
from tests.helpers import REPOSITORY, start


@pytest.fixture
def write_sweep(write_sweep: Callable[..., Path]) -> Callable[..., Path]:
    """Its workers are two: what they do beside each other is asked here."""
    return functools.partial(write_sweep, workers=2)


def test_a_sweep_runs_to_its_table(cli: Cli, write_sweep, root: Path) -> None:
    ended = cli("submit", write_sweep(trials=6), "--wait")
    assert ended.code == 0, ended.err
    assert ended.out.count("COMPLETE") == 6
    assert "toy: 6 of 6 trials finished" in ended.err
    assert "hpo-batch collect toy" in ended.err

    rows = list(csv.DictReader(io.StringIO(cli("collect", "toy", "--format", "csv").out)))
    assert [int(row["number"]) for row in rows] == list(range(6))
    for row in rows:
        assert float(row["value"]) == pytest.approx((float(row["params_x"]) - 0.3) ** 2 + int(row["params_n"]))
        assert float(row["user_attrs_twice"]) == pytest.approx(2 * float(row["params_x"]))
        assert row["params_kind"] == "toy"
        assert row["state"] == "COMPLETE"
        assert row["attempts"] == "1"
        assert float(row["seconds_total"]) > 0
        assert row["node"]
        assert row["seed"]

    status = cli("status", "toy")
    assert "6 of 6 finished: 6 complete" in status.out
    best = min(rows, key=lambda row: float(row["value"]))
    assert f"by trial {best['number']}" in status.out
    assert f"trial {best['number']}: x = {best['params_x']}" in cli("logs", "toy", best["number"]).out
    assert "toy" in cli("list").out


def test_plain_optuna_reads_the_same(cli: Cli, write_sweep, root: Path) -> None:
    cli("submit", write_sweep(trials=5), "--wait")
    backend = optuna.storages.journal.JournalFileBackend(str(root / "toy" / "journal.jsonl"))
    study = optuna.load_study(study_name="toy", storage=optuna.storages.JournalStorage(backend))
    assert set(study.best_params) == {"x", "n", "kind"}
    theirs = study.trials_dataframe(attrs=("number", "value", "params", "user_attrs", "state"))
    ours = pd.read_csv(io.StringIO(cli("collect", "--format", "csv").out))
    shared = [name for name in theirs.columns if name in ours.columns]
    assert set(shared) == set(theirs.columns)
    pd.testing.assert_frame_equal(ours[shared], theirs[shared], check_dtype=False)


def test_submitting_again_adds_nothing_and_more_trials_go_on(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep(trials=4)
    cli("submit", path, "--wait")
    before = (root / "toy" / "trials" / "0000").iterdir()
    first = sorted(folder.name for folder in before)
    again = cli("submit", path, "--wait")
    assert again.code == 0
    assert "all 4 trials are finished: nothing to do" in again.err
    more = cli("submit", path, "--wait", "--trials", "7")
    assert "study.trials: 4 -> 7" in more.err
    rows = pd.read_csv(io.StringIO(cli("collect", "--format", "csv").out))
    assert len(rows) == 7
    assert rows.duplicated(["params_x", "params_n"]).sum() == 0
    assert sorted(first) == [f"{n:04}" for n in range(4)]


def test_a_computed_metric_is_optimised_and_reported(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep(trials=3, more='\n[metrics]\ntotal = "score + twice"\nhalf = "score / 2"\n')
    text = path.read_text()
    path.write_text(text.replace('metric = "score"', 'metric = "total"'))
    assert cli("submit", path, "--wait").code == 0
    for row in json.loads(cli("collect", "--format", "json").out):
        assert row["value"] == pytest.approx(row["user_attrs_score"] + row["user_attrs_twice"])
    path.write_text(text.replace('metric = "score"', 'metric = "half"').replace('"toy"', '"toy-half"', 1))
    assert cli("submit", path, "--wait").code == 0
    backend = optuna.storages.journal.JournalFileBackend(str(root / "toy-half" / "journal.jsonl"))
    study = optuna.load_study(study_name="toy-half", storage=optuna.storages.JournalStorage(backend))
    assert study.trials[0].intermediate_values == {1: 1 / 2, 2: 1 / 4, 3: 1 / 6}


def test_the_submission_tells_what_ran(cli: Cli, write_sweep, root: Path) -> None:
    cli("submit", write_sweep(trials=2), "--wait", "--workers", "1")
    (submission,) = read_submissions(home_of(root, "toy"))
    assert submission.kind == "local"
    assert submission.workers == 1
    assert len(submission.job_ids) == 1
    assert submission.code["versions"]["optuna"] == optuna.__version__
    assert submission.code["argv"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert submission.code["commit"] == (commit.stdout.strip() or None)
    rows = json.loads(cli("collect", "--format", "json").out)
    assert {row["submission"] for row in rows} == {submission.id}


def test_ctrl_c_ends_the_waiting_and_not_the_sweep(write_sweep, root: Path) -> None:
    path = write_sweep("sleeps", trials=2)
    waiting = start("submit", path, "--wait", "--root", root, stdout=None, start_new_session=True)
    home = home_of(root, "toy")
    pids: list[int] = []
    try:
        assert waiting.stderr is not None
        assert any("2 running" in line for line in waiting.stderr)
        pids = [int(pid) for pid in read_submissions(home)[0].job_ids]
        os.killpg(waiting.pid, signal.SIGINT)
        assert waiting.wait(timeout=120) == 130
        assert "the sweep continues" in waiting.stderr.read()
        # an attempt that was told to end says so at once in its folder
        assert not list((root / "toy").rglob("result.json"))
        assert all(_alive(pid) for pid in pids)
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        waiting.kill()
        waiting.communicate()
    deadline = time.monotonic() + 120
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def test_a_killed_worker_is_replaced_by_submitting_again(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep("sleeps", trials=1)
    assert cli("submit", path, "--workers", "1").code == 0
    home = home_of(root, "toy")
    pid = int(read_submissions(home)[0].job_ids[0])
    deadline = time.monotonic() + 120
    while "1 running" not in cli("status", "toy").out and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "1 worker is already running" in cli("submit", path, "--workers", "1").err
    os.kill(pid, signal.SIGKILL)
    while _alive(pid):
        time.sleep(0.02)
    assert "no workers running" in cli("status", "toy").out
    quick = write_sweep("sleeps", trials=1)
    assert cli("submit", quick, "--workers", "1").code == 0
    second = int(read_submissions(home)[-1].job_ids[0])
    try:
        deadline = time.monotonic() + 120
        while "attempt 2 of 2" not in cli("logs", "toy", "0").err and time.monotonic() < deadline:
            time.sleep(0.2)
        shown = cli("logs", "toy", "0").err
        assert "trial 0: RUNNING, attempt 2 of 2" in shown
    finally:
        os.kill(second, signal.SIGTERM)
        while _alive(second):
            time.sleep(0.02)
    assert "1 waiting" in cli("status", "toy").out


def test_a_snapshot_of_the_code_is_what_runs(cli: Cli, write_sweep, root: Path) -> None:
    done = cli("submit", write_sweep(trials=1), "--wait", "--set", "objective.snapshot=true")
    assert done.code == 0, done.err
    (submission,) = read_submissions(home_of(root, "toy"))
    copy = root / "toy" / submission.code["snapshot"]
    assert (copy / "tests" / "cli" / "toys.py").read_bytes() == (REPOSITORY / "tests/cli/toys.py").read_bytes()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
