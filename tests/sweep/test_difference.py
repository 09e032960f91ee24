"""What changed between two revisions, and which changes leave finished trials meaningless."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

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


def test_another_text_of_a_number_that_trials_have(load_one: LoadOne) -> None:
    head = HEAD.replace('function = "package.module:function"', 'command = "a {args}"\nprinted = { loss = "los {}" }')
    repaired = head.replace('"los {}"', '"loss {}", acc = "acc {}"')
    old, new = (load_one(SPACE, head=one) for one in (head, repaired))
    line = "objective.printed.loss: los {} -> loss {}"
    assert difference(old, new).lines == (
        "objective.printed.acc: (nothing) -> acc {}",
        f"{line}; the values that trials have were found by the old text",
    )
    assert line in difference(old, new, has_trials=False).lines


def test_a_new_parameter_has_no_value_in_old_trials(load_one: LoadOne) -> None:
    change = difference(load_one(SPACE), load_one(SPACE + "y = [1, 2]\n"))
    assert change.against == (
        "space.y is new, and existing trials have no value for it; set the value to assume for them, such as "
        "y = { choices = [1, 2], before = 1 }",
    )
    assert change.lines == ("space.y: (nothing) -> [1, 2]",)


@pytest.mark.parametrize(
    ("given", "example"),
    [
        ("y = 3", "y = { value = 3, before = 3 }"),
        ("y = 'it\\\"s'", 'y = { value = "it\\\\\\"s", before = "it\\\\\\"s" }'),
        ("y = [true, false]", "y = { choices = [true, false], before = true }"),
        ("y = { low = 0.0, high = 1.0 }", "y = { low = 0.0, high = 1.0, before = 0.0 }"),
        (
            "y = { low = 1e-5, high = 0.1, log = true, when = 'x > 1' }",
            'y = { low = 1e-05, high = 0.1, log = true, when = "x > 1", before = 1e-05 }',
        ),
        ("y = { low = 1, high = 9, step = 2 }", "y = { low = 1, high = 9, step = 2, before = 1 }"),
        (
            "'model.y' = { choices = ['a', 'b'], weights = [1, 2] }",
            '"model.y" = { choices = ["a", "b"], weights = [1, 2], before = "a" }',
        ),
    ],
)
def test_the_way_out_is_shown_for_each_kind_of_parameter(load_one: LoadOne, given: str, example: str) -> None:
    """As a line that may be pasted, with all that the parameter's table says."""
    new = load_one(f"{SPACE}{given}\n")
    (why,) = difference(load_one(SPACE), new).against
    assert why.endswith(f"such as {example}")
    pasted = load_one(f"{SPACE}{example}\n")
    assert difference(load_one(SPACE), pasted).against == ()
    name = "model.y" if "model" in given else "y"
    assert replace(pasted.space.by_name[name], before=None) == new.space.by_name[name]


def test_a_new_parameter_with_a_stated_value_goes_on(load_one: LoadOne) -> None:
    new = load_one(SPACE + "y = { choices = [1, 2], before = 1 }\n")
    assert difference(load_one(SPACE), new).against == ()
    assert difference(load_one(SPACE), load_one(SPACE + "y = [1, 2]\n"), has_trials=False).against == ()
