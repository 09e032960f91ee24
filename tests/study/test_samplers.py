"""Samplers learn from what was tried, in today's space, and are not asked for what they cannot know."""

from __future__ import annotations

import statistics
from pathlib import Path

import optuna

from hpo_batch.records import Claim, Complete
from hpo_batch.space.cells import valid_cells
from hpo_batch.study.history import SamplerHistory
from hpo_batch.study.samplers import make_source
from hpo_batch.study.study import Study

from .helpers import Text, claimed, complete, make, owner, plain, revise, state_of, sweep_of, work

SPACE = "x = { low = 0.0, high = 1.0 }\ny = { low = 0.0, high = 1.0 }\nz = [1, 2, 3, 4, 5, 6, 7, 8]"


def bowl(claim: Claim) -> Complete:
    values = claim.configuration.values
    return complete(claim, (values["x"] - 0.3) ** 2 + (values["y"] - 0.8) ** 2 + (values["z"] - 6) ** 2 / 49)


def test_tpe_finds_better_values_than_random_draws(root: Path) -> None:
    best = {}
    for name in ("tpe", "random"):
        found = []
        for seed in range(3):
            home = make(
                root / f"{name}{seed}",
                study="trials = 45",
                space=SPACE,
                sampler=f'name = "{name}"\nseed = {seed}' + ("\nstartup_trials = 8" if name == "tpe" else ""),
            )
            work(home, judge=bowl)
            found.append(statistics.mean(t.values[0] for t in state_of(home).trials[25:] if t.values))
        best[name] = statistics.mean(found)
    assert best["tpe"] < best["random"] / 3


def test_tpe_learns_from_planned_trials(root: Path) -> None:
    """The extremes alone are enough for it to stop drawing at random."""
    space = "x = { low = 0.0, high = 1.0 }\nn = { low = 1, high = 100 }"
    sampler = 'name = "tpe"\nstartup_trials = 4\nextremes = ["x", "n"]\noptions = { n_ei_candidates = 64 }'
    home = make(root, study="trials = 30", space=space, sampler=sampler)
    work(home, judge=lambda claim: complete(claim, float(claim.configuration.values["n"])))
    drawn = [t.params["n"] for t in state_of(home).trials if t.facts["origin"] == "tpe"]
    assert len(drawn) == 26
    assert statistics.median(map(float, drawn)) < 30  # at random it would be about 50


def test_tpe_models_parameters_together(root: Path) -> None:
    """Of a multivariate model each proposal is one draw of all parameters."""
    home = make(root, study="trials = 30", space=SPACE, sampler='name = "tpe"\nstartup_trials = 3')
    work(home, judge=bowl, most=6)
    sweep = sweep_of(root, Text(study="trials = 30", space=SPACE, sampler='name = "tpe"\nstartup_trials = 3'))
    history = SamplerHistory(sweep.space)
    source = make_source(sweep, sweep.space, ())
    source.draw(state_of(home), seed=0, again=False)  # it learns what was tried
    model = source._model._make(sweep.space, 0)  # type: ignore[attr-defined]
    study = history.study(state_of(home), model)
    assert len(study.get_trials(deepcopy=False)) == 6
    asked = study.ask()
    assert asked.relative_params.keys() == {"x", "y", "z"}


def test_running_trials_are_known_to_the_sampler(root: Path) -> None:
    home = make(root, study="trials = 30", space=SPACE, sampler='name = "tpe"\nstartup_trials = 3')
    work(home, judge=bowl, most=4)
    with Study.open(home, owner()) as study:
        claimed(study)
        sweep = study.sweep
        history = SamplerHistory(sweep.space).study(state_of(home), optuna.samplers.RandomSampler())
    states = [trial.state.name for trial in history.get_trials(deepcopy=False)]
    assert states == ["COMPLETE"] * 4 + ["RUNNING"]


def test_the_history_is_that_of_todays_space(root: Path) -> None:
    home = make(root, study="trials = 8", space="x = { low = 0.0, high = 1.0 }\nc = ['a', 'b']\nepochs = 5")
    work(home, judge=complete)
    narrower = "x = { low = 0.0, high = 0.5 }\nc = ['b', 'a', 'new']\nepochs = 5"
    revise(home, study="trials = 9", space=narrower)
    work(home)
    with Study.open(home, owner()) as study:
        history = SamplerHistory(study.sweep.space).study(state_of(home), optuna.samplers.RandomSampler())
    inside = [t for t in state_of(home).trials if float(t.params["x"]) <= 0.5]
    assert 0 < len(inside) < 9
    shown = history.get_trials(deepcopy=False)
    assert [t.params for t in shown] == [{"x": t.params["x"], "c": t.params["c"]} for t in inside]
    assert [t.value for t in shown] == [t.values[0] for t in inside if t.values]
    longer = "x = { low = 0.0, high = 1.0 }\nc = ['a', 'b']\nepochs = 50"  # other trainings: nothing to learn from
    revise(home, study="trials = 9", space=longer)
    with Study.open(home, owner()) as study:
        history = SamplerHistory(study.sweep.space).study(state_of(home), optuna.samplers.RandomSampler())
    assert history.get_trials(deepcopy=False) == []


