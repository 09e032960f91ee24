"""Numbers with the digits that their uncertainty allows, and their units."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hpo_batch.records import Estimate, Value
from hpo_batch.text.numbers import (
    NONE,
    count,
    decimals,
    duration,
    hours,
    interval,
    label,
    number,
    p_value,
    percent,
    size_range,
)

MINUS = "\N{MINUS SIGN}"
MADE: dict[str, Any] = {"method": "bootstrap", "n": 9}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, NONE), (True, "true"), (64, "64"), (1e-05, "1e-05"), (0.1 + 0.2, "0.3"), ("a\nb", "a b")],
)
def test_labels(value: Value | None, text: str) -> None:
    assert label(value) == text


@pytest.mark.parametrize(
    ("spread", "places"), [(None, None), (0.0, None), (math.inf, None), (0.013, 3), (0.5, 2), (20.0, 0), (1e-30, 12)]
)
def test_decimals(spread: float | None, places: int | None) -> None:
    assert decimals(spread) == places


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (0.71234, 0.013, "0.712"),
        (0.71234, None, "0.7123"),
        (-0.5, None, f"{MINUS}0.5"),
        (-0.0001, 0.1, "0.00"),  # no zero with a sign
        (None, 0.1, NONE),
        (math.nan, 0.1, NONE),
        (1.5e8, 0.1, "1.5e+08"),
    ],
)
def test_numbers_have_the_digits_of_their_uncertainty(value: float | None, spread: float | None, text: str) -> None:
    assert number(value, spread) == text


def test_intervals() -> None:
    assert interval(None) == NONE
    assert interval(Estimate(value=0.71749, low=0.71694, high=0.71802, **MADE)) == "0.7175 [0.7169, 0.7180]"
    assert interval(Estimate(value=0.712, low=0.699, high=0.725, **MADE)) == "0.712 [0.699, 0.725]"
    assert interval(Estimate(value=0.712, low=None, high=None, **MADE), 0.1) == "0.71"


@pytest.mark.parametrize(
    ("p", "text"), [(None, NONE), (math.nan, NONE), (0.0001, "< 0.001"), (0.0432, "0.043"), (0.512, "0.51")]
)
def test_p_values(p: float | None, text: str) -> None:
    assert p_value(p) == text


def test_units() -> None:
    assert percent(0.3468) == "34.7 %"
    assert percent(None) == NONE
    assert (hours(0.5), hours(1.25), hours(1234.0), hours(None)) == ("30 min", "1.2 h", "1,234 h", NONE)
    assert (duration(90), duration(7200), duration(math.inf)) == ("90 s", "2.0 h", NONE)
    assert (count(1, "trial"), count(2, "trial"), count(1200, "study", "studies")) == (
        "1 trial",
        "2 trials",
        "1,200 studies",
    )
    assert size_range((1_200_000, 3_400_000)) == "1.2 M to 3.4 M"
    assert size_range((512, 512)) == "512"
