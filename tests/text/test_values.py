"""Messages stay short and on one line, whatever they are about."""

from __future__ import annotations

import pytest

from hpo_batch.text.names import listed, nearest
from hpo_batch.text.values import shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("abc", "'abc'"),
        ("a\nb", r"'a\nb'"),
        ("x" * 100, f"'{'x' * 60}'..."),
        (True, "true"),
        (1, "1"),
        (0.5, "0.5"),
        (2**70, "an integer of 71 bits"),
        ([1, "a"], "[1, 'a']"),
        ([[1]], "a nested list"),
        (list(range(9)), "[0, 1, 2, 3, 4, 5, ...]"),
        ({}, "an empty table"),
        ({"a": {}}, "a table"),
    ],
)
def test_values(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_integers_that_python_would_not_print() -> None:
    assert shown(10**5000) == "an integer of 16610 bits"


def test_deep_nesting_is_not_followed() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert shown(deep) == "a nested list"


def test_lists_of_names_are_cut() -> None:
    assert listed(["b", "a"]) == "b, a"
    assert listed([str(i) for i in range(32)]).endswith("28, 29, ... (2 more)")


def test_the_nearest_name() -> None:
    assert nearest("trails", ["trials", "name"]) == "trials"
    assert nearest("xyz", ["trials", "name"]) == ""
    many = [f"parameter_{i}" for i in range(5000)]
    assert nearest("parameter_4999x", many).startswith("parameter_")
    assert nearest("q" * 1000, many) == ""
