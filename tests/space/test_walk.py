"""The walk itself: what it visits, and what it leaves aside."""

from __future__ import annotations

import pytest

from hpo_batch.space.enumerate import (
    TooManySteps,
    ancestors,
    constants,
    constants_refuse,
    decidable,
    groups,
    steps,
    walk,
)
from hpo_batch.space.parameters import Choices
from hpo_batch.space.space import Space
from tests.space.spaces import make

RAW = {
    "a": [1, 2],
    "b": {"choices": [1, 2, 3], "when": "a > on"},
    "free": [1, 2],
    "on": 0,
    "off": {"value": 5, "when": "on > 0"},
    "late": {"value": 7, "when": "b > 1"},
    "derived": {"half": "on / 2", "sum": "a + b"},
    "constraints": {"c": "sum != 3", "d": "off > 9"},
}


def test_constants_are_what_nothing_searched_bears_on() -> None:
    space = make(RAW)
    assert constants(space) == {"on": 0, "half": 0.0}  # 'off' is inactive everywhere
    assert space.varying == {"a", "b", "free", "late", "sum"}
    assert not constants_refuse(space, constants(space), ["c", "d"])
    broken = make({**RAW, "constraints": {"c": "half > 1"}})
    assert constants_refuse(broken, constants(broken), ["c"])


def test_groups_are_what_conditions_constraints_and_derived_values_connect() -> None:
    first, second = groups(make(RAW), with_n_params=True)
    assert (first.names, first.searched, first.constraints) == (("a", "b", "late", "sum"), ("a", "b"), ("c",))
    assert (second.names, second.searched, second.constraints) == (("free",), ("free",), ())


def test_the_users_count_connects_everything() -> None:
    raw = {"a": [1, 2], "b": [1, 2], "constraints": {"c": "n_params < 5"}}
    plain = make(raw, with_n_params=True)
    counting = Space(parameters=plain.parameters, constraints=plain.constraints, n_params=lambda values: 1)
    assert len(groups(plain, with_n_params=True)) == 2
    assert len(groups(counting, with_n_params=False)) == 2
    assert len(groups(counting, with_n_params=True)) == 1


def test_ancestors() -> None:
    space = make(RAW)
    assert ancestors(space, ["sum"]) == ("a", "on", "b", "sum")
    assert ancestors(space, ["sum"], most=3) is None
    assert ancestors(space, ["nowhere"]) == ()


def test_what_can_be_decided_of_a_part() -> None:
    space = make(RAW)
    assert decidable(space, ["b"], space.order) == ["b", "late"]
    assert decidable(space, ["b"], space.order, orphans=False) == []
    assert decidable(space, ["a", "b"], space.order) == ["a", "b", "late", "sum"]


def test_a_broken_constraint_turns_back_at_once() -> None:
    """Two of 10**6 cells are valid; only what leads to them is visited."""
    raw: dict[str, object] = {f"p{i}": list(range(10)) for i in range(6)}
    raw["constraints"] = {**{f"c{i}": f"p{i} == {i}" for i in range(5)}, "last": "p5 < 2"}
    space = make(raw)
    plan = steps(space, space.order, {}, space.constraints)
    assert sum(1 for _ in walk(space, plan, {}, most=60)) == 2
    with pytest.raises(TooManySteps):
        list(walk(space, plan, {}, most=59))


def test_later_names_only_have_to_exist() -> None:
    space = make({"a": [1, 2, 3], "b": list(range(100)), "c": list(range(100)), "constraints": {"k": "b + c + a > 2"}})
    plan = steps(space, space.order, {}, space.constraints)
    assert [dict(values)["a"] for values in walk(space, plan, {}, most=20, back_to=1)] == [1, 2, 3]


def test_values_that_are_equal_to_python_are_different_cells() -> None:
    space = Space(parameters=(Choices(name="x", values=(1, 1.0, True), ordered=False),))
    assert [repr(values["x"]) for values in walk(space, steps(space, ["x"], {}, ()), {})] == ["1", "1.0", "True"]
