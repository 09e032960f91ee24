"""``propose``: what it writes is valid, new, counted right, and tells main effects apart."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo_batch.errors import Declined
from hpo_batch.next.confirm import confirm
from hpo_batch.next.design import design
from hpo_batch.next.parent import Parent, parent_of
from hpo_batch.next.propose import propose
from hpo_batch.next.ran import already_run, repeated
from hpo_batch.next.trial_sets import REFERENCE, TrialSet
from hpo_batch.results.table import TrialsTable
from hpo_batch.space.draw import at_random
from hpo_batch.sweep.load import load, loads
from hpo_batch.sweep.part import part_of
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import PlannedTrial, Sweep
from tests.cli.conftest import SWEEP, Cli, cli
from tests.findings import simulate

__all__ = ["cli"]

HEAD = """
[study]
name = "s"
metric = "score"
direction = "maximize"
trials = 40

[objective]
function = "tests.cli.toys:noisy"

[space]
"""


def sweep_of(space: str) -> Sweep:
    (sweep,) = loads(HEAD + space, path=Path("s.toml"))
    return sweep


def truth(values: Mapping[str, Any]) -> float:
    """Something of every kind of value."""
    height = 0.0
    for name, value in values.items():
        if isinstance(value, str | bool):
            height += 0.1 * len(str(value))
        else:
            at = math.log10(value) if isinstance(value, float) and 0 < value < 0.01 else float(value)
            height -= 0.05 * (at - len(name)) ** 2
    return height


def table_of(sweep: Sweep, n: int, *, seed: int = 0, noise: float = 0.02) -> TrialsTable:
    rng = random.Random(seed)
    rows = []
    for _ in range(n):
        configuration = at_random(sweep.space, rng)
        if sweep.space.why_invalid(configuration) is None:
            rows.append((dict(configuration.searched), truth(configuration.searched) + rng.gauss(0, noise)))
    return simulate.table(rows, sweep=sweep, space=sweep.space, label="s")


def parent(space: str, n: int = 40, **more: Any) -> Parent:
    sweep = sweep_of(space)
    return parent_of(table_of(sweep, n, **more))


PLAIN = """
lr = { low = 1e-5, high = 1e-2, log = true }
width = [32, 64, 128]
drop = { low = 0.0, high = 0.5, step = 0.1 }
act = ["relu", "gelu", "tanh"]
"""
SPACES = [
    PLAIN,
    "lr = { low = 1e-5, high = 1e-2, log = true }\nkind = { choices = ['a', 'b'], weights = [3, 1] }\n"
    "extra = { low = 1, high = 9, when = \"kind == 'a'\" }\nflag = [true, false]\n",
    "d = [8, 16, 24, 32]\nheads = [1, 2, 3, 4]\nlayers = { low = 1, high = 6 }\n[space.constraints]\n"
    "divides = 'd % heads == 0'\nsmall = 'd * layers <= 96'\n",
    "x = { low = 0.0, high = 1.0, limits = [0.0, 1.0] }\ny = { low = -3, high = 3, limits = [-3, 3] }\nfixed = 3\n",
    "".join(f"p{i} = {{ low = 0.0, high = 1.0 }}\n" for i in range(14)),
    "x = [1, 2, 3, 4, 5, 6, 7, 8]\n",
]


@pytest.mark.parametrize("factors", range(1, 12))
def test_main_effects_of_the_design_do_not_depend_on_each_other(factors: int) -> None:
    runs = design(factors)
    signs = np.where(runs, 1, -1)
    assert len(runs) <= 12
    assert not runs[0].any()
    assert len({tuple(run) for run in runs.tolist()}) == len(runs)
    assert (signs.sum(axis=0) == 0).all()
    assert (signs.T @ signs == len(runs) * np.eye(factors)).all()


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(space=st.sampled_from(SPACES), seed=st.integers(0, 10_000), n=st.integers(8, 30), seeds=st.integers(1, 3))
def test_what_is_proposed_is_valid_new_and_counted_right(space: str, seed: int, n: int, seeds: int) -> None:
    study = parent(space, n, seed=seed)
    try:
        made = propose(study, seeds=seeds)
    except Declined:
        return
    (sweep,) = loads(made.text, path=Path("s.toml"))
    planned = planned_trials(sweep)
    keys = [one.configuration.key for one in planned]
    ran = already_run(study.sweep, [study.table])
    assert len(set(keys)) == len(keys) == len(sweep.trial) == sum(len(one.trials) for one in made.sets)
    assert {one.name for one in planned if one.configuration.key in ran} == {REFERENCE}
    # a search that draws at random may have drawn the best configuration more than once
    best = np.flatnonzero(study.data.keys == study.data.keys[study.data.best_row])
    (told,) = repeated(sweep, [study.table])
    assert told in [f"{REFERENCE} ran before: trial {number} of s" for number in study.data.numbers[best]]
    assert re.search(rf"^# Supplementary .*: {len(keys)} trials in {len(made.sets)} sets?, ", made.text)
    assert made.trainings == len(keys) * seeds == len(keys) * len(sweep.study.seeds)
    for one in planned:
        assert sweep.space.why_invalid(one.configuration, bounds=False) is None
        for parameter in sweep.space.searched:
            limits = getattr(parameter, "limits", None)
            if limits is not None:
                assert limits[0] <= one.configuration.searched[parameter.name] <= limits[1]
    again = confirm(study, top=5, seeds=seeds)
    (sweep,) = loads(again.text, path=Path("s.toml"))
    best = [one.configuration.key for one in planned_trials(sweep)]
    assert len(set(best)) == len(best) <= 5
    assert set(best) <= set(ran)


def test_values_lie_between_and_beyond_those_tried() -> None:
    study = parent(PLAIN, 60)
    made = propose(study)
    text = made.text
    assert "(between)" in text or "(beyond)" in text
    assert all(one.contrasts for one in made.sets)
    assert set(made.sweep.expect) == {words for one in made.sets for words in one.contrasts}


def test_too_few_trials_are_declined_with_what_it_takes() -> None:
    with pytest.raises(Declined, match="6 with different values are the least"):
        propose(parent(PLAIN, 4))


def test_a_small_space_that_was_tried_whole_is_declined_or_left_beyond() -> None:
    sweep = sweep_of("kind = ['a', 'b', 'c', 'd', 'e', 'f', 'g']\n")
    rows = [({"kind": kind}, 0.1 * i) for i, kind in enumerate("abcdefg")]
    study = parent_of(simulate.table(rows, sweep=sweep, space=sweep.space, label="s"))
    with pytest.raises(Declined, match="everything around the best trial of s was tried"):
        propose(study)


def test_a_set_runs_with_the_trial_that_it_is_compared_with(tmp_path: Path) -> None:
    study = parent(PLAIN, 60)
    sweep = propose(study).sweep
    reference = PlannedTrial(name=REFERENCE, set="local", params=sweep.trial[0].params)
    own = PlannedTrial(name="A1", set="A", from_=REFERENCE, params={"lr": 3e-4})
    alone = PlannedTrial(name="B1", set="B", from_=REFERENCE, params={"lr": 4e-4})
    sweep = replace(sweep, trial=(reference, own, alone), expect={"better": f"A1 > {REFERENCE}", "good": "B1 > 0.5"})
    assert [trial.name for trial in part_of([sweep], set_of="A")[0].trial] == [REFERENCE, "A1"]
    (only_b,) = part_of([sweep], set_of="B")
    assert [trial.name for trial in only_b.trial] == ["B1"]
    assert only_b.trial[0].params["lr"] == 4e-4
    assert only_b.trial[0].params["act"] == reference.params["act"]
    assert [trial.name for trial in part_of([sweep], only="A1")[0].trial] == ["A1"]


def test_propose_submit_and_report_in_a_row(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(SWEEP.format(name="toy", trials=12, function="noisy"))
    assert cli("submit", path, "--wait").code == 0
    new = tmp_path / "more.toml"
    ended = cli("propose", "toy", "-o", new)
    assert ended.code == 0, ended.err
    assert cli("propose", "toy", "-o", new).code == 2  # it exists
    assert cli("check", new).code == 0
    checked = cli("propose", "toy", "--check", new)
    assert checked.out.splitlines()[0].startswith("reference ran before: trial ")
    assert cli("submit", new, "--set-of", "local", "--wait").code in (0, 1)
    ended = cli("submit", new, "--wait")
    assert ended.code == 0, ended.err
    (sweep,) = load(new)
    assert cli("report", "toy-propose", "-o", tmp_path / "r").code == 0
    judged = (tmp_path / "r" / "report.md").read_text()
    assert all(words in judged.replace("\\", "") for words in sweep.expect)


def rising(noise: float = 0.0) -> Parent:
    """The best of what was tried lies near the end of the range, which nobody has reached."""
    sweep = sweep_of("x = { low = 0.0, high = 1.0 }\nflag = [true, false]\nk = ['a', 'b']\n")
    places = [{"x": i / 31, "flag": i % 2 == 0, "k": "ab"[i // 2 % 2]} for i in range(30)]
    rows = [(place, i / 31 + noise * math.sin(7 * i)) for i, place in enumerate(places)]
    return parent_of(simulate.table(rows, sweep=sweep, space=sweep.space, label="s"))


def test_a_value_beyond_those_that_were_tried_is_not_called_between(tmp_path: Path) -> None:
    made = propose(rising(0.02))
    moves = dict(re.findall(r"# +x = (\S+) \((\w+)\)", made.text))
    assert moves
    for value, where in moves.items():
        assert where == ("between" if 0 < float(value) < 29 / 31 else "beyond"), (value, where)
    assert "flag = true" in made.text or "flag = false" in made.text
    assert not re.search(r"\b(True|False)\b", made.text)


def test_a_value_that_is_surely_worse_gets_no_trial_of_its_own() -> None:
    sweep = sweep_of("x = { low = 0.0, high = 1.0 }\n")
    rows = [({"x": i / 59}, -((i / 59 - 0.5) ** 2)) for i in range(60)]
    with pytest.raises(Declined, match=r"x alone: 0\.\d+, 0\.\d+ would be worse, with a probability above 95%"):
        propose(parent_of(simulate.table(rows, sweep=sweep, space=sweep.space, label="s")))


def test_a_set_without_a_comparison_says_nothing_of_effects() -> None:
    reference = PlannedTrial(name=REFERENCE, set="local", params={})
    alone = TrialSet(name="local", hypothesis="the best again, to compare with", contrasts={}, predicted=None,
                     detectable=None, trials=(reference,))  # fmt: skip
    assert alone.lines == ("local: the best again, to compare with (1 trial)",)


def test_equal_values_are_called_that() -> None:
    sweep = sweep_of("x = { low = 0.0, high = 1.0 }\n")
    for values, words in (([0.5] * 9, "all 9"), ([0.7, *[0.5] * 8], "all but one of the 9")):
        rows = [({"x": i / 9}, value) for i, value in enumerate(values)]
        with pytest.raises(Declined, match=f"{words} configurations of s have the same score: nothing says"):
            propose(parent_of(simulate.table(rows, sweep=sweep, space=sweep.space, label="s")))


def test_another_seed_draws_other_new_seeds() -> None:
    study = rising(0.02)
    drawn = [propose(study, seed=seed).sweep.study.seeds for seed in (0, 1)]
    assert not set(drawn[0]) & set(drawn[1])
    finalists = [confirm(study, seed=seed).sweep.study.seeds for seed in (0, 1)]
    assert not set(finalists[0]) & set(finalists[1])
