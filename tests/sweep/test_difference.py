"""What changed between two revisions, and which changes leave finished trials meaningless."""

from __future__ import annotations

import pytest

from hpo_batch.sweep.difference import Change, difference
from hpo_batch.sweep.schema import Sweep
from tests.sweep.conftest import HEAD, SPACE, LoadOne

TRIALS = """
[[trial]]
name = "A"
params = { x = 1, lr = 1e-4 }
[[trial]]
name = "B"
from = "A"
params = { x = 2 }
"""


def test_nothing_changed(load_one: LoadOne) -> None:
    sweep = load_one(SPACE + TRIALS)
    assert difference(sweep, Sweep.from_json(sweep.to_json())) == Change()


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("trials = 5", "trials = 9", "study.trials: 5 -> 9"),
        ("trials = 5", "trials = 5\nmax_failed = 3", "study.max_failed: (nothing) -> 3"),
        ("[1, 2, 3]", "[1, 2, 3, 4]", "space.x: [1, 2, 3] -> [1, 2, 3, 4]"),
        ("[1, 2, 3]", "[1.0, 2, 3]", "space.x: [1, 2, 3] -> [1.0, 2, 3]"),
        ("y = 1", "y = true", "space.y: 1 -> True"),
        ("y = 1\n", "", "space.y: 1 -> (nothing)"),
        ("y = 1", "y = 1\n[job]\nwalltime = '2:00:00'", "job.walltime: 1-0:00:00 -> 2:00:00"),
        ("y = 1", "y = 1\n[sampler]\noptions = { group = true }", "sampler.options.group: (nothing) -> True"),
        ("params = { x = 2 }", "params = { x = 3 }",
         "trial.B: {'name': 'B', 'from': 'A', 'params': {'x': 2}} -> {'name': 'B', 'from': 'A', 'params': {'x': 3}}"),
        ('[[trial]]\nname = "B"\nfrom = "A"\nparams = { x = 2 }\n', "",
         "trial.B: {'name': 'B', 'from': 'A', 'params': {'x': 2}} -> (nothing)"),
    ],
)  # fmt: skip
def test_changes_that_go_on(load_one: LoadOne, before: str, after: str, line: str) -> None:
    text = SPACE + "y = 1\n" + TRIALS
    changed = (HEAD + text).replace(before, after)
    assert difference(load_one(text), load_one(changed, head="")) == Change(lines=(line,))


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ('"loss"', '"accuracy"', "study.metric: ['loss'] -> ['accuracy']"),
        ("minimize", "maximize", "study.direction: ['minimize'] -> ['maximize']"),
        ("module:function", "module:other", "objective.function: package.module:function -> package.module:other"),
        ("[space]", "[metrics]\nm = 'loss'\n[space]", "metrics.m: (nothing) -> loss"),
    ],
)
def test_changes_of_meaning(load_one: LoadOne, before: str, after: str, line: str) -> None:
    changed = (HEAD + SPACE).replace(before, after)
    assert difference(load_one(SPACE), load_one(changed, head="")).against == (line,)


def test_a_new_parameter_has_no_value_in_old_trials(load_one: LoadOne) -> None:
    change = difference(load_one(SPACE), load_one(SPACE + "y = [1, 2]\n"))
    assert change.against == (
        "space.y is new, and the trials there have no value for it; say in its table what they count with, such as "
        "y = { choices = [1, 2], before = ... }",
    )
    assert change.lines == ("space.y: (nothing) -> [1, 2]",)


@pytest.mark.parametrize(
    ("given", "example"),
    [
        ("y = 3", "y = { value = 3, before = ... }"),
        ("y = { low = 0.0, high = 1.0 }", "y = { low = 0.0, high = 1.0, before = ... }"),
    ],
)
def test_the_way_out_is_shown_for_each_kind_of_parameter(load_one: LoadOne, given: str, example: str) -> None:
    (why,) = difference(load_one(SPACE), load_one(f"{SPACE}{given}\n")).against
    assert why.endswith(example)


def test_a_new_parameter_with_a_stated_value_goes_on(load_one: LoadOne) -> None:
    new = load_one(SPACE + "y = { choices = [1, 2], before = 1 }\n")
    assert difference(load_one(SPACE), new).against == ()
    assert difference(load_one(SPACE), load_one(SPACE + "y = [1, 2]\n"), has_trials=False).against == ()
