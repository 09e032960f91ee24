"""A worker that SLURM kills for its memory has not just been lost: its log says why, and policy decides on that."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.records import TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from tests.processes import dead_process
from tests.study.helpers import claimed, make, owner, state_of

KILLED = "slurmstepd-n1: error: StepId=7.0 exceeded memory limit (917405696 > 644874240), being killed\n"


def after_a_death(home: StudyHome, log: str, *, worker: str = "7-r0-0") -> tuple[TrialState, str, str]:
    """State of the trial, how its first attempt ended, and the message."""
    home.slurm.mkdir(exist_ok=True)
    (home.slurm / "7_0_0_log.err").write_text(log)
    with dead_process() as pid:
        dead = Study.open(home, owner(pid=pid, start=1, worker=worker, job="7_0"))
        with dead as study:
            claimed(study)
            with Study.open(home, owner(1)) as other:
                claimed(other)
    trial = state_of(home).trials[0]
    return trial.state, str(trial.ending(1).get("how")), trial.record().message or ""


@pytest.mark.parametrize(
    ("log", "how"),
    [
        (f"x I worker on n1, pid 1\n{KILLED}", "oom_host"),
        (
            "x I worker on n1, pid 1\nslurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-11-29T10:46:29 ***\n",
            "lost",
        ),
        ("", "lost"),
    ],
)
def test_how_a_dead_workers_attempt_ended(root: Path, log: str, how: str) -> None:
    state, ended, message = after_a_death(make(root, study="trials = 4"), log)
    assert ended == how
    if how == "oom_host":  # [failures] oom_host = "fail"
        assert state is TrialState.FAIL
        assert message.startswith("the worker was killed for its memory: StepId=7.0 exceeded memory limit (917405696 >")
    else:
        assert state is TrialState.RUNNING  # tried again, by the one who found it


def test_policy_decides(root: Path) -> None:
    home = make(root, study="trials = 4", tables={"failures": 'oom_host = "retry"'})
    assert after_a_death(home, f"x I worker on n1, pid 1\n{KILLED}")[:2] == (TrialState.RUNNING, "oom_host")
