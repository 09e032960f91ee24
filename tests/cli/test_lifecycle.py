"""resume, retry and cancel as a user types them: nothing doubled, nothing lost, and each may be typed twice."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from hpo_batch.launch import cancel as launch_cancel
from hpo_batch.records import TrialState
from hpo_batch.store.home import home_of
from hpo_batch.store.submissions import Submission, read_submissions, write_submission
from hpo_batch.study.read import read_state
from tests.cli.conftest import Cli
from tests.helpers import REPOSITORY, start, until
from tests.scheduler.conftest import fake_command as fake_command
from tests.study.helpers import state_of


@pytest.fixture
def write_sweep(write_sweep: Callable[..., Path]) -> Callable[..., Path]:
    """Its workers are two: what they do beside each other is asked here."""
    return functools.partial(write_sweep, workers=2)


def pids(root: Path, name: str = "toy") -> list[int]:
    return [int(pid) for s in read_submissions(home_of(root, name)) for pid in s.job_ids]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def _no_worker_outlives_its_test(root: Path):
    yield
    for path in root.glob("*/submissions.jsonl"):
        for pid in pids(root, path.parent.name):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def test_cancel_gives_back_and_resume_goes_on(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep("sleeps", trials=2)
    assert cli("submit", path).code == 0
    home = home_of(root, "toy")
    until(lambda: state_of(home).counts().running == 2)
    ended = cli("cancel", "toy")
    assert ended.code == 0, ended.err
    assert "toy: cancelled; 2 of 2 trials are left" in ended.err
    assert "hpo-batch resume toy" in ended.err or "resume toy" in ended.err
    assert not any(alive(pid) for pid in pids(root))
    state = state_of(home)
    assert {trial.state for trial in state.trials} == {TrialState.WAITING}
    assert home.marker("CANCELLED").exists()
    assert cli("cancel", "toy").code == 0  # twice is no more than once
    assert len(read_submissions(home)) == 1

    path.unlink()  # what is stored is enough
    assert "2 trials to finish" in cli("resume", "toy", "-n").out
    assert home.marker("CANCELLED").exists()  # a dry run changes nothing
    ended = cli("resume", "--workers", "1", "--set", "study.max_attempts=4")
    assert ended.code == 0, ended.err
    assert "study toy (the only one in" in ended.err
    assert "changed: job.workers: 2 -> 1" in ended.err
    assert not home.marker("CANCELLED").exists()
    until(lambda: state_of(home).counts().running == 1)
    assert state_of(home).trials[0].attempt == 2
    assert "1 worker is already running; none added" in cli("resume", "toy").err
    assert [s.workers for s in read_submissions(home)] == [2, 1]
    assert cli("cancel", "-y").code == 0


def test_a_worker_that_does_not_listen_is_killed_with_all_it_started(
    cli: Cli, write_sweep, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_cancel.cancel, "__kwdefaults__", {"grace_s": 0.5})
    assert cli("submit", write_sweep("first_hangs", trials=1), "--workers", "1").code == 0
    home = home_of(root, "toy")
    until(lambda: state_of(home).counts().running == 1)
    ended = cli("cancel")
    assert ended.code == 0, ended.err
    (pid,) = pids(root)
    until(lambda: not alive(pid))
    if "killed because it did not end" in ended.err:  # a worker may know how to end such a function itself
        assert state_of(home).counts().running == 1


def test_drain_lets_running_trials_finish(cli: Cli, write_sweep, root: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    path = write_sweep("waits_for_file", trials=4)
    assert cli("submit", path, "--workers", "1", "--set", f"objective.env={{GO='{go}'}}").code == 0
    home = home_of(root, "toy")
    until(lambda: state_of(home).counts().running == 1)
    ended = cli("cancel", "--drain")
    assert ended.code == 0
    assert "no further trial starts; 4 of 4 trials are left, 1 run to their end" in ended.err
    go.touch()
    (pid,) = pids(root)
    until(lambda: not alive(pid))
    counts = state_of(home).counts()
    assert (counts.complete, counts.running, counts.waiting) == (1, 0, 0)
    ended = cli("resume", "toy", "--wait")
    assert ended.code == 0, ended.err
    assert state_of(home).counts().complete == 4


def test_two_resumes_at_once_add_each_worker_once(write_sweep, root: Path, cli: Cli) -> None:
    path = write_sweep("sleeps", trials=6)
    assert cli("submit", path, "--workers", "1").code == 0
    assert cli("cancel", "toy").code == 0
    home = home_of(root, "toy")
    argv = ("resume", "toy", "--workers", "3", "--root", root)
    both = [start(*argv, stdout=subprocess.DEVNULL) for _ in range(2)]
    said = [process.communicate(timeout=90)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(s.workers for s in read_submissions(home)) == [1, 3]
    assert sum("3 workers are already running" in text for text in said) == 1
    assert cli("cancel", "toy").code == 0


def test_two_first_submissions_at_once_start_the_workers_once(write_sweep, root: Path, cli: Cli) -> None:
    path = write_sweep("sleeps", trials=6)
    both = [start("submit", path, "--root", root, stdout=None, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=90) for process in both] == [0, 0]
    assert [s.workers for s in read_submissions(home_of(root, "toy"))] == [2]
    assert cli("cancel", "toy").code == 0


def test_resume_of_an_edited_sweep_says_what_changed_and_what_stays(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep(trials=3)
    assert cli("submit", path, "--wait").code == 0
    path.write_text(path.read_text().replace("high = 1.0", "high = 0.001").replace("trials = 3", "trials = 5"))
    ended = cli("resume", path, "--wait")
    assert ended.code == 0, ended.err
    assert "changed: space.x: {'low': 0.0, 'high': 1.0} -> {'low': 0.0, 'high': 0.001}" in ended.err
    assert "changed: study.trials: 3 -> 5" in ended.err
    assert "0 of 3 trials lie in the space now" in ended.err
    state = state_of(home_of(root, "toy"))
    assert [trial.params["x"] <= 0.001 for trial in state.trials] == [False] * 3 + [True] * 2
    ended = cli("resume", "toy")
    assert ended.code == 0
    assert "all 5 trials are finished: nothing to do" in ended.err


def test_changed_code_is_told(cli: Cli, write_sweep, root: Path, tmp_path: Path, monkeypatch) -> None:
    code = tmp_path / "code"
    code.mkdir()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(code)]
    (code / "a.py").write_text("A = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.chdir(code)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.syspath_prepend(str(REPOSITORY))
    path = write_sweep(trials=2)
    assert "has changed since" not in cli("submit", path, "--wait").err
    (code / "a.py").write_text("A = 2\n")
    monkeypatch.chdir(tmp_path)
    ended = cli("resume", "toy", "--set", "study.trials=3", "--wait")
    assert ended.code == 0, ended.err
    assert f"the code in {code} has changed since the last submission of toy: other uncommitted changes" in ended.err
    subprocess.run([*git, "commit", "-qam", "two"], check=True)
    assert "the last submission of toy: commit " in cli("resume", "toy", "--set", "study.trials=4", "-n").err
    assert "has changed since" not in cli("resume", "toy", "-n").err


def test_the_only_live_study_is_meant_and_no_other(cli: Cli, write_sweep, root: Path) -> None:
    assert cli("resume").code == 2
    for name in ("one", "two"):
        assert cli("submit", write_sweep("raises_always", name=name, trials=2), "--wait").code == 1
    ended = cli("resume")
    assert ended.code == 2
    assert "several studies have trials left: one, two" in ended.err
    for command in ("cancel", "retry"):
        assert "several studies have trials left: one, two" in cli(command).err
    assert cli("resume", "three").code == 2
    ended = cli("resume", write_sweep(name="three"))
    assert (ended.code, list(root.glob("three"))) == (2, [])
    assert "submit" in ended.err


def test_what_resume_cannot_change(cli: Cli, write_sweep, root: Path) -> None:
    assert cli("submit", write_sweep(trials=1), "--wait").code == 0
    for change, why in [
        ("job.template=cpu", "pass the sweep's TOML"),
        ("study.name=other", "the name of a study cannot be changed"),
        ("job.wokers=2", "did you mean 'workers'"),
        ("study.direction=maximize", "do not fit"),
    ]:
        ended = cli("resume", "toy", "--set", change)
        assert (ended.code, why in ended.err) == (2, True), ended.err


def test_another_users_study(cli: Cli, write_sweep, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("submit", write_sweep("raises_always", trials=1), "--wait").code == 1
    home = home_of(root, "toy")
    may, me = os.access, os.geteuid()
    monkeypatch.setattr(os, "access", lambda path, mode, **more: not mode & os.W_OK and may(path, mode, **more))
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    for command in ("resume", "retry", "cancel"):
        ended = cli(command, "toy")
        assert ended.code == 4
        assert f"no permission to write to '{home.path}': the study 'toy' belongs to " in ended.err
    assert not home.marker("CANCELLED").exists()


MINE, LOST = "aa11aa11aa11", "bb22bb22bb22"


def with_array(cli: Cli, write_sweep, root: Path, **facts: Any) -> Submission:
    """A study whose last submission went to SLURM, as far as its file says."""
    assert cli("submit", write_sweep("raises_always", trials=2), "--wait").code == 1
    home = home_of(root, "toy")
    given = {"id": MINE, "kind": "slurm", "workers": 2, "walltime_s": 60.0, "submitted": time.time(), **facts}
    write_submission(home, submission := Submission(**given))
    return submission


def test_cancel_marks_the_study_also_if_slurm_does_not_answer(cli: Cli, write_sweep, root: Path) -> None:
    with_array(cli, write_sweep, root, job_ids=("7",))
    home = home_of(root, "toy")
    ended = cli("cancel", "toy")  # the squeue of these tests fails
    assert ended.code == 3
    assert "The study is marked anyway" in ended.err
    assert home.marker("CANCELLED").exists()
    assert not read_submissions(home)[-1].cancelled
    assert cli("resume", "toy").code == 3  # which cannot count, and so starts nothing
    assert home.marker("CANCELLED").exists()


def test_jobs_are_cancelled_by_name_with_those_whose_id_was_lost(
    cli: Cli, write_sweep, root: Path, fake_command: Callable[..., Any]
) -> None:
    """Id 7 is somebody else's by now; sbatch took job 8, and its submitter died before it knew."""
    with_array(cli, write_sweep, root, job_ids=("7",))
    home = home_of(root, "toy")
    write_submission(home, replace(read_submissions(home)[-1], id=LOST, job_ids=()))
    lost, mine = home.slurm / f"{LOST}.sh", home.slurm / f"{MINE}_collector.sh"
    squeue = fake_command(
        "squeue", stdout=f"8|toy-{LOST}\t{lost}\n8|toy-{LOST}\t{lost}\n9|toy-{MINE}-collect\t{mine}\n"
    )
    scancel = fake_command("scancel")
    ended = cli("cancel", "toy")
    assert ended.code == 0, ended.err
    assert [call["argv"] for call in scancel.calls] == [["8", "9"]]
    assert len(squeue.calls) == 1
    assert {s.id: bool(s.cancelled) for s in read_submissions(home)[1:]} == {MINE: True, LOST: True}
    assert cli("cancel", "toy", "--drain").code == 0
    assert scancel.calls[-1]["argv"] == ["--state=PENDING", "8"]
    # what SLURM still shows of cancelled jobs does not hold up a resume
    # and what SLURM does not show, since it is another cluster's, is said to be left
    write_submission(home, replace(read_submissions(home)[1], cluster="east", cancelled=0.0))
    fake_command("squeue")
    fake_command("scontrol", stdout="ClusterName = west\n")
    assert "job 7 is on cluster 'east', but this is cluster 'west'" in cli("cancel", "toy").err
    write_submission(home, replace(read_submissions(home)[1], cluster="", cancelled=1.0))
    fake_command("squeue", stdout=f"8|0|COMPLETING|None|0:01|1:00|n1|0|toy-{LOST}\t{lost}\n")
    assert "0 workers" not in cli("resume", "toy", "-n").out
    assert "2 trials to finish; 2 local processes" in cli("resume", "toy", "-n").out


