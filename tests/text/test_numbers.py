"""Numbers with the digits that their uncertainty allows, and names on one line."""

from __future__ import annotations

import itertools
import math

import pytest

from hpo_batch.records import Estimate
from hpo_batch.text.lines import printable, short
from hpo_batch.text.numbers import (
    NONE,
    count,
    decimals,
    duration,
    folded,
    hours,
    interval,
    label,
    number,
    p_value,
    percent,
    size_range,
    told_apart,
    unparted,
)


@pytest.mark.parametrize(
    ("value", "spread", "wanted"),
    [
        (0.717712, 0.0032, "0.7177"), (0.717712, 0.032, "0.718"), (1234.5, 120.0, "1234"), (0.5, None, "0.5"),
        (-0.2114, 0.01, "\N{MINUS SIGN}0.211"), (None, 0.1, "\N{EN DASH}"), (math.nan, 0.1, "\N{EN DASH}"),
        (math.inf, None, "\N{EN DASH}"), (8.7e7, 1.0, "87,000,000.0"), (-1e-9, 0.1, "0.00"), (3.0, 0.0, "3"),
    ],
)  # fmt: skip
def test_digits_follow_the_uncertainty(value: float | None, spread: float | None, wanted: str) -> None:
    assert number(value, spread) == wanted


def test_intervals_and_p_values() -> None:
    assert interval(Estimate(value=0.71752, low=0.71692, high=0.71803, method="", n=5)) == "0.7175 [0.7169, 0.7180]"
    assert interval(Estimate(value=0.5, low=None, high=None, method="", n=1)) == "0.5"
    assert interval(None) == "\N{EN DASH}"
    assert [p_value(p) for p in (0.0001, 0.0402, 0.35, None)] == ["< 0.001", "0.040", "0.35", "\N{EN DASH}"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.712345, 0.7], ["0.7123", "0.7"]),
        ([0.712345, 0.712349], ["0.712345", "0.712349"]),
        ([1e9 + 1, 1e9], ["1000000001", "1000000000"]),
        ([-2e-9, 2e-9], ["\N{MINUS SIGN}2e-9", "2e-9"]),
        ([0.5, 0.5], ["0.5", "0.5"]),
        ([], []),
    ],
)
def test_different_numbers_look_different(values: list[float], texts: list[str]) -> None:
    assert told_apart(values) == texts


def test_names() -> None:
    assert printable("a\x00b\u202ec\nd") == "a\\u0000b\\u202ec d"
    assert short("a" * 50 + "_end", 12).endswith("end")
    assert len(short("a" * 50, 12)) == 12
    assert [label(v) for v in (True, 1e-05, 64, "x", None)] == ["true", "1e-05", "64", "x", "\N{EN DASH}"]


@pytest.mark.parametrize(
    ("spread", "places"), [(None, None), (0.0, None), (math.inf, None), (0.013, 3), (0.5, 2), (20.0, 0), (1e-30, 12)]
)
def test_decimals(spread: float | None, places: int | None) -> None:
    assert decimals(spread) == places


def test_units() -> None:
    assert (percent(0.3468), percent(None)) == ("34.7 %", NONE)
    assert (hours(0.01), hours(1e-5), hours(0.0)) == ("36 s", "< 1 s", "0.0 h")
    assert (hours(0.5), hours(1.25), hours(1234.0), hours(None)) == ("30 min", "1.2 h", "1,234 h", NONE)
    assert (duration(90), duration(7200), duration(math.inf)) == ("90 s", "2.0 h", NONE)
    assert (duration(0), duration(0.01), duration(0.6)) == ("0 s", "< 1 s", "1 s")
    assert [count(1, "trial"), count(2, "trial"), count(1200, "study", "studies")] == [
        "1 trial", "2 trials", "1,200 studies",
    ]  # fmt: skip
    assert (size_range((1_200_000, 3_400_000)), size_range((512, 512))) == ("1.2 M to 3.4 M", "512")


USED = (
    "per trial 1.5 CPUs, up to 812 MB, GPU 93 % busy, up to 71 °C, the first report after 0.4 s; 12 h of 100 GPU hours"
)


@pytest.mark.parametrize("width", range(20, len(USED), 7))
def test_a_line_does_not_end_between_a_number_and_its_unit(width: int) -> None:
    lines = folded(USED, width)
    assert " ".join(lines) == USED
    assert max(map(len, lines)) <= width
    units = ("CPUs", "MB", "%", "°C", "s", "s;", "h", "GPU")
    assert not [line for before, line in itertools.pairwise(lines) if before[-1].isdigit() and line.split()[0] in units]


def test_only_units_stay_with_their_numbers() -> None:
    assert (
        unparted("0.4 s, 3 seeds, 12 %, 5 minutes, 1.2 M, p 0.05 so")
        == "0.4\xa0s, 3 seeds, 12\xa0%, 5 minutes, 1.2\xa0M, p 0.05 so"
    )
    assert folded("", 40) == []
