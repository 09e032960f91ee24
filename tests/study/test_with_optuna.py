"""Our journal is a journal of plain Optuna: its tools work on it, and what it writes is taken into account."""

from __future__ import annotations

from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState as S

from hpo_batch.records import Cause, Claim, Failed, IdleWhy, Outcome, Pruned, Reason, TrialState
from hpo_batch.study.study import Study
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import in_processes

from .helpers import claimed, complete, idle, make, owner, plain, revise, state_of, work

SPACE = """
x = { low = 0.0, high = 1.0 }
rate = { low = 1e-5, high = 1e-1, log = true }
share = { low = 0.0, high = 0.5, step = 0.05 }
n = { low = 2, high = 8, step = 2 }
kind = ["a", "b", "c"]
flag = [true, false]
width = { low = 1, high = 4, when = "flag" }
epochs = 5
name = "toy"
[space.derived]
twice = "n * 2"
"""


def in_every_state(claim: Claim) -> Outcome:
    values = claim.configuration.values
    if claim.number % 10 == 7:
        return Failed(reason=Reason.NAN, message="'loss' is nan", metrics={"auc": 0.5})
    if claim.number % 10 == 8:
        return Pruned(step=1, metrics={"auc": 0.25})
    return complete(claim, float(values["x"]) + 0.1 * float(values["n"]))


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_every_value_and_state_is_read_by_plain_optuna(root: Path, sampler: str) -> None:
    home = make(root, study="trials = 30", space=SPACE, sampler=f'name = "{sampler}"')
    in_processes([(work, home, i, in_every_state) for i in range(2)])
    with Study.open(home, owner()) as study:
        revise(home, study="trials = 33", space=SPACE, sampler=f'name = "{sampler}"')
        claimed(study)
        study.give_back(claimed(study), Cause.PREEMPTED)
    assert_read_as_optuna_reads(home.journal)
    counts = state_of(home).counts()
    by_state = [trial.state for trial in plain(home).trials]
    assert (counts.complete, counts.pruned) == (by_state.count(S.COMPLETE), by_state.count(S.PRUNED))
    assert (counts.failed, counts.running, counts.waiting) == (by_state.count(S.FAIL), 1, 1)
    for trial in plain(home).trials:
        for name, distribution in trial.distributions.items():
            assert distribution._contains(distribution.to_internal_repr(trial.params[name]))


def test_best_params_are_all_that_a_run_needs(root: Path) -> None:
    home = make(root, study="trials = 12", space=SPACE)
    work(home, judge=lambda claim: complete(claim, float(claim.configuration.values["x"])))
    best = plain(home).best_trial
    record = state_of(home).trials[best.number].record()
    expected = {"x", "rate", "share", "n", "kind", "flag", "epochs", "name"} | (
        {"width"} if best.params["flag"] else set()
    )
    assert best.params.keys() == plain(home).best_params.keys() == expected
    assert {**best.params, "twice": best.params["n"] * 2} == dict(record.params)
    assert (best.params["epochs"], best.params["name"]) == (5, "toy")


def test_importances_and_tables_of_optuna_work(root: Path) -> None:
    space = "x = { low = 0.0, high = 1.0 }\nn = [1, 2, 3]\nepochs = 5"
    home = make(root, study="trials = 30", space=space)
    work(home, judge=lambda claim: complete(claim, float(claim.configuration.values["x"])))
    importances = optuna.importance.get_param_importances(plain(home))
    assert importances["x"] > 0.9
    assert importances.keys() >= {"x", "n"}
    frame = plain(home).trials_dataframe()
    assert len(frame) == 30
    assert {"number", "value", "params_x", "params_n", "params_epochs", "user_attrs_loss", "state"} <= set(
        frame.columns
    )
    assert pd.api.types.is_float_dtype(frame["value"])
    assert (frame["duration"].dt.total_seconds() >= 0).all()
    (summary,) = optuna.get_all_study_summaries(plain(home)._storage)
    assert (summary.n_trials, summary.best_trial and summary.best_trial.value) == (30, frame["value"].min())


def test_trials_run_by_plain_optuna_count_and_are_not_repeated(root: Path) -> None:
    home = make(root, study="trials = 6", space="n = [1, 2, 3, 4, 5, 6]\nepochs = 5")
    study = plain(home)
    for n in (2, 5):
        study.enqueue_trial({"n": n})
        trial = study.ask()
        trial.suggest_categorical("n", [1, 2, 3, 4, 5, 6])
        trial.suggest_categorical("epochs", [5])
        study.tell(trial, float(n))
    done, end = work(home)
    assert end is not None
    assert (len(done), end.why) == (4, IdleWhy.TARGET_MET)
    assert sorted(int(t.params["n"]) for t in state_of(home).trials) == [1, 2, 3, 4, 5, 6]
    frame = plain(home).trials_dataframe()  # with times of both writers
    assert len(frame) == len(state_of(home).trials)


