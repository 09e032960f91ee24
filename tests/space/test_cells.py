"""Sizes, cells and projections: always what trying every combination would find."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hpo_batch.errors import ExpressionError
from hpo_batch.space import cells as cells_module
from hpo_batch.space.cells import (
    Size,
    at_least,
    is_empty,
    never_satisfied,
    pinned,
    projected_cells,
    size,
    some_values,
    valid_cells,
)
from hpo_batch.space.parameters import Choices, Fixed
from hpo_batch.space.space import Space
from tests.space.spaces import Drawn, drawn_spaces, flat, make, typed


def counted(space: Space) -> tuple[int | None, int | None]:
    total: Size = size(space)
    return total.all, total.valid


@settings(deadline=None, max_examples=200)
@given(drawn_spaces())
def test_cells_are_those_that_trying_everything_finds(drawn: Drawn) -> None:
    space = drawn.space
    expected = drawn.valid()
    found = list(valid_cells(space))
    assert {flat(cell) for cell in found} == {typed(values) for values in expected}
    assert len(found) == len(expected)
    assert counted(space) == (len(drawn.combinations()), len(expected))
    assert len({cell.key for cell in found}) == len(found)
    assert is_empty(space) == (not expected)


@settings(deadline=None, max_examples=100)
@given(drawn_spaces(), st.data())
def test_a_projected_cell_is_one_that_a_valid_configuration_has(drawn: Drawn, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(drawn.order), unique=True, min_size=1))
    assume(drawn.valid())
    expected = {
        tuple((type(values[name]), values[name]) for name in names)
        for values in drawn.valid()
        if all(name in values for name in names)
    }
    found = list(projected_cells(drawn.space, names))
    assert {tuple((type(value), value) for value in cell) for cell in found} == expected
    assert len(found) == len(expected)
    assert size(drawn.space, names).valid == len(expected)


@settings(deadline=None, max_examples=60)
@given(drawn_spaces())
def test_what_nothing_satisfies_alone_is_named(drawn: Drawn) -> None:
    found = never_satisfied(drawn.space)
    for name, rule in drawn.constraints.items():
        alone = Drawn(**{**vars(drawn), "constraints": {name: rule}})
        assert (name in found) == (not alone.valid())


def test_product_order_the_last_parameter_fastest() -> None:
    space = make({"a": [2, 1], "b": {"low": 0, "high": 1}})
    assert [tuple(cell.searched.values()) for cell in valid_cells(space)] == [(2, 0), (2, 1), (1, 0), (1, 1)]
    assert list(projected_cells(space, ["b", "a"])) == [(0, 2), (0, 1), (1, 2), (1, 1)]


def test_cells_are_whole_configurations() -> None:
    space = make({"width": [1, 2], "epochs": 5, "derived": {"double": "width * 2"}})
    first = next(valid_cells(space))
    assert first == space.resolve({"width": 1})
    assert first.values == {"epochs": 5, "width": 1, "double": 2}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, (1, 1)),
        ({"a": 3}, (1, 1)),
        ({"a": 3, "constraints": {"c": "a > 3"}}, (1, 0)),
        ({"a": [1, 2], "b": 3, "constraints": {"c": "b > 3"}}, (2, 0)),
        ({"a": [1, 2], "b": {"low": 0.0, "high": 1.0}}, (None, None)),
        ({"a": [1, 2], "b": {"low": 0.5, "high": 0.5}}, (2, 2)),
        ({"a": [1, 2], "b": {"low": 0.0, "high": 1.0, "step": 0.25}}, (10, 10)),
        ({"a": [1, 2], "b": {"choices": [1, 2, 3], "when": "a == 1"}}, (6, 4)),
        ({"a": [1, 2], "b": {"choices": [1, 2, 3], "when": "a == 3"}}, (6, 2)),
        ({"b": {"choices": [1, 2, 3], "when": "on"}, "on": False}, (3, 1)),
        ({"b": {"choices": [1, 2, 3], "when": "a == 1"}, "a": [1, 2], "constraints": {"c": "b != 2"}}, (6, 3)),
        # a constraint that cannot be computed refuses the cell
        ({"a": [0, 1, 2], "constraints": {"c": "6 % a == 0"}}, (3, 2)),
    ],
)
def test_sizes(raw: dict[str, object], expected: tuple[int | None, int | None]) -> None:
    assert counted(make(raw)) == expected


def test_free_parameters_are_multiplied_and_not_walked_through() -> None:
    raw: dict[str, object] = {f"free{i}": list(range(10)) for i in range(200)}
    raw |= {"a": [1, 2, 3], "b": [1, 2, 3], "constraints": {"c": "a < b"}}
    assert counted(make(raw)) == (9 * 10**200, 3 * 10**200)


def test_counting_gives_up_where_it_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_module, "MOST_STEPS", 1_000)
    monkeypatch.setattr(cells_module, "MOST_STEPS_TO_NONE", 1_000)
    raw: dict[str, object] = {name: list(range(20)) for name in "abcd"}
    raw["constraints"] = {"c": "a + b + c + d >= 0"}
    assert counted(make(raw)) == (160_000, None)
    never = make({**raw, "constraints": {"c": "a + b + c + d < 0"}})
    assert not is_empty(never)
    assert never_satisfied(never) == []
    assert at_least(never, 5) is None
    assert at_least(make(raw), 5) == 5


def test_counting_up_to_what_is_wanted() -> None:
    raw: dict[str, object] = {"a": [1, 2, 3], "b": [1, 2, 3], "constraints": {"c": "a < b"}}
    assert [at_least(make(raw), cells) for cells in (0, 2, 3, 4)] == [0, 2, 3, 3]
    assert at_least(make({"a": [1, 2], "b": 1, "constraints": {"c": "b > 1"}}), 4) == 0


def test_valid_cells_are_counted_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(space: Space) -> int:
        raise AssertionError("counted")

    monkeypatch.setattr(cells_module, "_count_valid", refuse)
    assert size(make({"a": [1, 2]})).all == 2


def test_derived_values_in_a_tower_do_not_take_forever() -> None:
    """Each is computed from the two before it: following every path would take 2**40 steps."""
    derived = {f"d{i}": f"d{i - 1} % 7 + d{i - 2} % 7" if i > 1 else "a + b" for i in range(40)}
    space = make({"a": [1, 2], "b": [1, 2], "derived": derived, "constraints": {"c": "d39 >= 0"}})
    assert counted(space) == (4, 4)


def test_hundreds_of_parameters_in_a_chain() -> None:
    raw: dict[str, object] = {"p0": [0, 1]}
    raw |= {f"p{i}": {"choices": [0, 1], "when": f"p{i - 1} == 1"} for i in range(1, 500)}
    assert counted(make(dict(reversed(raw.items()))))[1] == 501


def test_a_fixed_parameter_may_stand_in_a_projection() -> None:
    space = make({"a": [1, 2], "b": 7, "c": [3, 4], "constraints": {"k": "a + b != 9"}})
    assert list(projected_cells(space, ["b", "a"])) == [(7, 1)]
    assert list(projected_cells(pinned(space, {"a": 1}), ["a", "c"])) == [(1, 3), (1, 4)]


def test_values_that_are_equal_to_python_are_different_cells() -> None:
    space = Space(parameters=(Choices(name="x", values=(1, 1.0, True), ordered=False),))
    assert [repr(cell) for cell in projected_cells(space, ["x"])] == ["(1,)", "(1.0,)", "(True,)"]
    assert counted(space) == (3, 3)
    assert len({cell.key for cell in valid_cells(space)}) == 3


def test_a_projection_leaves_out_cells_that_nothing_completes() -> None:
    space = make({"d_model": [30, 32], "n_heads": [4, 8], "constraints": {"heads": "d_model % n_heads == 0"}})
    assert list(projected_cells(space, ["d_model"])) == [(32,)]


def test_a_projection_beside_a_continuous_parent_counts_its_children_as_active() -> None:
    space = make(
        {
            "lr": {"low": 0.0, "high": 1.0},
            "a": {"choices": [1, 2, 3], "when": "lr > 0.5"},
            "derived": {"fast": "lr > 0.5"},
            "b": {"choices": [1, 2], "when": "fast"},
            "constraints": {"c": "a != 2", "both": "a * lr < 9"},
        }
    )
    assert list(projected_cells(space, ["a", "b"])) == [(1, 1), (1, 2), (3, 1), (3, 2)]
    assert counted(space) == (None, None)


def test_the_users_count_is_asked_for_whole_configurations_only() -> None:
    asked: list[set[str]] = []

    def n_params(values: object) -> int:
        assert isinstance(values, dict)
        asked.append(set(values))
        return int(values["width"]) * int(values["depth"])

    raw = {"width": [1, 2, 3], "depth": [1, 2], "epochs": 5, "constraints": {"small": "n_params <= 3"}}
    space = Space(**{**vars_of(make(raw, with_n_params=True)), "n_params": n_params})
    assert counted(space) == (6, 4)
    assert len(list(valid_cells(space))) == 4
    assert list(projected_cells(space, ["width"])) == [(1,), (2,), (3,)]
    assert asked
    assert all(names == {"width", "depth", "epochs"} for names in asked)


def vars_of(space: Space) -> dict[str, object]:
    return {name: getattr(space, name) for name in ("parameters", "derived", "constraints")}


def test_a_count_that_fails_refuses_the_configuration() -> None:
    def n_params(values: object) -> int:
        raise RuntimeError("no such width")

    raw = {"width": [1, 2], "constraints": {"small": "n_params <= 3"}}
    space = Space(**{**vars_of(make(raw, with_n_params=True)), "n_params": n_params})
    reason = space.why_invalid(space.resolve({"width": 1}))
    assert reason is not None
    assert "RuntimeError: no such width" in reason


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # the continuous parameter cannot save what the others have lost
        ({"lr": {"low": 0.0, "high": 1.0}, "a": [1, 2], "constraints": {"c": "a > 1", "d": "a < 2"}}, True),
        ({"lr": {"low": 0.0, "high": 1.0}, "b": 1, "constraints": {"c": "b > 1"}}, True),
        # it may make 'a' inactive, and then nothing is broken
        ({"lr": {"low": 0.0, "high": 1.0}, "a": {"choices": [1, 2], "when": "lr > 2"}, "constraints": {"c": "a > 2"}},
         False),
        ({"lr": {"low": 0.0, "high": 1.0}, "a": [1, 2], "constraints": {"c": "a * lr > 2"}}, False),
        ({"a": [1, 2]}, False),
        ({}, False),
    ],
)  # fmt: skip
def test_emptiness_is_claimed_only_where_it_is_certain(raw: dict[str, object], expected: bool) -> None:
    assert is_empty(make(raw)) is expected


def test_pinned_fixes_searched_parameters_and_nothing_else() -> None:
    space = make({"a": {"choices": [1, 2], "when": "c"}, "b": [1, 2], "c": True})
    narrowed = pinned(space, {"a": 2, "c": False, "unknown": 1})
    assert narrowed.by_name["a"] == Fixed(name="a", value=2, when=space.by_name["a"].when)
    assert narrowed.by_name["c"] == space.by_name["c"]
    assert isinstance(narrowed.by_name["b"], Choices)


def test_some_values_are_all_where_they_are_few_and_ends_and_middle_where_not() -> None:
    space = make({"a": [1, 2, 3, 4], "lr": {"low": 0.0, "high": 1.0}, "b": {"low": 0, "high": 9, "when": "a > 3"}})
    assert [values["a"] for values in some_values(space, ["a"])] == [1, 2, 3, 4]
    assert {values["lr"] for values in some_values(space, ["lr", "a"])} == {0.0, 0.5, 1.0}
    assert {(values["a"], values["b"]) for values in some_values(space, ["b"])} == {(4, i) for i in range(10)}


def test_a_derived_value_that_cannot_be_computed_is_an_error_of_its_own() -> None:
    space = make({"a": [0, 1], "derived": {"d": "1 / a"}})
    with pytest.raises(ExpressionError, match="division by zero"):
        list(valid_cells(space))
