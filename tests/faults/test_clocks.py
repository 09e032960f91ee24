"""Nodes whose clocks are hours apart: nothing is decided by comparing them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hpo_batch.errors import Superseded
from hpo_batch.records import Cause, Idle, IdleWhy
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import in_processes
from tests.study.helpers import claimed, complete, idle, make, owner, state_of

HOURS = (-7.0, 0.0, 5.0)


def works(home: StudyHome, index: int, hours: float) -> int:
    done = 0
    with Study.open(home, owner(index), clock=lambda: time.time() + hours * 3600) as study:
        while not isinstance(given := study.claim(), Idle):
            study.reports.add(given[0], 1, {"loss": 0.5})
            study.tell(given[0], complete(given[0]))
            done += 1
        assert given.why in (IdleWhy.TARGET_MET, IdleWhy.IN_FLIGHT)
    return done


def test_workers_with_clocks_hours_apart_run_exactly_the_trials_asked_for(root: Path) -> None:
    home = make(root, study="trials = 45", sampler='name = "tpe"')
    assert sum(in_processes([(works, home, i, hours) for i, hours in enumerate(HOURS)])) == 45
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (45, 45)
    assert len({trial.key for trial in state.trials}) == 45
    for trial in state.trials:
        (attempt,) = trial.record().attempts
        assert attempt.ended is not None
        assert 0 <= attempt.ended - attempt.started < 60  # both by the clock of the worker that ran it
    assert_read_as_optuna_reads(home.journal)


@pytest.mark.parametrize("hours", HOURS)
def test_a_worker_is_not_dead_because_its_clock_is_wrong(root: Path, hours: float) -> None:
    home = make(root, study="trials = 1\nlease_s = 30")
    elsewhere = owner(1, host="elsewhere", boot="another")
    with (
        Study.open(home, elsewhere, clock=lambda: time.time() + hours * 3600) as far,
        Study.open(home, owner()) as near,
    ):
        claim = claimed(far)
        assert idle(near).why is IdleWhy.IN_FLIGHT
        far.tell(claim, complete(claim))
        assert idle(near).why is IdleWhy.TARGET_MET


def test_a_trial_given_on_between_clocks_keeps_its_fence(root: Path) -> None:
    home = make(root, study="trials = 1")
    ahead, behind = (lambda: time.time() + 1e5), (lambda: time.time() - 1e5)
    with Study.open(home, owner(), clock=ahead) as first, Study.open(home, owner(1), clock=behind) as second:
        old = claimed(first)
        first.give_back(old, Cause.PREEMPTED)
        new = claimed(second)
        with pytest.raises(Superseded):
            first.tell(old, complete(old, 0.9))
        second.tell(new, complete(new, 0.25))
    assert state_of(home).trials[0].values == (0.25,)
    assert_read_as_optuna_reads(home.journal)
