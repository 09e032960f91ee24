"""What a set of values means in a space: the configuration, its identity, and what is against it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo_batch.errors import UserError
from hpo_batch.records import Value
from hpo_batch.space.parameters import Choices
from hpo_batch.space.space import Space
from tests.space.spaces import Drawn, drawn_spaces, make, typed

VISUAL = {
    "temperature": {"low": 1.0, "high": 30.0, "when": "use_cosine"},
    "depth": {"low": 3, "high": 10, "when": "encoder == 'cnn'"},
    "encoder": ["cnn", "context"],
    "heads": {"choices": [4, 8], "when": "encoder == 'context'"},
    "use_cosine": [True, False],
    "epochs": 20,
    "derived": {"width": "heads * 16"},
    "constraints": {"deep": "depth * temperature < 100"},
}


@settings(deadline=None, max_examples=200)
@given(drawn_spaces(), st.data())
def test_resolve_gives_what_is_active_and_nothing_else(drawn: Drawn, data: st.DataObject) -> None:
    space = drawn.space
    chosen = data.draw(st.sampled_from(drawn.combinations()))
    configuration = space.resolve(chosen)
    active = drawn.active(chosen)
    assert typed(configuration.values) == typed(active)
    assert configuration.searched.keys() == {name for name in active if name in drawn.cells}
    assert configuration.fixed.keys() == {name for name in active if name in drawn.fixed}
    assert (space.why_invalid(configuration) is None) == drawn.is_valid(active)
    # and again, from what came out of it
    again = space.resolve({**configuration.searched, **configuration.fixed}, strict=True)
    assert again == configuration
    assert again.key == configuration.key


@settings(deadline=None, max_examples=100)
@given(drawn_spaces(), st.data())
def test_the_key_knows_neither_order_nor_spelling(drawn: Drawn, data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(drawn.combinations()))
    other = Drawn(**{**vars(drawn), "order": tuple(reversed(drawn.order))})
    spelt = {name: float(value) if type(value) is int else value for name, value in reversed(chosen.items())}
    assert other.space.resolve(spelt).key == drawn.space.resolve(chosen).key


@settings(deadline=None, max_examples=100)
@given(drawn_spaces())
def test_different_configurations_have_different_keys(drawn: Drawn) -> None:
    space = drawn.space
    keys: dict[str, frozenset[tuple[str, str, Value]]] = {}
    for chosen in drawn.combinations():
        configuration = space.resolve(chosen)
        trained = typed({**configuration.fixed, **configuration.searched})
        assert keys.setdefault(configuration.key, trained) == trained


def test_equal_numbers_of_different_types_are_different_choices() -> None:
    space = Space(parameters=(Choices(name="x", values=(1, 1.0, True), ordered=False),))
    assert len({space.resolve({"x": value}).key for value in (1, 1.0, True)}) == 3


def test_a_child_may_stand_before_its_parent() -> None:
    space = make(VISUAL)
    values = {"encoder": "cnn", "use_cosine": False, "depth": 4.0, "temperature": 2.0, "heads": 4}
    configuration = space.resolve(values)
    assert configuration.values == {"epochs": 20, "encoder": "cnn", "use_cosine": False, "depth": 4}
    assert list(configuration.searched) == ["depth", "encoder", "use_cosine"]
    assert space.resolve({"encoder": "context", "use_cosine": True, "temperature": 2, "heads": 8}).derived == {
        "width": 128
    }


def test_the_child_of_an_inactive_parent_is_inactive() -> None:
    space = make({"a": [1, 2], "b": {"choices": [1, 2], "when": "a > 1"}, "c": {"choices": [1, 2], "when": "b != 5"}})
    assert space.resolve({"a": 1, "b": 1, "c": 1}).values == {"a": 1}


def test_a_fixed_parent_decides_as_a_searched_one() -> None:
    raw = {"child": {"choices": [1, 2], "when": "on"}, "on": True}
    assert make(raw).resolve({"child": 2}).searched == {"child": 2}
    assert make({**raw, "on": False}).resolve({"child": 2}).searched == {}
    # a trial given by hand may switch it
    assert make({**raw, "on": False}).resolve({"child": 2, "on": True}).values == {"on": True, "child": 2}


@pytest.mark.parametrize(("fixed", "given", "expected"), [(1, True, "True"), (1, 2.5, "2.5"), (1.0, 3, "3.0")])
def test_a_trial_by_hand_may_change_what_is_fixed(fixed: Value, given: Value, expected: str) -> None:
    space = make({"x": fixed, "y": [1, 2]})
    assert repr(space.resolve({"x": given, "y": 1}).fixed["x"]) == expected
    assert repr(space.resolve({"y": 1}).fixed["x"]) == repr(fixed)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_cosine": False, "depth": 4}, "no value for parameter 'encoder'"),
        ({"encoder": "cnn", "use_cosine": False, "depth": 4, "heads": 4}, "parameter 'heads' is not active"),
        ({"encoder": "cnn", "use_cosine": False, "depth": 4, "detph": 4}, r"parameter 'detph' is not in \[space\]"),
        (
            {"encoder": "context", "use_cosine": False, "heads": 4, "width": 64},
            "parameter 'width' is derived from others",
        ),
    ],
)
def test_what_strict_refuses(values: Mapping[str, Value], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(VISUAL).resolve(values, strict=True)


def test_why_a_configuration_is_invalid() -> None:
    space = make(VISUAL)
    deep = {"encoder": "cnn", "use_cosine": True, "temperature": 20.0, "depth": 9}
    assert space.why_invalid(space.resolve(deep)) == "constraint 'deep' (depth * temperature < 100) does not hold"
    outside = space.resolve({**deep, "temperature": 31.0, "depth": 3})
    assert space.why_invalid(outside) == "'temperature' is not between 1.0 and 30.0"
    assert space.why_invalid(outside, bounds=False) is None
    assert space.why_invalid(space.resolve({**deep, "depth": 4})) is None


def test_a_constraint_on_what_is_inactive_does_not_apply() -> None:
    space = make(VISUAL)
    assert space.why_constrained({"depth": 9}) is None
    assert space.why_constrained({"depth": 9, "temperature": 30.0}) is not None


def test_a_constraint_that_cannot_be_computed_says_why() -> None:
    space = make({"a": [0, 1], "constraints": {"c": "1 / a > 0"}})
    assert "division by zero" in str(space.why_invalid(space.resolve({"a": 0})))


def test_n_params_counts_only_where_the_constraint_applies() -> None:
    def n_params(values: Mapping[str, Value]) -> int:
        return int(values["a"]) * 10

    space = make({"a": [1, 2], "constraints": {"c": "n_params < 15", "d": "n_params < 5 and gone"}, "gone": {
        "value": True, "when": "a > 5"}}, with_n_params=True)  # fmt: skip
    assert space.why_invalid(space.resolve({"a": 2})) is None
    counting = Space(
        parameters=space.parameters, derived=space.derived, constraints=space.constraints, n_params=n_params
    )
    assert counting.why_invalid(counting.resolve({"a": 1})) is None
    assert counting.why_invalid(counting.resolve({"a": 2})) == "constraint 'c' (n_params < 15) does not hold"
    assert counting == space


def test_decide_asks_for_active_parameters_once_parents_first() -> None:
    asked: list[str] = []

    def value_of(parameter: object) -> Value:
        assert hasattr(parameter, "low")
        asked.append(parameter.name)  # type: ignore[attr-defined]
        return parameter.low

    configuration = make(VISUAL).decide(value_of)
    assert asked == ["encoder", "depth", "use_cosine", "temperature"]
    assert configuration.searched == {"temperature": 1.0, "depth": 3, "encoder": "cnn", "use_cosine": True}
