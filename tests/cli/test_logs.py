"""``logs``: streams of attempts, the next attempt too; the worker's own log where an attempt left nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from hpo_batch.objective.function import captured
from hpo_batch.records import Cause, Failed, Reason
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission, write_submission
from hpo_batch.study.study import Study
from tests.cli.conftest import Cli
from tests.helpers import start
from tests.study.helpers import claimed, complete, make, owner

SLURM = Submission(
    id="abc",
    kind="slurm",
    workers=2,
    walltime_s=60,
    submitted=1.0,
    job_ids=("7", "8"),
    log_pattern="slurm/%A_%a_0_log.err",
)
LOG = """12:00 I worker on n1
12:01 I trial 3: attempt 1, x=0.5
12:02 I trial 0: attempt 1, x=0.25
slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0
"""


@pytest.fixture
def lost(root: Path) -> StudyHome:
    """A trial whose first attempt printed nothing before its task was killed."""
    home = make(root)
    write_submission(home, SLURM)
    with Study.open(home, owner(host="n1", worker="7-r0-1", job="7_1")) as study:
        study.open_attempt(claimed(study))
    return home


@pytest.mark.parametrize(("job", "name"), [("7_1", "7_1_0_log.err"), ("7", "7_0_log.err"), ("8", "8_0_log.err")])
def test_an_attempt_that_left_nothing_shows_the_end_of_its_tasks_log(cli: Cli, root: Path, job: str, name: str) -> None:
    home = make(root)
    write_submission(home, SLURM)
    with Study.open(home, owner(host="n1", worker=f"{job}-r0-1", job=job)) as study:
        study.open_attempt(claimed(study))
    (home.slurm / name).write_text(LOG)
    shown = cli("logs", "s", "0")
    assert shown.code == 0
    assert "attempt 1 has printed nothing yet" in shown.err
    assert f"--- the end of its worker's log, {home.slurm / name}" in shown.err
    assert shown.out.splitlines() == LOG.splitlines()[2:]
    whole = cli("logs", "s", "0", "--worker")
    assert whole.out == LOG


def test_a_removed_log_is_told(cli: Cli, lost: StudyHome) -> None:
    lost.slurm.rmdir()
    shown = cli("logs", "s", "0")
    assert shown.code == 0
    assert "the log of its worker (7-r0-1, job 7_1) is not there either" in shown.err
    assert cli("logs", "s", "0", "--worker").code == 4


def test_a_local_workers_log(cli: Cli, write_sweep, root: Path) -> None:
    assert cli("submit", write_sweep(trials=2), "--workers", "1", "--wait").code == 0
    assert "worker ends: 2 complete" in cli("logs", "toy", "1", "--worker").out
    assert "trial 1: x = " in cli("logs", "toy", "1").out


def test_options_that_do_not_go_together(cli: Cli, lost: StudyHome) -> None:
    assert cli("logs", "s", "0", "-f", "--worker").code == 2
    assert cli("logs", "s", "0", "-f", "--attempt", "1").code == 2
    assert cli("logs", "s", "0", "--attempt", "2").code == 2
    assert "no worker has run" not in cli("logs", "s", "0", "--worker").err


def test_following_goes_on_in_the_next_attempt(root: Path) -> None:
    home = make(root)
    write_submission(home, replace(SLURM, job_ids=()))
    with Study.open(home, owner(host="n1", worker="a")) as study:
        first = claimed(study)
        (study.open_attempt(first) / "stdout").write_text("first\n")
        follow = start("logs", "s", "0", "-f", "--root", root)
        try:
            assert follow.stdout is not None
            assert follow.stdout.readline() == "first\n"
            with (home.attempt(0, 1) / "stdout").open("a") as file:
                file.write("more\n")
            assert follow.stdout.readline() == "more\n"
            study.give_back(first, Cause.PREEMPTED)
            second = claimed(study)
            assert (second.number, second.attempt) == (0, 2)
            (study.open_attempt(second) / "stdout").write_text("second\n")
            assert follow.stdout.readline() == "second\n"
            study.tell(second, complete(second))
            out, err = follow.communicate(timeout=60)
        finally:
            follow.kill()
            follow.communicate()
    assert (out, follow.returncode) == ("", 0)
    assert "attempt 2 of 2 on n1" in err


def test_a_quiet_attempt_is_followed_until_it_prints(root: Path) -> None:
    """The files for its output come with it, and go with it if nothing was written."""
    home = make(root)
    write_submission(home, replace(SLURM, job_ids=()))
    with Study.open(home, owner(host="n1", worker="a")) as study:
        first = claimed(study)
        with captured(study.open_attempt(first)):
            follow = start("logs", "s", "0", "-f", "--root", root)
            assert follow.stderr is not None
            assert "attempt 1 of 1" in follow.stderr.readline()
            assert follow.stderr.readline() == "attempt 1 has printed nothing yet\n"
        assert not (home.attempt(0, 1) / "stdout").exists()
        study.give_back(first, Cause.TIME_LIMIT)
        second = claimed(study)
        with captured(study.open_attempt(second)):
            print("second", flush=True)
            assert follow.stdout is not None
            assert follow.stdout.readline() == "second\n"
        study.tell(second, complete(second))
        out, err = follow.communicate(timeout=100)
    assert (follow.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_a_trial_that_printed_nothing_says_so(cli: Cli, root: Path) -> None:
    home = make(root)
    with Study.open(home, owner(worker="a")) as study:
        for outcome in (complete, lambda claim: Failed(reason=Reason.NAN, message="'loss' is nan")):
            claim = claimed(study)
            with captured(study.open_attempt(claim)):
                pass
            study.tell(claim, outcome(claim))
    assert "attempt 1 has printed nothing; it ended as 'complete'" in cli("logs", "s", "0").err
    assert "attempt 1 has printed nothing; it ended as 'nan'" in cli("logs", "s", "1").err
    assert "said      nothing: it printed no line" in cli("explain", "s", "1").out
    assert "said" not in cli("explain", "s", "0").out


@pytest.mark.parametrize("command", ["logs", "explain"])
def test_a_study_alone_is_told_to_name_a_trial(cli: Cli, root: Path, command: str) -> None:
    with Study.open(make(root), owner()) as study:
        claim = claimed(study)
        study.tell(claim, complete(claim))
    assert "'s' is a study; name one of its trials, too: s 0" in cli(command, "s").err
    assert "no trial 't': there are trials 0 to 0" in cli(command, "t").err
