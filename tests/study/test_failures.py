"""What follows from a failure: another attempt, the end of the trial, the end of the sweep."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from hpo_batch.errors import UserError
from hpo_batch.records import Cause, Claim, Complete, Failed, IdleWhy, Outcome, Pruned, Reason, TrialState
from hpo_batch.store.home import home_of
from hpo_batch.study.study import Study

from .helpers import checkpoints, claimed, complete, idle, make, owner, plain, revise, state_of, work

BROKEN = Failed(reason=Reason.EXCEPTION, message="ValueError: no", traceback="...", metrics={"loss": 0.5, "auc": 0.7})
OOM = Failed(reason=Reason.OOM_GPU, message="CUDA out of memory")


def test_a_failed_trial_keeps_its_reason_and_its_last_metrics_and_has_no_value(root: Path) -> None:
    home = make(root, study="trials = 1")
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        study.reports.add(claim, 4, {"loss": 0.5})
        study.tell(claim, BROKEN)
        assert study.has_ended(claim)
    record = state_of(home).trials[0].record()
    assert (record.state, record.reason, record.message) == (TrialState.FAIL, "exception", "ValueError: no")
    assert (record.values, dict(record.metrics), dict(record.steps)) == (None, {"loss": 0.5, "auc": 0.7}, {4: 0.5})
    assert [attempt.ending for attempt in record.attempts] == ["exception"]
    told = json.loads((home.attempt(0, 1) / "result.json").read_text())
    assert (told["reason"], told["message"], told["traceback"]) == ("exception", "ValueError: no", "...")
    assert plain(home).trials[0].value is None


def test_numbers_that_json_cannot_hold_do_not_stop_a_worker(root: Path) -> None:
    home = make(root, study="trials = 2")
    metrics = {"loss": math.nan, "auc": 0.5, "ratio": math.inf}
    done, _ = work(home, judge=lambda c: Failed(reason=Reason.NAN, message="'loss' is nan", metrics=metrics), most=1)
    assert done == [0]
    work(home, judge=lambda c: Complete(values=(0.25,), metrics={**metrics, "loss": 0.25}), most=1)
    failed, fine = (trial.record() for trial in state_of(home).trials)
    assert dict(failed.metrics) == {"auc": 0.5}
    assert dict(fine.metrics) == {"auc": 0.5, "loss": 0.25}
    assert plain(home).trials[1].value == 0.25


def test_a_retried_failure_is_another_attempt_up_to_the_most(root: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 3", tables={"failures": 'oom_gpu = "retry"'})
    with Study.open(home, owner()) as study:
        for attempt in (1, 2, 3):
            claim = claimed(study)
            assert (claim.number, claim.attempt) == (0, attempt)
            study.tell(claim, OOM)
            assert study.has_ended(claim) is (attempt == 3)
    record = state_of(home).trials[0].record()
    assert (record.state, record.reason) == (TrialState.FAIL, "oom_gpu")
    assert record.message == "oom_gpu 3 times; the last time: CUDA out of memory"
    assert [attempt.ending for attempt in record.attempts] == ["oom_gpu"] * 3
    assert state_of(home).counts().failed == 1


def test_ordered_give_backs_do_not_count_as_failed_attempts(root: Path) -> None:
    home = make(root, study="trials = 1\nmax_attempts = 2", tables={"failures": 'oom_gpu = "retry"'})
    with Study.open(home, owner()) as study:
        for cause in (Cause.TIME_LIMIT, Cause.PREEMPTED, Cause.CANCELLED, Cause.TIME_LIMIT):
            study.give_back(claimed(study), cause)
        study.tell(claimed(study), OOM)
        assert not study.has_ended(claimed(study))
    assert state_of(home).trials[0].attempt == 6


def test_only_the_reasons_with_the_policy_are_retried(root: Path) -> None:
    home = make(root, study="trials = 2", tables={"failures": 'oom_gpu = "retry"\nlost = "fail"'})
    work(home, judge=lambda claim: BROKEN if claim.number == 0 else complete(claim))
    assert [t.state.name for t in state_of(home).trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert state_of(home).trials[0].attempt == 1


def test_the_breaker_stops_the_sweep_and_another_submission_arms_it_again(root: Path) -> None:
    home = make(root, study="trials = 50", tables={"failures": "stop_after = 4"})
    done, end = work(home, judge=lambda claim: BROKEN)
    assert end is not None
    assert (len(done), end.why) == (4, IdleWhy.TRIPPED)
    assert end.detail == (
        "the last 4 trials all failed for the same reason (exception); "
        "see 'hpo-batch logs s 3', then 'hpo-batch resume s'"
    )
    assert work(home, 1)[0] == []
    revise(home, study="trials = 50", tables={"failures": "stop_after = 4"})
    assert len(work(home, judge=lambda claim: BROKEN)[0]) == 4


@pytest.mark.parametrize("between", ["complete", "pruned", "another reason"])
def test_the_breaker_wants_the_same_reason_in_a_row(root: Path, between: str) -> None:
    home = make(root, study="trials = 20\nmax_failed = 9", tables={"failures": "stop_after = 3"})
    others: dict[str, Outcome] = {"pruned": Pruned(step=1, metrics={}), "another reason": OOM}

    def by_number(claim: Claim) -> Outcome:
        if claim.number % 3 == 2:
            return others.get(between, complete(claim))
        return BROKEN

    _, end = work(home, judge=by_number)
    assert end is not None
    assert end.detail.startswith("9 trials have failed (study.max_failed = 9); see 'hpo-batch logs s ")


def test_failures_are_bounded_without_being_asked(root: Path) -> None:
    home = make(root, study="trials = 6")
    reasons = [Reason.NAN, Reason.EXCEPTION]
    done, end = work(home, judge=lambda c: Failed(reason=reasons[c.number % 2], message="m"))
    assert end is not None
    assert (len(done), end.why) == (6, IdleWhy.TRIPPED)


def test_a_failed_trial_is_replaced_by_another_configuration(root: Path) -> None:
    home = make(root, study="trials = 5", space="n = { low = 1, high = 8 }")
    done, end = work(home, judge=lambda claim: BROKEN if claim.number in (1, 3) else complete(claim))
    assert end is not None
    assert (len(done), end.why) == (7, IdleWhy.TARGET_MET)
    state = state_of(home)
    assert (state.counts().complete, state.counts().failed) == (5, 2)
    assert len({trial.key for trial in state.trials}) == 7


def test_a_pruned_trial_counts_and_has_the_value_of_its_last_step(root: Path) -> None:
    home = make(root, study="trials = 1")
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        for step, loss in enumerate((0.9, 0.8, math.nan)):
            study.reports.add(claim, step, {"loss": loss, "auc": 0.5})
        study.tell(claim, Pruned(step=1, metrics={"loss": 0.8, "auc": 0.5}))
        assert idle(study).why is IdleWhy.TARGET_MET
    record = state_of(home).trials[0].record()
    assert (record.state, record.values, dict(record.steps)) == (TrialState.PRUNED, (0.8,), {0: 0.9, 1: 0.8})
    assert dict(record.metrics) == {"loss": 0.8, "auc": 0.5}
    assert (plain(home).trials[0].value, plain(home).trials[0].intermediate_values) == (0.8, {0: 0.9, 1: 0.8})


def test_a_pruned_trial_without_a_report_has_no_value(root: Path) -> None:
    home = make(root, study="trials = 1")
    work(home, judge=lambda claim: Pruned(step=0, metrics={}))
    assert state_of(home).trials[0].record().values is None
    assert plain(home).trials[0].value is None


@pytest.mark.parametrize("policy", ["all", "unfinished"])
def test_checkpoints_of_ended_trials_are_kept_if_asked_for(root: Path, policy: str) -> None:
    home = make(root, study=f'trials = 2\nkeep_checkpoints = "{policy}"', tables={"failures": 'nan = "retry"'})
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        model = checkpoints(study, claim) / "model"
        model.touch()
        study.tell(claim, Failed(reason=Reason.NAN, message="m"))
        assert model.exists()  # it will be tried again
        again = claimed(study)
        assert (again.number, again.resumes) == (0, 1)
        study.tell(again, complete(again))
        assert model.exists() is (policy == "all")


def test_a_parameter_count_that_fails_is_the_users_mistake(root: Path) -> None:
    home = make(
        root,
        objective='function = "m:f"\nn_params = "m:count"',
        space="n = [1, 2]\n[space.constraints]\nsmall = 'n_params < 10'",
    )

    def count(values: object) -> int:
        raise KeyError("d_model")

    with (
        Study.open(home, owner(), n_params=count) as study,
        pytest.raises(UserError, match=r"no valid configuration.*\[objective\] n_params: KeyError: 'd_model'"),
    ):
        study.claim()
    with Study.open(home, owner(), n_params=lambda values: 5) as study:
        claimed(study)


def test_a_sampler_that_refuses_its_options_is_told_before_any_trial(root: Path) -> None:
    with pytest.raises(UserError, match=r"sampler\.options\.no_such_option"):
        make(root, sampler='name = "tpe"\n[sampler.options]\nno_such_option = 1')
    with pytest.raises(UserError, match=r"pruner\.options\.n_startup_trials"):
        make(root, tables={"pruner": 'name = "median"\noptions = { n_startup_trials = -1 }'})
    with pytest.raises(UserError, match=r"\[sampler\] options: optuna.samplers:TPESampler: .*no_such_option"):
        make(root, sampler='name = "optuna.samplers:TPESampler"\noptions = { no_such_option = 1 }')
    assert not home_of(root, "s").exists


def test_constraints_that_almost_nothing_satisfies_are_told(root: Path) -> None:
    """What the loader cannot judge: it does not import the function that counts parameters."""
    space = "x = { low = 0.0, high = 1.0 }\n[space.constraints]\ntiny = 'n_params < 1'"
    home = make(root, space=space, objective='function = "never:called"\nn_params = "never:counted"')
    with (
        Study.open(home, owner(), n_params=lambda values: 1000) as study,
        pytest.raises(UserError, match=r"no valid configuration in \d+ draws; most often: constraint 'tiny'"),
    ):
        study.claim()
