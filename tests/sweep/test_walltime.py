"""Durations in SLURM's spellings."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_batch.errors import UserError
from hpo_batch.sweep.walltime import format_walltime, parse_walltime


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("240", 14400),
        ("90:30", 5430),
        ("4:00:00", 14400),
        ("04:00:00", 14400),
        ("0:00:01", 1),
        ("100:00:00", 360000),
        ("1-0", 86400),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("2-03:04:05", 183845),
        ("0-1", 3600),
        (" 4:00:00 ", 14400),
        (datetime.time(4, 30, 15), 16215),
        (datetime.time(4, 0, 0, 500), 14400),
    ],
)
def test_spellings(text: object, seconds: float) -> None:
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "4h",
        "4:",
        ":30",
        "1:2:3:4",
        "-5",
        "1-",
        "1-2:3:4:5",
        "1.5",
        "1e3",
        "9" * 5000,
        "1-" + "9" * 5000,
        "4\n5",
    ],
    ids=lambda text: text[:10],
)
def test_other_spellings_are_refused_with_those_that_are_allowed(text: str) -> None:
    with pytest.raises(UserError, match='is not a duration; allowed: "minutes", "minutes:seconds"') as raised:
        parse_walltime(text)
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize("value", [240, 1.5, True, None, [1], datetime.date(2024, 1, 1)], ids=str)
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(UserError, match='a duration is written in quotes, for example "4:00:00", not '):
        parse_walltime(value)


@pytest.mark.parametrize("text", ["0", "0:00:00", "0-0", "3650-0", "999999999", datetime.time(0)], ids=str)
def test_nothing_and_ten_years_are_refused(text: object) -> None:
    with pytest.raises(UserError, match="must be above zero and below ten years"):
        parse_walltime(text)


@given(st.integers(1, 10 * 365 * 86400 - 1))
def test_what_is_printed_is_read_back(seconds: int) -> None:
    assert parse_walltime(format_walltime(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(59, "0:00:59"), (3600, "1:00:00"), (86399.6, "1-0:00:00"), (183845, "2-3:04:05")]
)
def test_printed_as_slurm_does(seconds: float, text: str) -> None:
    assert format_walltime(seconds) == text