def test_an_arm_of_a_quota_has_a_history_of_its_own(root: Path) -> None:
    space = "c = { choices = ['a', 'b'], weights = [1, 1] }\nx = { low = 0.0, high = 1.0 }"
    home = make(root, study="trials = 40", space=space, sampler='name = "tpe"\nstartup_trials = 4')

    def distance_of_its_arm(claim: Claim) -> Complete:
        good = 0.1 if claim.configuration.values["c"] == "a" else 0.9
        return complete(claim, abs(float(claim.configuration.values["x"]) - good))

    work(home, judge=distance_of_its_arm)
    late = state_of(home).trials[24:]
    for arm, good in (("a", 0.1), ("b", 0.9)):
        assert statistics.median(abs(float(t.params["x"]) - good) for t in late if t.params["c"] == arm) < 0.2


def test_conditional_parameters_are_learnt_too(root: Path) -> None:
    space = "deep = [true, false]\nwidth = { low = 0.0, high = 1.0, when = 'deep' }"
    home = make(root, study="trials = 40", space=space, sampler='name = "tpe"\nstartup_trials = 8')
    work(
        home,
        judge=lambda c: complete(
            c, float(c.configuration.values.get("width", 0.5)) + 0.1 * c.configuration.values["deep"]
        ),
    )
    late = [t.params for t in state_of(home).trials[20:]]
    widths = [float(p["width"]) for p in late if "width" in p]
    assert statistics.median(widths) < 0.4


def test_several_metrics_can_be_searched(root: Path) -> None:
    home = make(
        root,
        study="trials = 30",
        space=SPACE,
        sampler='name = "tpe"\nstartup_trials = 6',
        metric='metric = ["loss", "size"]\ndirection = ["minimize", "maximize"]',
    )

    def both_metrics(claim: Claim) -> Complete:
        x, z = claim.configuration.values["x"], claim.configuration.values["z"]
        return Complete(values=(float(x), float(z)), metrics={"loss": float(x), "size": float(z)})

    done, _ = work(home, judge=both_metrics)
    assert len(done) == 30
    state = state_of(home)
    assert state.directions == (1, 2)
    assert state.trials[3].values == (state.trials[3].params["x"], float(state.trials[3].params["z"]))
    front = plain(home).best_trials
    assert front
    assert all(len(trial.values) == 2 for trial in front)
    late = state.trials[18:]
    assert statistics.median(float(t.params["x"]) for t in late) < 0.4


def test_the_number_of_trials_that_a_sampler_models_is_bounded(root: Path) -> None:
    home = make(root, study="trials = 30", space=SPACE)
    work(home)
    state = state_of(home)
    with Study.open(home, owner()) as study:
        history = SamplerHistory(study.sweep.space, cap=10).study(state, optuna.samplers.RandomSampler())
    shown = [t.params["x"] for t in history.get_trials(deepcopy=False)]
    best = [t.params["x"] for t in sorted(state.trials, key=lambda t: t.values or ())[:2]]
    newest = [t.params["x"] for t in state.trials[-8:]]
    assert len(shown) == 10
    assert set(best + newest) <= set(shown)


def test_spares_are_all_cells_in_the_end_and_none_twice(root: Path) -> None:
    space = (
        "a = { low = 1, high = 9 }\nb = ['x', 'y']\nc = { low = 0.0, high = 0.3, step = 0.1, when = \"b == 'x'\" }\n"
    )
    text = Text(study="trials = 99", space=f"{space}[space.constraints]\nless = 'a < 8 or b == \"x\"'")
    home = make(root, study=text.study, space=text.space)
    sweep = sweep_of(root, text)
    work(home, most=20)
    with Study.open(home, owner()) as study:
        (source,) = study.journal.revision.sources.values()
        found = source.draw(study.journal.state, seed=1, again=True).candidates
        assert len({c.configuration.key for c in found}) == len(found) > 10
    work(home)
    keys = [t.key for t in state_of(home).trials]
    assert sorted(map(str, keys)) == sorted(cell.key for cell in valid_cells(sweep.space))