def test_a_trial_enqueued_with_plain_optuna_is_run_next(root: Path) -> None:
    home = make(root, study="trials = 3", space=SPACE)
    values = {"x": 0.5, "rate": 0.01, "share": 0.15, "n": 4, "kind": "b", "flag": True, "width": 3}
    plain(home).enqueue_trial(values, user_attrs={"who": "me"})
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        assert (claim.number, claim.attempt, claim.origin) == (0, 1, "enqueued")
        assert claim.configuration.values == {**values, "epochs": 5, "name": "toy", "twice": 8}
        assert len(claim.seeds) == 1
        study.give_back(claim, Cause.PREEMPTED)
        again = claimed(study)
        assert (again.number, again.attempt, again.seeds) == (0, 2, claim.seeds)
        assert again.configuration.values == claim.configuration.values
        study.tell(again, complete(again, 0.5))
    work(home)
    state = state_of(home)
    assert (state.counts().complete, len(state.trials)) == (3, 3)
    assert len({trial.key for trial in state.trials}) == 3
    assert plain(home).trials[0].params == {**values, "epochs": 5, "name": "toy"}
    assert plain(home).trials[0].user_attrs["who"] == "me"
    assert_read_as_optuna_reads(home.journal)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"x": 0.5}, "no value for parameter 'n'"),
        ({"x": 0.5, "n": 1, "z": 1}, "parameter 'z' is not in [space]"),
        ({"x": 7.0, "n": 1}, "'x' is not between 0.0 and 1.0"),
        ({"x": "much", "n": 1}, "'x' is not a finite number"),
    ],
)
def test_an_enqueued_trial_that_makes_no_sense_fails_and_harms_no_other(
    root: Path, values: dict[str, object], why: str
) -> None:
    home = make(root, study="trials = 2", tables={"failures": 'invalid = "retry"'})
    plain(home).enqueue_trial(values)
    done, end = work(home)
    assert end is not None
    assert (done, end.why) == ([1, 2], IdleWhy.TARGET_MET)
    record = state_of(home).trials[0].record()
    assert (record.state, record.reason, record.attempts) == (TrialState.FAIL, "invalid", ())
    assert record.message == f"enqueued with plain Optuna: {why}"


def test_an_enqueued_trial_does_not_add_to_the_target(root: Path) -> None:
    home = make(root, study="trials = 2", space="n = [1, 2, 3]")
    work(home)
    plain(home).enqueue_trial({"n": 3})
    with Study.open(home, owner()) as study:
        claim = claimed(study)  # somebody asked for it: it runs although the target is met
        assert claim.number == 2
        study.tell(claim, complete(claim))
        assert idle(study).why is IdleWhy.TARGET_MET


def ask_and_tell(path: Path, count: int) -> None:
    study = optuna.load_study(study_name="s", storage=_storage(path))
    for _ in range(count):
        trial = study.ask()
        study.tell(trial, trial.suggest_float("x", 0, 1))


def _storage(path: Path) -> optuna.storages.JournalStorage:
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


def test_plain_optuna_may_work_on_the_study_at_the_same_time(root: Path) -> None:
    home = make(root, study="trials = 40", space="x = { low = 0.0, high = 1.0 }")
    in_processes([(work, home, 0), (work, home, 1), (ask_and_tell, home.journal, 8)])
    work(home)
    state = state_of(home)
    assert state.counts().running == 0
    assert 40 <= state.counts().complete <= 48  # plain Optuna, who asks nobody, may begin its 8 after the target is met
    assert sum(trial.key is None for trial in state.trials) == 8
    assert_read_as_optuna_reads(home.journal)


def test_a_user_who_fails_a_running_trial_makes_room_for_another(root: Path) -> None:
    home = make(root, study="trials = 1", space="n = [1, 2, 3]")
    with Study.open(home, owner()) as study:
        claimed(study)
        assert idle(study).why is IdleWhy.IN_FLIGHT
        plain(home).tell(0, state=S.FAIL)
        assert claimed(study).number == 1
    assert state_of(home).trials[0].record().reason == "unknown"
