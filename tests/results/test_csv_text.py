"""Our CSV is pandas' CSV, to the letter."""

from __future__ import annotations

import io
import random
import struct

import pandas as pd

from hpo_batch.results.csv_text import csv_of


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
