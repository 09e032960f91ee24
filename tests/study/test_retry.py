"""Retried trials in the journal: what they keep of the failed one, and that plain Optuna reads them."""

from __future__ import annotations

import time
from pathlib import Path

import optuna

from hpo_batch.records import Claim, Failed, Outcome, Reason, TrialState
from hpo_batch.study.retry import retry
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.study.helpers import complete, make, plain, revise, state_of, work


def fail(claim: Claim) -> Outcome:
    return Failed(reason=Reason.EXCEPTION, message="no")


PATIENT = "[failures]\nstop_after = 99\n"


def test_a_named_trial_keeps_its_name_and_is_not_made_again(root: Path) -> None:
    listed = (
        '[[trial]]\nname = "A1"\nparams = { x = 0.5, n = 2 }\n[[trial]]\nname = "A2"\nparams = { x = 0.6, n = 2 }\n'
    )
    home = make(root, study="max_failed = 9", sampler='name = "list"', rest=PATIENT + listed)
    work(home, judge=fail)
    assert state_of(home).counts().failed == 2
    assert retry(home, [0], now=time.time()).made == ((0, 2),)
    revise(home, study="max_failed = 9", sampler='name = "list"', rest=PATIENT + listed)
    done, _ = work(home)
    assert done == [2]
    trial = state_of(home).trials[2]
    assert (trial.facts["name"], trial.facts["origin"], trial.facts["retry_of"]) == ("A1", "list", 0)
    assert trial.record().params == {"x": 0.5, "n": 2, "epochs": 5}
    assert_read_as_optuna_reads(home.journal)
    assert plain(home).trials[2].params == {"x": 0.5, "n": 2, "epochs": 5}


def test_a_retry_that_fails_is_retried_once_more_and_not_twice(root: Path) -> None:
    home = make(root, study="trials = 2\nmax_failed = 3", rest=PATIENT)
    work(home, judge=fail, most=1)
    assert retry(home, [0], now=time.time()).made == ((0, 1),)
    work(home, judge=fail, most=1)
    state = state_of(home)
    assert [trial.state for trial in state.trials] == [TrialState.FAIL] * 2
    assert state.trials[0].key == state.trials[1].key
    again = retry(home, [0, 1], now=time.time())
    assert again.made == ((1, 2),)
    assert again.refused[0][0] == 0
    assert retry(home, [0, 1], now=time.time()).made == ()


def test_a_dry_run_writes_nothing(root: Path) -> None:
    home = make(root, study="trials = 2", rest=PATIENT)
    work(home, judge=fail, most=1)
    before = home.journal.read_bytes()
    assert retry(home, [0], now=time.time(), dry_run=True).made == ((0, 1),)
    assert home.journal.read_bytes() == before


def test_a_trial_of_plain_optuna_that_failed_with_us(root: Path) -> None:
    home = make(root, study="trials = 3", rest=PATIENT)
    plain(home).enqueue_trial({"x": 0.25, "n": 3, "epochs": 5})
    work(home, judge=fail, most=1)
    assert retry(home, [0], now=time.time()).made == ((0, 1),)
    work(home, judge=complete, most=1)
    state = state_of(home)
    assert state.trials[1].params == {"x": 0.25, "n": 3, "epochs": 5}
    assert state.trials[1].key == state.trials[0].key
    assert_read_as_optuna_reads(home.journal)
    plain(home).add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    (left,) = retry(home, [2], now=time.time()).refused
    assert "hpo-batch did not create it" in left[1]