# retry


def failed_study(cli: Cli, write_sweep, trials: int = 3) -> None:
    patient = ["--set", "failures.stop_after=50", "--set", f"study.max_failed={trials}"]
    assert cli("submit", write_sweep("fails_unless_told", trials=trials), "--wait", *patient).code == 1


def test_a_failed_trial_is_tried_again_as_a_trial_of_its_own(
    cli: Cli, write_sweep, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed_study(cli, write_sweep)
    home = home_of(root, "toy")
    before = state_of(home)
    failed = sorted(before.by_state[TrialState.FAIL])
    number = failed[1]
    ended = cli("retry", str(number))
    assert ended.code == 0, ended.err
    new = len(before.trials)
    assert f"trial {new} is the retry of trial {number} (exception)" in ended.err
    assert "resume toy" in ended.err
    state = state_of(home)
    trial = state.trials[new]
    assert trial.state is TrialState.WAITING
    assert (trial.key, trial.facts["seeds"], trial.params) == (
        before.trials[number].key,
        before.trials[number].facts["seeds"],
        before.trials[number].params,
    )
    assert trial.facts["retry_of"] == number
    assert state.trials[number].state is TrialState.FAIL

    ended = cli("retry", "toy", str(number))  # twice is no more than once
    assert ended.code == 0
    assert f"trial {new} has the same configuration and is WAITING" in ended.err
    assert len(state_of(home).trials) == new + 1

    monkeypatch.setenv("TOLD", "1")
    ended = cli("retry", "toy", "--reason", "exception", "--filter", "failed", "--resume")
    assert ended.code == 0, ended.err
    until(lambda: state_of(home).counts().finished == 3)
    until(lambda: not any(alive(pid) for pid in pids(root)))
    state = state_of(home)
    assert (state.counts().failed, state.counts().complete) == (len(failed), 3)
    complete = [trial for trial in state.trials if trial.state is TrialState.COMPLETE]
    assert len({trial.key for trial in complete}) == 3
    assert sorted(trial.facts["retry_of"] for trial in complete) == failed[:3]
    rows = json.loads(cli("collect", "toy", "--format", "json").out)
    assert len(rows) == len(state.trials)
    ended = cli("retry", "toy")
    assert (ended.code, "nothing to retry" in ended.err) == (0, True)


def test_no_more_trials_than_were_asked_for(cli: Cli, write_sweep, root: Path) -> None:
    ended = cli("submit", write_sweep("fails_for_two", trials=4), "--wait", "--set", "failures.stop_after=50")
    state = state_of(home_of(root, "toy"))
    failed = sorted(state.by_state[TrialState.FAIL])
    assert state.counts().finished == 4
    assert failed, ended.err
    ended = cli("retry", "toy", str(failed[0]))
    assert ended.code == 0
    assert "all 4 trials of the target are finished or under way" in ended.err
    assert "study.trials=5" in ended.err
    assert len(state_of(home_of(root, "toy")).trials) == len(state.trials)


def test_a_renamed_study_goes_on_and_is_called_so(cli: Cli, write_sweep, root: Path) -> None:
    assert cli("submit", write_sweep(trials=1), "--wait").code == 0
    (root / "toy").rename(root / "renamed")
    more = cli("resume", "renamed", "--set", "study.trials=2", "--wait")
    assert more.code == 0, more.err
    ended = cli("resume", "renamed", "--set", "study.trials=3")
    assert "next: hpo-batch status renamed   hpo-batch logs renamed 0   hpo-batch collect renamed" in ended.err
    assert [path.name for path in root.iterdir()] == ["renamed"]
    assert cli("cancel", "renamed").code == 0


def test_retries_at_once_make_one_trial(cli: Cli, write_sweep, root: Path) -> None:
    failed_study(cli, write_sweep)
    home = home_of(root, "toy")
    count = len(state_of(home).trials)
    argv = ("retry", "toy", "0", "--root", root)
    both = [start(*argv, stdout=None, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(timeout=90) for process in both] == [0, 0, 0]
    assert len(state_of(home).trials) == count + 1


def test_trials_that_cannot_be_tried_again(cli: Cli, write_sweep, root: Path) -> None:
    assert cli("submit", write_sweep(trials=2), "--wait").code == 0
    ended = cli("retry", "toy", "0-1")
    assert ended.code == 2
    assert "trial 0 is not retried: it is COMPLETE" in ended.err
    ended = cli("retry", "toy", "7")
    assert (ended.code, "there are trials 0 to 1" in ended.err) == (2, True)
    ended = cli("retry", "toy", "A1")
    assert (ended.code, "no trial 'A1'" in ended.err) == (2, True)
    assert cli("retry", "nowhere").code == 2
    assert cli("retry", "toy", "-n").code == 0


# the lock


def test_a_refused_first_submission_leaves_no_directory(cli: Cli, write_sweep, root: Path, no_slurm: None) -> None:
    ended = cli("submit", write_sweep(trials=2), "--set", "job.template=cpu")
    assert ended.code == 2
    assert list(root.iterdir()) == []


def test_a_killed_submission_holds_nothing_up(cli: Cli, write_sweep, root: Path) -> None:
    assert cli("submit", write_sweep(trials=1), "--wait").code == 0
    home = home_of(root, "toy")
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom hpo_batch.launch.submit_lock import turn\n"
        "from hpo_batch.store.home import home_of\n"
        f"with turn(home_of(Path({str(root)!r}), 'toy')):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    began = time.monotonic()
    assert "nothing to do" in cli("resume", "toy").err
    assert time.monotonic() - began < 25  # Optuna's grace for a foreign lock is 30 s
    assert home.exists


def test_a_collector_that_comes_after_a_cancel_does_nothing(cli: Cli, write_sweep, root: Path) -> None:
    assert cli("submit", write_sweep("raises_always", trials=2), "--wait").code == 1
    home = home_of(root, "toy")
    (submission,) = read_submissions(home)
    # as if it had been an array: the rule itself is tested in tests/launch
    write_submission(home, replace(submission, job_ids=()))
    cli("cancel", "toy")
    ended = cli("resume", "toy", "--auto", submission.id)
    assert (ended.code, "toy is not resumed: the study was cancelled" in ended.err) == (0, True)
    assert home.marker("CANCELLED").exists()
    assert len(read_submissions(home)) == 1


@pytest.mark.parametrize("kind", ["function", "sampler"])
def test_a_study_is_resumed_from_any_directory(
    cli: Cli, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What is looked for before workers start is looked for where they run, not where the command is typed."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "mine.py").write_text(
        "from optuna.samplers import RandomSampler\n\nclass Mine(RandomSampler):\n    pass\n\n"
        "def train(trial):\n    return trial.params['x']\n"
    )
    sampler = "mine:Mine" if kind == "sampler" else "random"
    sweep = project / "sweep.toml"
    sweep.write_text(
        '[study]\nname = "far"\nmetric = "loss"\ndirection = "minimize"\ntrials = 1\n'
        '[objective]\nfunction = "mine:train"\n'
        f'[space]\nx = {{ low = 0.0, high = 1.0 }}\n[sampler]\nname = "{sampler}"\n[job]\ntemplate = "local"\n'
    )
    monkeypatch.chdir(project)
    assert cli("submit", sweep, "--wait").code == 0
    monkeypatch.chdir("/")
    ended = cli("resume", "far", "--set", "study.trials=2", "--wait")
    assert (ended.code, "there is no module" in ended.err) == (0, False), ended.err
    assert read_state(home_of(root, "far")).counts().complete == 2
