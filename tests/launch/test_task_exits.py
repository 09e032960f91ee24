"""How tasks ended, where neither squeue nor the accounts remember it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from hpo_batch.launch.task_exits import how_they_ended, last_word
from hpo_batch.monitor.queue import Queue
from hpo_batch.records import Cause
from hpo_batch.scheduler.tasks import TaskState
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission
from hpo_batch.study.study import Study
from tests.study.helpers import claimed, make, owner, state_of

SUBMISSION = Submission(id="aa11", kind="slurm", workers=2, walltime_s=60, submitted=1.0, job_ids=("7",))
FORGETFUL = Queue(rows={}, job_ids={"aa11": ("7",)})

BEGUN = "2026-11-21 17:36:50,001 I worker on n1, pid 6292, study toy"
SCANCEL = """\
slurmstepd-n1: error: *** STEP 3.0 ON n1 CANCELLED AT 2026-11-21T17:38:01 ***
srun: Job step aborted: Waiting up to 5 seconds for job step to finish.
slurmstepd-n1: error: *** JOB 3 ON n1 CANCELLED AT 2026-11-21T17:38:01 ***
srun: forcing job termination
srun: error: n1: task 0: Killed"""


def due_to(why: str) -> str:
    return SCANCEL.replace(" ***\n", f" DUE TO {why} ***\n")


@pytest.mark.parametrize(
    ("log", "ended"),
    [
        ("", None),
        (BEGUN, None),
        (f"{BEGUN}\n{SCANCEL}", TaskState.CANCELLED),
        (SCANCEL, TaskState.CANCELLED),  # while Python was loading
        (f"{BEGUN}\n{due_to('PREEMPTION')}", TaskState.PREEMPTED),
        (f"{BEGUN}\n{due_to('TIME LIMIT')}", None),
        (f"{BEGUN}\n{due_to('NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS')}", None),
        (f"{BEGUN}\n{due_to('JOB REQUEUE')}\n{BEGUN}", None),
        # requeued after it was preempted
        (f"{BEGUN}\n{due_to('PREEMPTION')}\n{BEGUN.replace('worker', '[slot 1] worker')}", None),
        (f"{BEGUN}\n{due_to('PREEMPTION')}\n{BEGUN}\n{SCANCEL}", TaskState.CANCELLED),
        # a rank crashed, and the site has srun end the others
        (f"{BEGUN}\nsrun: error: n2: task 1: Exited with exit code 1\n{SCANCEL}", None),
    ],
)
def test_the_last_word_of_a_log(log: str, ended: TaskState | None) -> None:
    assert last_word(log.splitlines()) is ended


@pytest.fixture
def home(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyHome:
    """Of a study with two tasks, on a machine whose sacct fails."""
    program = tmp_path / "bin" / "sacct"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    made = make(root)
    for task in (0, 1):
        (made.slurm / f"7_{task}_0_log.err").write_text(BEGUN)
    return made


def ended(home: StudyHome, submission: Submission = SUBMISSION) -> tuple[TaskState, ...]:
    return how_they_ended(home, submission, FORGETFUL, state=state_of(home))


def test_workers_that_ended_by_themselves_leave_nothing_to_tell(home: StudyHome) -> None:
    assert ended(home) == ()
    single = Queue(rows={}, job_ids={"aa11": ("8",)})
    (home.slurm / "8_0_log.err").write_text(SCANCEL)
    one = replace(SUBMISSION, job_ids=("8",), workers=1)
    assert how_they_ended(home, one, single, state=state_of(home)) == (TaskState.CANCELLED,)


def test_a_task_that_was_cancelled_is_told_by_its_log(home: StudyHome) -> None:
    (home.slurm / "7_1_0_log.err").write_text(f"{BEGUN}\n{SCANCEL}\n")
    assert ended(home) == (TaskState.CANCELLED,)


def test_a_task_that_never_began_was_cancelled(home: StudyHome) -> None:
    (home.slurm / "7_1_0_log.err").unlink()
    assert ended(home) == (TaskState.CANCELLED,)
    assert ended(home, replace(SUBMISSION, workers_per_task=2)) == ()
    assert ended(home, replace(SUBMISSION, is_open=True)) == ()  # nobody knows how many there were
    (home.slurm / "7_0_0_log.err").unlink()
    assert ended(home) == ()  # somebody has removed them


def test_a_trial_whose_worker_was_killed_after_sigterm_tells_it(home: StudyHome) -> None:
    with Study.open(home, owner(submission="aa11")) as study:
        for cause in (Cause.TIME_LIMIT, Cause.PREEMPTED):
            assert ended(home) == ()
            claim = claimed(study)
            study.open_attempt(claim)
            study.announce_give_back(claim, cause)
        assert ended(home) == (TaskState.CANCELLED,)
        assert ended(home, replace(SUBMISSION, id="bb22")) == ()
