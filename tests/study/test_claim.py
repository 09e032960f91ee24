"""Exactly as many trials as asked for, none twice, the planned ones first, with any number of workers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from hpo_batch.records import Cause, Claim, Complete, Failed, Idle, IdleWhy, Pruned, Reason, TrialState
from hpo_batch.store.home import home_of
from hpo_batch.study.create import create
from hpo_batch.study.study import Study
from hpo_batch.sweep.load import load
from tests.helpers import REPOSITORY
from tests.processes import in_processes

from .helpers import claimed, complete, idle, keys, make, owner, plain, revise, state_of, work

DONE = optuna.trial.TrialState.COMPLETE
CELLS = "a = [1, 2, 3, 4]\nb = [1, 2, 3, 4]\nc = ['x', 'y', 'z']"


def test_eight_processes_finish_exactly_as_many_as_asked_for_and_repeat_none(root: Path) -> None:
    home = make(root, study="trials = 40", space=CELLS, sampler='name = "tpe"\nstartup_trials = 5')
    results = in_processes([(work, home, i) for i in range(8)])
    done = [number for numbers, _ in results for number in numbers]
    assert sorted(done) == list(range(40))
    assert {end.why for _, end in results} <= {IdleWhy.TARGET_MET, IdleWhy.IN_FLIGHT}
    state = state_of(home)
    assert state.counts().complete == len(state.trials) == 40
    assert len(set(keys(state))) == 40
    assert len({trial.facts["seeds"][0] for trial in state.trials}) == 40
    assert len(plain(home).get_trials(states=[DONE])) == 40
    assert list(home.workers.iterdir()) == []


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_space_smaller_than_the_target_is_used_up_and_said_so(root: Path, sampler: str) -> None:
    space = "a = [1, 2, 3]\nb = { low = 0.0, high = 0.4, step = 0.1 }\n[space.constraints]\nsome = 'a < 3 or b < 0.2'"
    home = make(root, study="trials = 40", space=space, sampler=f'name = "{sampler}"\nstartup_trials = 3')
    results = in_processes([(work, home, i) for i in range(3)])
    state = state_of(home)
    assert state.counts().complete == len(set(keys(state))) == 12  # 15 cells, of which 3 are refused
    assert IdleWhy.SPACE_USED_UP in {end.why for _, end in results}
    assert work(home)[1] == Idle(why=IdleWhy.SPACE_USED_UP)


def test_a_used_up_space_is_in_flight_while_trials_of_it_run(root: Path) -> None:
    home = make(root, space="a = [1, 2]")
    with Study.open(home, owner()) as study:
        claims = [claimed(study), claimed(study)]
        assert idle(study).why is IdleWhy.IN_FLIGHT
        for claim in claims:
            study.tell(claim, complete(claim))
        assert idle(study).why is IdleWhy.SPACE_USED_UP


def test_few_valid_cells_in_a_large_space_are_all_found(root: Path) -> None:
    space = "a = { low = 1, high = 60 }\nb = { low = 1, high = 60 }\nc = { low = 1, high = 60 }\n"
    home = make(root, space=f"{space}[space.constraints]\nfew = 'a == b and b == c and c < 4'")
    done, end = work(home)
    assert (len(done), end and end.why) == (3, IdleWhy.SPACE_USED_UP)


def test_a_space_too_large_to_list_goes_on_as_long_as_draws_are_new(root: Path) -> None:
    space = "a = { low = 0.0, high = 1.0 }\nb = [1, 2]\n[space.constraints]\nhalf = 'b == 1 or a < 0.001'"
    home = make(root, study="trials = 12", space=space)
    done, end = work(home)
    assert (len(done), end and end.why) == (12, IdleWhy.TARGET_MET)


def test_each_cell_of_a_grid_once_over_four_processes(root: Path) -> None:
    (sweep,) = load(REPOSITORY / "configs" / "gainakt4-grid.toml")
    home = home_of(root, sweep.study.name)
    create(home, sweep, toml="", now=0.0)
    results = in_processes([(work, home, i) for i in range(4)])
    assert sorted(n for numbers, _ in results for n in numbers) == list(range(72))
    state = state_of(home)
    varied = Counter((t.params["d_model"], t.params["d_ff"], t.params["dropout"], t.params["num_encoder_blocks"])
                     for t in state.trials)  # fmt: skip
    assert len(varied) == 72
    assert set(varied.values()) == {1}
    assert {t.facts["origin"] for t in state.trials} == {"grid"}


def test_a_grid_runs_in_product_order_or_shuffled_if_it_is_cut_off(root: Path) -> None:
    home = make(root, study="", space=CELLS, sampler='name = "grid"')
    work(home)
    in_order = [(t.params["a"], t.params["b"], t.params["c"]) for t in state_of(home).trials]
    assert len(in_order) == 48
    assert in_order == sorted(in_order)
    cut = make(root / "cut", study="trials = 12", space=CELLS, sampler='name = "grid"')
    work(cut)
    some = [(t.params["a"], t.params["b"], t.params["c"]) for t in state_of(cut).trials]
    assert len(set(some)) == 12
    assert len({a for a, _, _ in some}) > 2  # in product order it would be one level


def test_a_failed_cell_of_a_grid_is_not_replaced(root: Path) -> None:
    home = make(root, study="", space="a = [1, 2, 3]", sampler='name = "grid"')
    failed = Failed(reason=Reason.EXCEPTION, message="m")
    done, end = work(home, judge=lambda claim: failed if claim.number == 1 else complete(claim))
    assert (done, end and end.why) == ([0, 1, 2], IdleWhy.SPACE_USED_UP)
    counts = state_of(home).counts()
    assert (counts.complete, counts.failed, counts.target) == (2, 1, 3)


def test_the_supplementary_trials_run_as_listed_and_one_configuration_is_trained_once(root: Path) -> None:
    (sweep,) = load(REPOSITORY / "configs" / "supplementary-trials.toml")
    home = home_of(root, sweep.study.name)
    create(home, sweep, toml="", now=0.0)
    trained, end = work(home)
    assert end == Idle(why=IdleWhy.TARGET_MET)
    state = state_of(home)
    assert len(trained) == 28
    assert state.counts().complete == state.target == len(state.trials) == 29
    names = [t.facts["name"] for t in state.trials]
    assert names == [t.name for t in sweep.trial]
    (answered,) = [t for t in state.trials if t.attempt == 0]
    source = state.trials[answered.facts["repeats"]]
    assert (answered.facts["name"], source.facts["name"]) == ("F2", "C2")
    assert answered.number not in trained
    assert (answered.params, answered.values, answered.user_attrs) == (source.params, source.values, source.user_attrs)
    assert answered.facts["note"] != source.facts["note"]
    assert len(plain(home).get_trials(states=[DONE])) == 29


def test_a_repeat_in_a_list_waits_for_its_answer_and_a_pruned_trial_answers_too(root: Path) -> None:
    trials = "".join(f"[[trial]]\nname = '{name}'\nparams = {{ x = {x}, n = 1 }}\n" for name, x in
                     [("A", 0.5), ("B", 0.5), ("C", 0.25)])  # fmt: skip
    home = make(root, study="", sampler='name = "list"', rest=trials)
    with Study.open(home, owner()) as study:
        a, c = claimed(study), claimed(study)
        assert (a.name, c.name) == ("A", "C")
        assert idle(study).why is IdleWhy.IN_FLIGHT
        study.tell(c, complete(c))
        study.reports.add(a, 1, {"loss": 0.125})
        study.tell(a, Pruned(step=1, metrics={"loss": 0.125}))
        assert idle(study).why is IdleWhy.TARGET_MET
    b = state_of(home).trials[2]
    assert (b.facts["name"], b.state, b.values, b.steps) == ("B", TrialState.PRUNED, (0.125,), {1: 0.125})
    assert plain(home).trials[2].value == 0.125


def test_a_repeat_of_a_failed_trial_is_trained(root: Path) -> None:
    trials = "".join(f"[[trial]]\nname = '{name}'\nparams = {{ x = 0.5, n = 1 }}\n" for name in "AB")
    home = make(root, study="", sampler='name = "list"', rest=trials)
    done, end = work(home, judge=lambda c: Failed(reason=Reason.NAN, message="m") if c.name == "A" else complete(c))
    assert (done, end and end.why) == ([0, 1], IdleWhy.SPACE_USED_UP)
    assert state_of(home).counts().complete == 1


PLANNED = """
[baseline]
x = 0.125
n = 2
[[trial]]
name = "first"
params = { x = 0.75, n = 4 }
[[trial]]
name = "second"
params = { x = 5.0, n = 7 }
note = "beyond the space"
"""


def test_planned_trials_come_first_in_order_and_extremes_say_so(root: Path) -> None:
    sampler = 'name = "tpe"\nextremes = ["n", "x"]\nstartup_trials = 2'
    home = make(root, study="trials = 9", sampler=sampler, rest=PLANNED)
    in_processes([(work, home, i) for i in range(3)])
    trials = state_of(home).trials
    assert [t.facts["origin"] for t in trials] == [
        "list", "list", "baseline",
        "extreme: min n", "extreme: max n", "extreme: min x", "extreme: max x",
        "tpe", "tpe",
    ]  # fmt: skip
    assert [t.facts.get("name") for t in trials[:3]] == ["first", "second", None]
    assert [(t.params["x"], t.params["n"]) for t in trials[:7]] == [
        (0.75, 4), (5.0, 7), (0.125, 2), (0.125, 1), (0.125, 4), (0.0, 2), (1.0, 2),
    ]  # fmt: skip
    assert trials[1].record().note == "beyond the space"
    assert plain(home).trials[1].params == {"x": 5.0, "n": 7, "epochs": 5}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_weights_are_shares_of_the_started_trials(root: Path, sampler: str) -> None:
    space = "encoder = { choices = ['cnn', 'context', 'never'], weights = [3, 1, 0] }\nx = { low = 0.0, high = 1.0 }"
    home = make(root, study="trials = 100", space=space, sampler=f'name = "{sampler}"')
    in_processes([(work, home, i, favour_cnn) for i in range(4)])
    count = Counter(t.params["encoder"] for t in state_of(home).trials)
    assert count.keys() == {"cnn", "context"}
    assert abs(count["context"] - 25) <= 2


def favour_cnn(claim: Claim) -> Complete:
    value = 0.0 if claim.configuration.values["encoder"] == "cnn" else 1.0
    return Complete(values=(value,), metrics={"loss": value})


def test_two_weighted_parameters_share_as_products(root: Path) -> None:
    space = "a = { choices = [1, 2], weights = [3, 1] }\nb = { choices = [true, false], weights = [1, 1] }\n"
    home = make(root, study="trials = 40", space=f"{space}x = {{ low = 0.0, high = 1.0 }}")
    work(home)
    count = Counter((t.params["a"], t.params["b"]) for t in state_of(home).trials)
    assert {arm: abs(n - {1: 15, 2: 5}[arm[0]]) <= 1 for arm, n in count.items()} == dict.fromkeys(count, True)
    assert len(count) == 4


def test_a_used_up_arm_leaves_its_share_to_the_others(root: Path) -> None:
    space = "a = { choices = [1, 2], weights = [1, 1] }\nb = { low = 1, high = 9, when = 'a == 2' }"
    home = make(root, study="trials = 20", space=space)
    done, end = work(home)
    assert (len(done), end and end.why) == (10, IdleWhy.SPACE_USED_UP)


def test_an_inactive_parameter_is_not_stored_and_does_not_make_a_new_configuration(root: Path) -> None:
    space = """
