"""Which cells of a table are empty, and what the others are as plain values: decided once for all readers."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo_batch.results.cells import configuration_keys, is_empty, plain


@pytest.mark.parametrize(
    "cell",
    [None, float("nan"), np.float64("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN")],
)
def test_empty_cells(cell: Any) -> None:
    assert is_empty(cell)
    assert plain(cell) is None


@pytest.mark.parametrize("cell", [0, 0.0, False, "", "nan", float("inf"), [], [None], {}, np.array([np.nan, 1.0])])
def test_cells_that_hold_something(cell: Any) -> None:
    assert not is_empty(cell)


def test_plain_values() -> None:
    cells = (np.int64(3), np.float32(0.5), np.bool_(True), "x", 2**70, datetime.date(2026, 3, 1), [1])
    values = [plain(cell) for cell in cells]
    assert values == [3, 0.5, True, "x", 2**70, "2026-03-01", "[1]"]
    assert list(map(type, values)) == [int, float, bool, str, int, str, str]


def test_equal_numbers_of_other_types_are_other_configurations() -> None:
    frame = pd.DataFrame({"a": pd.Series([1, 1.0, True, None, float("nan")], dtype=object)})
    assert len(set(configuration_keys(frame, ["a"]))) == 4
