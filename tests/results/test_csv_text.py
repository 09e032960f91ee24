"""Our CSV is pandas' CSV, to the letter."""

from __future__ import annotations

import datetime
import io
import random
import struct
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_batch.results.csv_text import csv_of, csv_of_columns
from hpo_batch.results.table import frame_of


def floats() -> list[float | None]:
    rng = random.Random(0)
    patterns = [struct.unpack("<d", rng.randbytes(8))[0] for _ in range(2000)]
    return [0.1, 1.0, -0.0, 1e-05, 1e16, 123456789012.0, float("inf"), float("nan"), None, 5e-324, *patterns]


def test_every_kind_of_column() -> None:
    values = floats()
    n = len(values)
    texts = ['a,"b"', "two\nlines", "", None, " blank ", "é", "1"]
    frame = pd.DataFrame(
        {
            'a "name", with\ncommas': range(n),
            "float": pd.Series(values, dtype="float64"),
            "integer": pd.Series([None, *range(n - 1)], dtype="Int64"),
            "truth": pd.Series([True, False, None] * n, dtype="boolean")[:n],
            "text": pd.Series(texts * n, dtype=object)[:n],
            "mixed": pd.Series([1, 1.0, True, "1", None, 0.1] * n, dtype=object)[:n],
            "nothing": pd.Series([None] * n, dtype=object),
            "time": pd.to_datetime(
                pd.Series(["2026-01-02 03:04:05.678901", None, "1999-12-31"] * n)[:n], format="ISO8601"
            ),
            "span": pd.to_timedelta(pd.Series([1.5, None, 90061.000001, 0.0] * n)[:n], unit="s"),
            "fine": pd.to_timedelta(pd.Series([0.123456789, None, 3.0] * n)[:n], unit="s"),
            "whole": pd.to_timedelta(pd.Series([3, 90061] * n)[:n], unit="s"),
            "days": pd.to_timedelta(pd.Series([1, 2] * n)[:n], unit="D"),
            "negative": pd.to_timedelta(pd.Series([-1.5, 2.25] * n)[:n], unit="s"),
        }
    )
    assert csv_of(frame).decode() == frame.to_csv(index=False)
    back = pd.read_csv(io.BytesIO(csv_of(frame)))
    assert back["float"].dropna().tolist() == [v for v in values if v is not None and v == v]


def test_nothing_at_all() -> None:
    frame = pd.DataFrame({"a": pd.Series([], dtype="float64"), "b": pd.Series([], dtype="timedelta64[us]")})
    assert csv_of(frame).decode() == frame.to_csv(index=False) == "a,b\n"


def same(columns: dict[str, list[Any]]) -> None:
    columns = {"number": list(range(len(next(iter(columns.values()))))), **columns}
    frame = frame_of(columns)
    assert csv_of_columns(columns).decode() == csv_of(frame).decode() == frame.to_csv(index=False)


def test_columns_need_no_frame() -> None:
    values = floats()
    n = len(values)
    same(
        {
            "value": values,
            "params_a": [0.00002, 3, None, 1e22][:n] * (n // 4) + [None] * (n % 4),
            "params_b": [1, None] * (n // 2) + [2] * (n % 2),
            "params_c": [True, None] * (n // 2) + [False] * (n % 2),
            "params_d": [True, 1, 1.0, "1", None, 'a,"b"', float("nan")] * (n // 7) + [None] * (n % 7),
            "params_e": ["two\nlines", "", "é", None] * (n // 4) + ["x"] * (n % 4),
            "note": [None] * n,
        }
    )
    same({"value": [], "datetime_start": [], "duration": []})


@given(st.lists(st.floats() | st.none()))
def test_reals_as_columns(values: list[float | None]) -> None:
    same({"value": values})


@given(st.lists(st.none() | st.floats(-1e5, 1e9), min_size=1))
def test_durations_as_columns(values: list[float | None]) -> None:
    same({"duration": values})
    same({"duration": [None if value is None else abs(value) for value in values]})
    same({"duration": [None if value is None else round(value) for value in values]})


@pytest.mark.parametrize("unit", [86_400_000_000, 3_600_000_000, 1_000_000, 1_000, 1])
@given(counts=st.lists(st.none() | st.integers(0, 20_000)))
def test_times_as_columns(unit: int, counts: list[int | None]) -> None:
    first = datetime.datetime(2026, 1, 2)
    times = [None if n is None else first + datetime.timedelta(microseconds=unit * n) for n in counts]
    same({"datetime_start": times, "datetime_complete": times})