use_cosine = [true, false]
temperature = { low = 1, high = 3, when = "use_cosine" }
deep = { choices = ["a", "b"], when = "temperature > 1" }
[space.derived]
twice = "temperature * 2"
"""
    for sampler in ("random", "tpe"):
        home = make(root / sampler, study="trials = 9", space=space, sampler=f'name = "{sampler}"\nstartup_trials = 2')
        done, end = work(home)
        assert (len(done), end and end.why) == (6, IdleWhy.SPACE_USED_UP)
        for trial in state_of(home).trials:
            expected = {"use_cosine"}
            if trial.params["use_cosine"]:
                expected |= {"temperature", "deep"} if int(trial.params["temperature"]) > 1 else {"temperature"}
            assert trial.params.keys() == expected
            assert ("twice" in trial.record().params) == ("temperature" in expected)


def test_a_constraint_holds_for_every_trial(root: Path) -> None:
    space = "d = { low = 1, high = 30 }\nh = [2, 3, 5, 7]\n[space.constraints]\ndivides = 'd % h == 0'"
    home = make(root, study="trials = 30", space=space, sampler='name = "tpe"\nstartup_trials = 3')
    work(home)
    assert all(int(t.params["d"]) % int(t.params["h"]) == 0 for t in state_of(home).trials)


def test_coverage_trials_go_to_cells_not_tried(root: Path) -> None:
    space = f"{CELLS}\nx = {{ low = 0.0, high = 1.0 }}"
    sampler = 'name = "tpe"\nstartup_trials = 2\ncoverage = ["a", "b"]\ncoverage_share = 0.5'
    home = make(root, study="trials = 24", space=space, sampler=sampler)
    work(home, judge=lambda claim: complete(claim, float(claim.configuration.values["a"])))
    seen: set[tuple[Any, Any]] = set()
    origins = Counter(t.facts["origin"] for t in state_of(home).trials)
    assert origins["coverage"] in (11, 12)  # one of the 12 cells may have been met by tpe itself
    assert origins.total() == 24
    for trial in state_of(home).trials:
        cell = (trial.params["a"], trial.params["b"])
        assert trial.facts["origin"] == "tpe" or cell not in seen
        seen.add(cell)


def test_several_claims_at_once_are_as_many_as_there_are(root: Path) -> None:
    home = make(root, study="trials = 5")
    with Study.open(home, owner()) as study:
        first = study.claim(at_most=3)
        assert not isinstance(first, Idle)
        assert [claim.number for claim in first] == [0, 1, 2]
        rest = study.claim(at_most=3)
        assert not isinstance(rest, Idle)
        assert [claim.number for claim in rest] == [3, 4]
        assert study.claim(at_most=3) == Idle(why=IdleWhy.IN_FLIGHT)


def test_fits_is_asked_before_a_trial_exists(root: Path) -> None:
    home = make(root, study="trials = 3", rest="[baseline]\nx = 0.5\nn = 4\n")
    with Study.open(home, owner()) as study:
        assert study.claim(fits=lambda configuration: False) == Idle(why=IdleWhy.NO_TIME)
        assert state_of(home).trials == []
        given = study.claim(fits=lambda configuration: configuration.values["n"] != 4)
        assert isinstance(given, Idle)  # what was drawn waits behind the planned trial
        first = claimed(study)
        study.give_back(first, Cause.TIME_LIMIT)
        asked: list[Any] = []
        study.claim(fits=lambda configuration: bool(asked.append(configuration.values)))
        assert first.configuration.values in asked  # also of a waiting trial


@pytest.mark.parametrize(("marker", "why"), [("CANCELLED", IdleWhy.CANCELLED), ("DRAIN", IdleWhy.DRAINING)])
def test_no_trial_is_started_while_a_marker_is_there(root: Path, marker: str, why: IdleWhy) -> None:
    home = make(root)
    with Study.open(home, owner()) as study:
        home.marker(marker).touch()
        assert idle(study).why is why
        home.marker(marker).unlink()
        claimed(study)


def test_the_search_of_one_worker_can_be_repeated(root: Path) -> None:
    found = []
    for i, seed in enumerate((1, 1, 2)):
        home = make(root / str(i), study="trials = 12", sampler=f'name = "tpe"\nstartup_trials = 4\nseed = {seed}')
        work(home)
        found.append([(t.params, t.facts["seeds"]) for t in state_of(home).trials])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_another_target_is_met_by_workers_that_run_already(root: Path) -> None:
    home = make(root, study="trials = 2")
    with Study.open(home, owner()) as study:
        for _ in range(2):
            claim = claimed(study)
            study.tell(claim, complete(claim))
        assert idle(study).why is IdleWhy.TARGET_MET
        revise(home, study="trials = 3")
        claim = claimed(study)
        assert state_of(home).trials[claim.number].facts["revision"] == 2
        study.tell(claim, complete(claim))
        assert idle(study).why is IdleWhy.TARGET_MET
