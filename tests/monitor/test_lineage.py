"""Lines of studies: whole ones, and those of which somebody has moved, removed or edited a part."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from hpo_batch.monitor.lineage import Branch, Link, line_of, tree
from hpo_batch.store.home import StudyHome, all_homes, home_of
from hpo_batch.study.create import create
from hpo_batch.sweep.load import loads

SWEEP = """
[study]
name = "{name}"
metric = "loss"
direction = "minimize"
{trials}
[objective]
function = "tests.cli.toys:quadratic"
[space]
lr = {{ low = 1e-4, high = {high}, log = true }}
act = ["relu", "gelu"]
[sampler]
name = {sampler}
"""


def make(
    root: Path,
    name: str,
    *previous: str,
    high: float = 0.1,
    sampler: str = '"random"',
    trials: str = "trials = 5",
    more: str = "",
) -> StudyHome:
    """A study without trials that continues others."""
    text = SWEEP.format(name=name, high=high, sampler=sampler, trials=trials)
    if previous:
        listed = ", ".join(f'"{one}"' for one in previous)
        text += f'[previous]\nby = "refine"\nstudy = [{listed}]\n{more}'
    (sweep,) = loads(text, path=root / f"{name}.toml")
    home = home_of(root, name)
    create(home, sweep, toml=text, now=time.time())
    return home


def branches(root: Path) -> list[tuple[str, int]]:
    return [(one.link.study, one.depth) for one in shown(root)]


def shown(root: Path) -> list[Branch]:
    return list(tree(list(all_homes(root))))


def of(root: Path, name: str) -> Link:
    (link,) = [one.link for one in shown(root) if one.link.study == name]
    return link


def line(home: StudyHome) -> list[str]:
    return [link.study for link in line_of(home.path, budget=None)]


def test_a_line_goes_from_the_first_study_to_the_named_one(tmp_path: Path) -> None:
    first = make(tmp_path, "toy")
    make(tmp_path, "toy-v2", "toy", high=1.0)
    last = make(tmp_path, "toy-v3", "toy-v2", high=1.0)
    assert line(last) == ["toy", "toy-v2", "toy-v3"]
    assert line(first) == []
    assert branches(tmp_path) == [("toy", 0), ("toy-v2", 1), ("toy-v3", 2)]
    _, second, third = line_of(last.path, budget=None)
    assert second.changes[0] == "lr: 0.0001 to 0.1, log -> 0.0001 to 1, log"
    assert "1.3 times larger" in second.changes[1]
    assert third.changes == ("the same space",)
    assert [one.link.changes for one in shown(tmp_path)] == [(), second.changes, third.changes]


def test_constraints_and_the_objective_are_part_of_what_changed(tmp_path: Path) -> None:
    make(tmp_path, "toy")
    text = SWEEP.format(name="toy-v2", high=0.1, sampler='"random"', trials="trials = 5").replace(
        "toys:quadratic", "toys:by_seed"
    )
    text = (
        text.replace("[sampler]", "[space.constraints]\nlow = 'lr < 0.01'\n[sampler]") + '[previous]\nstudy = "toy"\n'
    )
    (sweep,) = loads(text, path=tmp_path / "toy-v2.toml")
    create(home_of(tmp_path, "toy-v2"), sweep, toml=text, now=time.time())
    assert of(tmp_path, "toy-v2").changes == (
        "constraint low: not there -> lr < 0.01",
        "[objective] function: tests.cli.toys:quadratic -> tests.cli.toys:by_seed",
    )


def test_two_children_stand_below_their_parent(tmp_path: Path) -> None:
    for name, parent in (("toy", ()), ("a", ("toy",)), ("b", ("toy",)), ("c", ("a",)), ("other", ())):
        make(tmp_path, name, *parent)
    assert branches(tmp_path) == [("other", 0), ("toy", 0), ("a", 1), ("c", 2), ("b", 1)]


def test_a_study_of_two_stands_below_the_one_that_it_names_first(tmp_path: Path) -> None:
    for name, parents in (("a", ()), ("b", ()), ("both", ("b", "a", "gone"))):
        make(tmp_path, name, *parents)
    assert branches(tmp_path) == [("a", 0), ("b", 0), ("both", 1)]
    assert of(tmp_path, "both").changes[0] == "also from a, gone (not here)"


def test_a_missing_parent_is_named_and_its_space_told_as_far_as_it_was_kept(tmp_path: Path) -> None:
    make(tmp_path, "toy")
    second = make(tmp_path, "toy-v2", "toy", high=1.0, more="space = { lr = { low = 1e-4, high = 0.1, log = true } }\n")
    shutil.move(tmp_path / "toy", tmp_path.parent / "elsewhere")
    for link in (of(tmp_path, "toy-v2"), *line_of(second.path, budget=None)):
        assert link.problem.startswith("named in [previous], but not in this logs directory: 'toy' (moved,")
        assert link.changes[0] == "lr: 0.0001 to 0.1, log -> 0.0001 to 1, log"
    shutil.rmtree(tmp_path.parent / "elsewhere")


@pytest.mark.parametrize("circle", [("a",), ("a", "b"), ("a", "b", "c")])
def test_a_circle_is_told_and_every_study_is_still_shown(circle: tuple[str, ...], tmp_path: Path) -> None:
    homes = [make(tmp_path, name, circle[i - 1]) for i, name in enumerate(circle)]
    make(tmp_path, "child", circle[-1])
    found = shown(tmp_path)
    assert sorted(one.link.study for one in found) == sorted([*circle, "child"])
    assert [one.link.study for one in found if "in a circle" in one.link.problem] == ["a"]
    for home in homes:
        links = line_of(home.path, budget=None)
        assert links[-1].study == home.name
        around = links[0].problem.partition("in a circle: ")[2].split(", ")
        assert sorted(around[:-1]) == sorted(circle)
        assert around[0] == around[-1]


def test_an_unreadable_parent_stands_in_the_line_with_the_reason(tmp_path: Path) -> None:
    make(tmp_path, "toy")
    second = make(tmp_path, "toy-v2", "toy", high=1.0)
    (tmp_path / "toy" / "sweep.1.json").write_text("{}")
    first, last = line_of(second.path, budget=None)
    assert first.unreadable
    assert "was changed after it was frozen" in first.problem
    assert (last.problem, last.unreadable) == ("", False)
    (tmp_path / "toy" / "journal.jsonl").write_text("nonsense\n" * 3)
    assert branches(tmp_path) == [("toy", 0), ("toy-v2", 1)]
    assert of(tmp_path, "toy").unreadable


def test_names_in_previous_are_not_followed_out_of_the_logs_directory(tmp_path: Path) -> None:
    make(tmp_path / "other", "toy")
    root = tmp_path / "logs"
    for i, name in enumerate(("../other/toy", str(tmp_path / "other" / "toy"), "runs.csv", "..", ".", "a/b/c")):
        home = make(root, f"next{i}", name)
        assert line(home) == [f"next{i}"]
        assert "not in this logs directory" in of(root, f"next{i}").problem


def test_another_sampler_or_pruner_is_a_change_and_another_seed_is_none(tmp_path: Path) -> None:
    make(tmp_path, "first")
    more = "[pruner]\nname = 'median'\noptions = { n_startup_trials = 3 }\n[baseline]\nlr = 0.01\nact = 'relu'\n"
    make(tmp_path, "second", "first", sampler='"tpe"\nseed = 7\nextremes = ["lr"]', more=more)
    changes = of(tmp_path, "second").changes
    assert changes == (
        "sampler: random -> tpe",
        "sampler extremes: none -> lr",
        "pruner: none -> median",
        "pruner options: none -> n_startup_trials = 3",
    )


def test_the_baseline_is_counted_beside_a_list(tmp_path: Path) -> None:
    make(tmp_path, "first")
    trial = "[[trial]]\nname = 'a'\nparams = { lr = 0.02, act = 'relu' }\n"
    more = f"[baseline]\nlr = 0.01\nact = 'relu'\n{trial}"
    make(tmp_path, "second", "first", sampler='"list"', trials="", more=more)
    assert of(tmp_path, "second").changes[0] == "1 configuration from a list and the baseline; no search"
