"""Suggestions for names, and lists of them."""

from __future__ import annotations

import time

import pytest

from hpo_batch.text.names import MOST_COMPARED, MOST_LISTED, did_you_mean, listed, nearest
from hpo_batch.text.values import LONGEST


def test_a_list_keeps_its_order_and_is_cut() -> None:
    assert listed(["b", "a"]) == "b, a"
    assert listed([]) == ""
    assert listed(range(MOST_LISTED)) == ", ".join(map(str, range(MOST_LISTED)))
    assert listed("abcde", most=2) == "a, b, ... (3 more)"


@pytest.mark.parametrize(
    ("name", "guess"),
    [("lrr", "lr"), ("d_modle", "d_model"), ("Dropout", "dropout"), ("zzz", ""), ("", ""), ("d_model" * 20, "")],
)
def test_the_nearest_name(name: str, guess: str) -> None:
    assert nearest(name, ["lr", "d_model", "dropout"]) == guess


def test_a_suggestion_or_what_else_to_say() -> None:
    assert did_you_mean("lrr", {"lr": 1}) == "; did you mean 'lr'?"
    assert did_you_mean("zzz", {"lr": 1}) == ""
    assert did_you_mean("zzz", {"lr": 1}, otherwise="; known is lr") == "; known is lr"


def test_among_thousands_only_names_that_begin_alike_are_compared() -> None:
    many = [f"{letter}{i:04}" for letter in "abcdefghij" for i in range(1_000)]
    started = time.process_time()
    assert nearest("c00055", many) == "c0055"
    assert nearest("x" * (2 * LONGEST), many) == ""
    assert time.process_time() - started < 1
    assert len(many) > MOST_COMPARED
