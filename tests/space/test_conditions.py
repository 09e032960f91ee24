"""The order in which names are decided, and what depends on itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_batch.space.conditions import Cycle, decision_order


@given(st.permutations(range(6)), st.data())
def test_parents_come_first_whatever_the_order_in_the_file(rank: list[int], data: st.DataObject) -> None:
    parents = {f"p{n}": [f"p{other}" for other in rank[: rank.index(n)] if data.draw(st.booleans())] for n in range(6)}
    order = decision_order(parents)
    assert sorted(order) == sorted(parents)
    assert all(order.index(parent) < order.index(name) for name, its in parents.items() for parent in its)


def test_names_without_parents_keep_the_order_of_the_file() -> None:
    assert decision_order({"b": [], "a": [], "c": []}) == ("b", "a", "c")
    assert decision_order({"child": ["late"], "a": [], "late": [], "z": []}) == ("a", "late", "child", "z")


def test_unknown_parents_are_ignored() -> None:
    assert decision_order({"a": ["nowhere"]}) == ("a",)


@pytest.mark.parametrize(
    ("parents", "circles"),
    [
        ({"a": ["a"]}, (("a",),)),
        ({"a": ["b"], "b": ["a"]}, (("a", "b"),)),
        ({"x": [], "outside": ["b"], "b": ["c"], "c": ["b", "x"]}, (("b", "c"),)),
        ({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}, (("a", "b"), ("c", "d"))),
        ({"c": ["a"], "a": ["b"], "b": ["c"]}, (("c", "a", "b"),)),
    ],
)
def test_circles_are_named(parents: dict[str, list[str]], circles: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(Cycle) as raised:
        decision_order(parents)
    assert raised.value.cycles == circles


def test_a_circle_reads_as_a_chain() -> None:
    with pytest.raises(Cycle, match=r"^a -> b -> a$"):
        decision_order({"a": ["b"], "b": ["a"]})
