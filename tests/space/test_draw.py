"""Values by their place between 0 and 1, what is always active, and an order of cells that has all levels early."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_batch.space.balanced_order import evenly, levels_of
from hpo_batch.space.cells import drawable, expected_distinct, size, valid_cells
from hpo_batch.space.draw import always_active, at_random, value_at
from tests.space.spaces import Drawn, drawn_spaces, make

KINDS = make(
    {
        "a": ["x", "y", "z"],
        "b": {"low": 3, "high": 11, "step": 4},
        "c": {"low": 1, "high": 1000, "log": True},
        "d": {"low": -0.5, "high": 0.5, "step": 0.1},
        "e": {"low": 1e-6, "high": 1e2, "log": True},
        "f": {"low": -1.7e308, "high": 1.7e308},
        "g": {"low": -(2**53), "high": 2**53},
    }
)


@given(share=st.floats(0, 1, exclude_max=True), seed=st.integers(0, 2**32))
def test_every_place_has_a_value_in_the_space(share: float, seed: int) -> None:
    for parameter in KINDS.searched:
        value = value_at(parameter, share)
        assert parameter.why_outside(value) is None
        assert type(value) is type(parameter.normalise(value))
    assert KINDS.why_invalid(at_random(KINDS, random.Random(seed))) is None


def test_places_are_equal_parts() -> None:
    counts = {p.name: Counter(value_at(p, i / 3300) for i in range(3300)) for p in KINDS.searched}
    assert set(counts["a"].values()) == set(counts["b"].values()) == {1100}
    assert set(counts["d"].values()) == {300}
    assert counts["c"][1] > 3 * counts["c"][4] > 0


def test_what_is_always_active() -> None:
    space = make(
        {
            "on": True,
            "kind": ["a", "b"],
            "one": [1],
            "always": {"low": 0.0, "high": 1.0, "when": "on"},
            "never": {"low": 0.0, "high": 1.0, "when": "not on"},
            "grandchild": {"low": 0.0, "high": 1.0, "when": "always > 0.5"},
            "sometimes": {"choices": [1, 2], "when": "kind == 'a'"},
        }
    )
    assert [parameter.name for parameter in always_active(space)] == ["kind", "always"]


@given(drawn=drawn_spaces())
def test_an_even_order_has_each_cell_once_and_all_levels_early(drawn: Drawn) -> None:
    cells = list(valid_cells(drawn.space))
    order = list(evenly(cells, seed=1))
    assert Counter(cell.key for cell in order) == Counter(cell.key for cell in cells)
    levels = {level for cell in cells for level in levels_of(cell)}
    first = order[: len(levels)]
    assert {level for cell in first for level in levels_of(cell)} == levels
    if cells:
        taken = cells[len(cells) // 2]
        rest = list(evenly(cells, seed=1, taken=[taken]))
        assert {cell.key for cell in rest} == {cell.key for cell in cells} - {taken.key}


def test_expected_distinct() -> None:
    assert expected_distinct(50, 75) == pytest.approx(36.66, abs=0.01)
    assert expected_distinct(1, 10**9) == pytest.approx(1)
    assert [expected_distinct(n, 1) for n in (0, 1, 5)] == [0.0, 1.0, 1.0]


def test_choices_of_weight_0_are_not_drawable() -> None:
    space = make({"k": {"choices": ["a", "b", "c"], "weights": [1, 0, 2]}, "n": [1, 2]})
    assert (size(space).valid, size(drawable(space)).valid) == (6, 4)
