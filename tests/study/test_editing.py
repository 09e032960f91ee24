"""An edited sweep goes on: which trials count as what, and what cannot be reconciled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from hpo_batch.errors import Irreconcilable
from hpo_batch.records import Claim, Complete, IdleWhy
from hpo_batch.study.history import SamplerHistory
from hpo_batch.study.study import Study
from tests.study.helpers import claimed, complete, idle, make, owner, plain, revise, state_of, work

RANDOM = optuna.samplers.RandomSampler


def shown(home, **options):  # type: ignore[no-untyped-def]
    """The parameters and values that the sampler is shown."""
    with Study.open(home, owner()) as study:
        study.journal.sync()
        history = SamplerHistory(study.journal.revision.space).study(study.journal.state, RANDOM())
        return [(t.params, t.values) for t in history.get_trials(deepcopy=False)]


def by(function: Callable[[dict[str, float]], float]) -> Callable[[Claim], Complete]:
    return lambda claim: complete(claim, function(claim.configuration.values))  # type: ignore[arg-type]


def test_choices_edited_twice_tpe_proposes_the_added_best_one_and_plain_optuna_plots_it(root: Path) -> None:
    sampler = 'name = "tpe"\nstartup_trials = 5\nseed = 3'
    tail = "\nx = { low = 0.0, high = 1.0 }\nepochs = 3"
    good = {"a": 3.0, "b": 2.5, "c": 2.0, "d": 0.1}

    def by_kind(claim: Claim) -> Complete:
        values = claim.configuration.values
        return complete(claim, good[str(values["kind"])] + abs(float(values["x"]) - 0.5))

    home = make(root, study="trials = 12", space=f'kind = ["a", "b"]{tail}', sampler=sampler)
    work(home, judge=by_kind)
    change = revise(home, study="trials = 22", space=f'kind = ["b", "c"]{tail}', sampler=sampler)
    assert "lie in the space now" in change.stays
    assert "is not one of 'b', 'c'" in change.stays
    work(home, judge=by_kind)
    revise(home, study="trials = 50", space=f'kind = ["c", "b", "d"]{tail}', sampler=sampler)
    work(home, judge=by_kind)
    late = [t.params["kind"] for t in state_of(home).trials[-15:]]
    assert late.count("d") >= 9
    study = plain(home)
    assert len(study.trials) == 50
    assert study.best_params["kind"] == "d"
    for plot in ("optimization_history", "slice", "parallel_coordinate", "contour", "param_importances", "edf"):
        figure = getattr(optuna.visualization, f"plot_{plot}")(study)
        assert figure.data, plot
    assert len(study.trials_dataframe()) == 50


def test_a_wider_and_a_narrower_range_keep_the_trials_that_lie_in_it(root: Path) -> None:
    home = make(root, study="trials = 6", space="x = { low = 0.0, high = 1.0 }")
    work(home)
    wider = revise(home, study="trials = 7", space="x = { low = -1.0, high = 2.0 }")
    assert wider.stays == "all 6 trials lie in the space now"
    assert len(shown(home)) == 6
    change = revise(home, study="trials = 7", space="x = { low = 0.0, high = 0.5 }")
    inside = [t for t in state_of(home).trials if float(t.params["x"]) <= 0.5]
    assert change.stays.startswith(f"{len(inside)} of 6 trials lie in the space now")
    assert len(shown(home)) == len(inside)


def test_more_and_fewer_trials(root: Path) -> None:
    home = make(root, study="trials = 4")
    work(home)
    revise(home, study="trials = 6")
    assert len(work(home)[0]) == 2
    revise(home, study="trials = 3")
    assert work(home) == ([], idle_of(home))


def idle_of(home):  # type: ignore[no-untyped-def]
    with Study.open(home, owner()) as study:
        return idle(study)


def test_a_new_parameter_counts_with_what_the_file_says_of_the_old_trials(root: Path) -> None:
    home = make(root, study="trials = 3", space="n = [1, 2, 3]")
    work(home)
    space = "n = [1, 2, 3]\nm = { choices = [10, 20], before = 10 }"
    assert revise(home, study="trials = 6", space=space).against == ()
    assert [params for params, _ in shown(home)] == [{"n": t.params["n"], "m": 10} for t in state_of(home).trials]
    done, why = work(home)
    assert (len(done), why and why.why) == (3, IdleWhy.TARGET_MET)
    # the three with m = 10 were trained before m was there
    assert sorted((t.params["n"], t.params["m"]) for t in state_of(home).trials[3:]) == [(1, 20), (2, 20), (3, 20)]
    revise(home, study="trials = 9", space=space)
    assert idle_of(home).why is IdleWhy.SPACE_USED_UP


def test_a_new_parameter_whose_old_value_is_not_tried_any_more_leaves_nothing_to_model(root: Path) -> None:
    home = make(root, study="trials = 3", space="n = [1, 2, 3]")
    work(home)
    change = revise(home, study="trials = 6", space="n = [1, 2, 3]\nr = { low = 0.1, high = 0.5, before = 0.0 }")
    assert change.stays.startswith("0 of 3")
    assert "'r' is not between 0.1 and 0.5" in change.stays
    assert shown(home) == []
    assert len(work(home)[0]) == 3


def test_a_new_conditional_parameter_leaves_alone_the_trials_in_which_it_is_not_active(root: Path) -> None:
    home = make(root, study="trials = 2", space="deep = [true, false]")
    work(home)
    space = "deep = [true, false]\nwidth = { choices = [1, 2], when = 'deep', before = 1 }"
    revise(home, study="trials = 5", space=space)
    assert len(work(home)[0]) == 1  # deep without width, and deep with width 1, are known
    assert {t.params.get("width") for t in state_of(home).trials[2:]} == {2}


def test_a_named_trial_is_not_made_again_for_a_new_parameter(root: Path) -> None:
    rest = '[[trial]]\nname = "A1"\nparams = { n = 2 }\n'
    home = make(root, study="trials = 2", space="n = [1, 2, 3]", rest=rest)
    work(home)
    after = '[[trial]]\nname = "A1"\nparams = { n = 2, m = 1 }\n'
    revise(home, study="trials = 4", space="n = [1, 2, 3]\nm = { choices = [1, 2], before = 1 }", rest=after)
    work(home)
    names = [t.facts.get("name") for t in state_of(home).trials]
    assert names.count("A1") == 1


def test_a_parameter_that_was_taken_out_leaves_trials_nobody_can_place(root: Path) -> None:
    home = make(root, study="trials = 3", space="n = [1, 2, 3]\nm = [1, 2]")
    work(home)
    change = revise(home, study="trials = 6", space="n = [1, 2, 3]")
    assert "its parameter 'm' is not in [space]" in change.stays
    assert shown(home) == []
    # fixed to one of its values instead, it keeps the trials that had this one
    revise(home, study="trials = 6", space="n = [1, 2, 3]\nm = 2")
    assert len(shown(home)) == sum(t.params["m"] == 2 for t in state_of(home).trials)
    assert all(t.params["m"] in (1, 2) for t in state_of(home).trials)


def test_a_choice_that_becomes_a_range_keeps_its_trials_and_plain_optuna_opens_it(root: Path) -> None:
    home = make(root, study="trials = 3", space="n = [16, 32, 64]")
    work(home)
    revise(home, study="trials = 8", space="n = { low = 8, high = 128 }")
    assert len(shown(home)) == 3
    work(home)
    study = plain(home)
    assert len(study.trials) == 8
    assert optuna.visualization.plot_slice(study).data


def test_a_grid_that_is_edited_runs_all_of_its_new_cells(root: Path) -> None:
    home = make(root, study="", space="n = [1, 2, 3]", sampler='name = "grid"')
    assert len(work(home)[0]) == 3
    revise(home, study="", space="n = [3, 4, 5, 6]", sampler='name = "grid"')
    done, why = work(home)
    assert (len(done), why and why.why) == (3, IdleWhy.TARGET_MET)
    assert sorted(t.params["n"] for t in state_of(home).trials) == [1, 2, 3, 4, 5, 6]
    assert state_of(home).target == 6


def test_a_list_that_is_edited_runs_what_it_has_not_run(root: Path) -> None:
    def trials(*numbers: int) -> str:
        return "".join(f'[[trial]]\nname = "A{n}"\nparams = {{ n = {n} }}\n' for n in numbers)

    home = make(root, study="", space="n = { low = 0, high = 9 }", sampler='name = "list"', rest=trials(1, 2))
    work(home)
    revise(home, study="", space="n = { low = 0, high = 9 }", sampler='name = "list"', rest=trials(3))
    assert len(work(home)[0]) == 1
    assert [t.facts["name"] for t in state_of(home).trials] == ["A1", "A2", "A3"]


def test_workers_that_run_go_on_with_a_new_parameter(root: Path) -> None:
    home = make(root, study="trials = 4", space="n = [1, 2]")
    with Study.open(home, owner()) as study:
        running = claimed(study)
        revise(home, study="trials = 4", space="n = [1, 2]\nm = { choices = [1, 2], before = 1 }")
        second = claimed(study)
        assert "m" in second.configuration.values
        study.tell(running, complete(running))
        study.tell(second, complete(second))
    work(home)
    keys = {(t.params["n"], t.params.get("m", 1)) for t in state_of(home).trials}
    assert len(keys) == len(state_of(home).trials) == 4


def test_what_cannot_be_reconciled_names_the_way_out(root: Path) -> None:
    home = make(root)
    work(home)
    with pytest.raises(Irreconcilable, match=r'with import = \["s"\] in \[study\]'):
        revise(home, objective='function = "other:code"')
