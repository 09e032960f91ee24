"""Numbers with the digits that their uncertainty allows, and names on one line."""

from __future__ import annotations

import math

import pytest

from hpo_batch.records import Estimate
from hpo_batch.text.lines import printable, short
from hpo_batch.text.numbers import interval, label, number, p_value


@pytest.mark.parametrize(
    ("value", "spread", "wanted"),
    [
        (0.717712, 0.0032, "0.7177"), (0.717712, 0.032, "0.718"), (1234.5, 120.0, "1234"), (0.5, None, "0.5"),
        (-0.2114, 0.01, "\N{MINUS SIGN}0.211"), (None, 0.1, "\N{EN DASH}"), (math.nan, 0.1, "\N{EN DASH}"),
        (math.inf, None, "\N{EN DASH}"), (8.7e7, 1.0, "8.7e+07"), (-1e-9, 0.1, "0.00"), (3.0, 0.0, "3"),
    ],
)  # fmt: skip
def test_digits_follow_the_uncertainty(value: float | None, spread: float | None, wanted: str) -> None:
    assert number(value, spread) == wanted


def test_intervals_and_p_values() -> None:
    assert interval(Estimate(value=0.71752, low=0.71692, high=0.71803, method="", n=5)) == "0.7175 [0.7169, 0.7180]"
    assert interval(Estimate(value=0.5, low=None, high=None, method="", n=1)) == "0.5"
    assert interval(None) == "\N{EN DASH}"
    assert [p_value(p) for p in (0.0001, 0.0402, 0.35, None)] == ["< 0.001", "0.040", "0.35", "\N{EN DASH}"]


def test_names() -> None:
    assert printable("a\x00b\u202ec\nd") == "a\\u0000b\\u202ec d"
    assert short("a" * 50 + "_end", 12).endswith("end")
    assert len(short("a" * 50, 12)) == 12
    assert [label(v) for v in (True, 1e-05, 64, "x", None)] == ["true", "1e-05", "64", "x", "\N{EN DASH}"]
