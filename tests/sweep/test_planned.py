"""Trials known beforehand: what they inherit, what they are refused for, and which of them are the same."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from hpo_batch.records import Value
from hpo_batch.sweep.planned import Planned, planned_trials
from hpo_batch.sweep.schema import Sweep
from tests.sweep.conftest import HEAD, LoadOne, Told

SPACE = """[space]
width = [32, 64, 96]
depth = { low = 2, high = 6 }
dropout = { low = 0.0, high = 0.5, step = 0.1 }
kind = ["a", "b"]
extra = { low = 1, high = 3, when = "kind == 'b'" }
epochs = 10
"""
"""seven lines: what a test adds begins in line 15"""
FULL = "width = 32, depth = 3, dropout = 0.1, kind = 'a'"
MANY = HEAD.replace("trials = 5", "trials = 50")


def by_name(sweep: Sweep) -> dict[str | None, Planned]:
    return {planned.name: planned for planned in planned_trials(sweep)}


def trial(name: str, params: str, more: str = "") -> str:
    return f"[[trial]]\nname = '{name}'\nparams = {{ {params} }}\n{more}\n"


def test_trials_as_they_are_given(load_one: LoadOne) -> None:
    text = trial("A", FULL, "set = 'S'\nnote = 'why'") + trial("B", "width = 48.0, depth = 9, dropout = 1, kind = 'c'")
    first, second = planned_trials(load_one(SPACE + text))
    assert (first.name, first.set, first.note, first.origin) == ("A", "S", "why", "list")
    assert first.configuration.values == {"epochs": 10, "width": 32, "depth": 3, "dropout": 0.1, "kind": "a"}
    # beyond the space, in the types of the space
    assert repr(second.configuration.searched) == "{'width': 48, 'depth': 9, 'dropout': 1.0, 'kind': 'c'}"


def test_values_come_down_a_chain_in_any_order(load_one: LoadOne) -> None:
    text = trial("C", "depth = 5", "from = 'B'") + trial("B", "width = 64", "from = 'A'") + trial("A", FULL)
    planned = by_name(load_one(SPACE + text))
    assert planned["C"].configuration.searched == {"width": 64, "depth": 5, "dropout": 0.1, "kind": "a"}
    assert list(planned) == ["C", "B", "A"]


def test_what_is_inherited_may_become_inactive_what_is_given_may_not(load_one: LoadOne, told: Told) -> None:
    first = trial("A", "width = 32, depth = 3, dropout = 0.1, kind = 'b', extra = 2")
    planned = by_name(load_one(SPACE + first + trial("B", "kind = 'a'", "from = 'A'")))
    assert "extra" not in planned["B"].configuration.values
    assert told(SPACE + first + trial("B", "kind = 'a', extra = 1", "from = 'A'")) == [
        "sweep.toml:21: trial[2].params: parameter 'extra' is not active"
    ]


def test_a_baseline_is_completed_by_the_middle_as_trial_and_as_source(load_one: LoadOne) -> None:
    text = (
        "[baseline]\nwidth = 96\n"
        + trial("A", "dropout = 0.5", "from = 'baseline'")
        + trial("B", "", "from = 'baseline'")
    )
    sweep = load_one(SPACE + text)
    middle = {"width": 96, "depth": 4, "dropout": 0.2, "kind": "a"}
    planned = planned_trials(sweep)
    assert [(p.name, p.origin) for p in planned] == [("A", "list"), ("B", "list")]  # B is the baseline
    assert planned[0].configuration.searched == {**middle, "dropout": 0.5}
    assert planned[1].configuration.searched == middle
    (alone,) = planned_trials(load_one(SPACE + "[baseline]\nwidth = 96\n"))
    assert (alone.name, alone.origin, alone.configuration) == (None, "baseline", planned[1].configuration)


def test_two_names_of_one_configuration_are_both_kept(load_one: LoadOne) -> None:
    sweep = load_one(
        SPACE + trial("C2", FULL) + trial("F2", FULL.replace("32", "32.0")) + trial("G", "", "from = 'C2'")
    )
    planned = planned_trials(sweep)
    assert [p.name for p in planned] == ["C2", "F2", "G"]
    assert len({p.configuration.key for p in planned}) == 1


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (trial("A", "width = 32"), ["17: trial[1].params: no value for parameter 'depth'"]),
        (trial("A", FULL + ", widht = 3"), ["17: trial[1].params.widht: 'widht' is not a parameter of [space]; did"]),
        (trial("A", FULL + ", extra = 1"), ["17: trial[1].params: parameter 'extra' is not active"]),
        (trial("A", FULL) + trial("A", FULL), ["20: trial[2].name: two trials are called 'A'"]),
        (trial("A1", FULL) + trial("B", "", "from = 'A'"),
         ["22: trial[2].from: 'A' is not the name of another trial; did you mean 'A1'? (allowed: A1)"]),
        (trial("A", FULL, "from = 'A'"), ["18: trial[1].from: 'A' is not the name of another trial"]),
        (trial("A", FULL, "from = 'baseline'"), ["18: trial[1].from: there is no [baseline] to take values from"]),
        (trial("A", "", "from = 'B'") + trial("B", "", "from = 'C'") + trial("C", "", "from = 'B'"),
         ["22: trial[2].from: these trials take their values from each other: B -> C -> B"]),
        ("[baseline]\nwidht = 3\n", ["16: baseline.widht: 'widht' is not a parameter of [space]; did you mean"]),
        ("[baseline]\nwidth = 96\ndepth = 6\n[space.constraints]\nc = 'width * depth < 500'\n",
         ["15: baseline: constraint 'c' (width * depth < 500) does not hold"]),
        (trial("A", FULL.replace("3,", "9,")) + "[space.constraints]\nc = 'depth < 9'\n",
         ["17: trial[1].params: constraint 'c' (depth < 9) does not hold"]),
        ("".join(trial(f"A{i}", FULL.replace("depth = 3", f"depth = {i}")) for i in range(6)),
         ["5: study.trials: the target is 5 trials, but [[trial]], [baseline] and sampler.extremes plan 6"]),
        ("[sampler]\nname = 'list'\n" + trial("A", FULL),
         ["5: study.trials: the list has 1 trial; remove 'trials', or make the two equal"]),
        ("[sampler]\nname = 'list'\nextremes = ['depth']\n" + trial("A", FULL),
         ["17: sampler.extremes: sampler 'list' runs the [[trial]] tables only; remove extremes"]),
    ],
)  # fmt: skip
def test_mistakes(told: Told, text: str, lines: list[str]) -> None:
    found = told(SPACE + text)
    assert len(found) == len(lines), found
    for one, line in zip(found, lines, strict=True):
        assert one.startswith(f"sweep.toml:{line}")


def test_one_wrong_trial_does_not_hide_another_nor_blame_its_heirs(told: Told) -> None:
    text = trial("A", "width = [1]") + trial("B", "", "from = 'A'") + trial("C", "width = 32") + trial("D", "widht = 1")
    assert [line.split(": ")[:2] for line in told(SPACE + text)] == [
        ["sweep.toml:17", "trial[1].params.width"],
        ["sweep.toml:25", "trial[3].params"],
        ["sweep.toml:29", "trial[4].params.widht"],
    ]


def extremes_of(sweep: Sweep) -> list[tuple[str, object]]:
    return [
        (planned.origin.removeprefix("extreme: "), planned.configuration.searched.get(planned.origin.split()[-1]))
        for planned in planned_trials(sweep)
        if planned.origin.startswith("extreme")
    ]


def test_extremes_are_the_ends_with_the_others_at_the_middle(load_one: LoadOne) -> None:
    sweep = load_one(
        SPACE + "lr = { low = 1e-5, high = 1e-3, log = true }\n[sampler]\nextremes = ['width', 'lr', 'epochs']\n"
    )
    assert extremes_of(sweep) == [("min width", 32), ("max width", 96), ("min lr", 1e-5), ("max lr", 1e-3)]
    first = planned_trials(sweep)[0].configuration.searched
    assert first == {"width": 32, "depth": 4, "dropout": 0.2, "kind": "a", "lr": pytest.approx(1e-4)}


def test_extremes_start_from_the_baseline_and_repeat_nothing(load_one: LoadOne) -> None:
    sweep = load_one(SPACE + "[baseline]\nwidth = 96\n[sampler]\nextremes = ['width', 'depth']\n", head=MANY)
    planned = planned_trials(sweep)
    assert [p.origin for p in planned] == ["baseline", "extreme: min width", "extreme: min depth", "extreme: max depth"]
    assert planned[2].configuration.searched["width"] == 96


def test_an_extreme_moves_inwards_to_the_nearest_valid_value(load_one: LoadOne) -> None:
    text = "[space.constraints]\nc = 'depth > 2'\nd = 'width * depth < 300'\n[sampler]\nextremes = ['width', 'depth']\n"
    # at width 64 a depth of 4 is the most; at depth 4 a width of 64
    assert extremes_of(load_one(SPACE + text, head=MANY)) == [
        ("min width", 32), ("max width", 64), ("min depth", 3),
    ]  # fmt: skip


def test_an_extreme_that_cannot_be_is_left_out(load_one: LoadOne) -> None:
    # 'extra' is inactive where the others are at the middle
    assert extremes_of(load_one(SPACE + "[sampler]\nextremes = ['extra']\n")) == []
    assert extremes_of(load_one(SPACE + "[baseline]\nkind = 'b'\n[sampler]\nextremes = ['extra']\n")) == [
        ("min extra", 1), ("max extra", 3),
    ]  # fmt: skip


def test_ordered_texts_have_ends(load_one: LoadOne) -> None:
    text = SPACE + "size = { choices = ['s', 'm', 'l'], ordered = true }\n[sampler]\nextremes = ['size']\n"
    assert extremes_of(load_one(text)) == [("min size", "s"), ("max size", "l")]


def test_a_thousand_trials_in_a_chain(load_one: LoadOne) -> None:
    text = trial("A0", FULL) + "".join(trial(f"A{i}", f"depth = {i}", f"from = 'A{i - 1}'") for i in range(1, 1000))
    planned = planned_trials(load_one(f"{SPACE}{text}", "sampler.name=list", "study.trials=1000"))
    assert planned[-1].configuration.searched["depth"] == 999


def test_extremes_keep_a_constraint_on_the_parameter_count(load_one: LoadOne) -> None:
    text = """
[space]
width = [8, 16, 32, 64]
depth = { low = 1, high = 4 }
[space.constraints]
small = "n_params <= 64"
[sampler]
name = "random"
extremes = ["width", "depth"]
"""
    sweep = load_one(text, 'objective.n_params="pkg:count"')

    def count(values: Mapping[str, Value]) -> int:
        return int(values["width"]) * int(values["depth"])

    by_origin = {p.origin: p.configuration.searched for p in planned_trials(sweep, n_params=count)}
    assert by_origin["extreme: max width"] == {"width": 32, "depth": 2}
    assert by_origin["extreme: max depth"] == {"width": 16, "depth": 4}
    assert {p.configuration.searched["width"] for p in planned_trials(sweep)} >= {64}
