"""Convert cells of a file (texts of CSV, values of JSON and Parquet) to typed columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import pandas as pd

from hpo_batch.results.cells import is_empty

# texts of empty cells, in lower case; those of pandas:
# https://pandas.pydata.org/docs/reference/api/pandas.read_csv.html
EMPTY: Final = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nat"))
# longer numbers stay text; Python itself rejects more than 4,300 digits:
# https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation
MOST_DIGITS: Final = 1_000
_INTEGER: Final = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INFINITE: Final = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
# a code with leading zeros, such as a postal code, is not a number
_CODE: Final = re.compile(r"[+-]?0[0-9]")
_TRUTH: Final = {"true": True, "false": False}


def is_integer(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None


def column_of_texts(cells: Sequence[str]) -> pd.Series[Any]:
    """Integers, floats or booleans if all cells are such; else texts. Empty cells stay empty."""
    filled = {cell for cell in dict.fromkeys(cells) if cell.lower() not in EMPTY}
    if filled and all(len(cell) <= MOST_DIGITS for cell in filled):
        numbers = _column_of_numbers(cells, filled)
        if numbers is not None:
            return numbers
    lower = [cell.lower() for cell in cells]
    if filled and all(cell.lower() in _TRUTH for cell in filled):
        return pd.Series([_TRUTH.get(cell) for cell in lower], dtype="boolean")
    return pd.Series([None if low in EMPTY else cell for cell, low in zip(cells, lower, strict=True)], dtype=object)


def _column_of_numbers(cells: Sequence[str], filled: Iterable[str]) -> pd.Series[Any] | None:
    if all(map(is_integer, filled)):
        integers = {cell: int(cell) for cell in filled}
        if all(map(_fits_int64, integers.values())):
            return pd.Series([integers.get(cell) for cell in cells], dtype="Int64")
    if all(_NUMBER.fullmatch(cell) or _INFINITE.fullmatch(cell) for cell in filled):
        floats = {cell: float(cell) for cell in filled}
        if _distinct_as_floats(int(cell) for cell in filled if is_integer(cell)):
            return pd.Series([floats.get(cell, float("nan")) for cell in cells], dtype="float64")
    return None


def column_of_json(cells: Sequence[Any]) -> pd.Series[Any]:
    """Cells of JSON. Texts become numbers if all of them are: YAML 1.1 reads ``1e-2`` as text, for lack of a point."""
    if any(isinstance(cell, str) for cell in cells):
        texts = [_as_in_csv(cell) for cell in cells]
        if None not in texts and not any(_CODE.match(text or "") for text in texts):
            column = column_of_texts([text for text in texts if text is not None])
            if column.dtype != object:
                return column
    return column_of_values(cells)


def _as_in_csv(cell: Any) -> str | None:
    """The text that a CSV file would have; None for a list or an object."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bool):
        return str(cell).lower()
    return repr(cell) if isinstance(cell, int | float) else None


def column_of_values(cells: Sequence[Any]) -> pd.Series[Any]:
    """Cells of a format with types: kept, if they are scalars; lists and objects become their JSON."""
    # lists in a Parquet file come as arrays
    cells = [cell.tolist() if hasattr(cell, "tolist") else cell for cell in cells]
    cells = [None if is_empty(cell) else cell for cell in cells]
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {bool}:
        return pd.Series(cells, dtype="boolean")
    if kinds == {int} and all(cell is None or _fits_int64(cell) for cell in cells):
        return pd.Series(cells, dtype="Int64")
    if kinds and kinds <= {int, float} and _distinct_as_floats(cell for cell in cells if type(cell) is int):
        return pd.Series([float("nan") if cell is None else float(cell) for cell in cells], dtype="float64")
    if kinds == {int}:
        return pd.Series([None if cell is None else str(cell) for cell in cells], dtype=object)
    return pd.Series(
        [json.dumps(cell, default=str) if isinstance(cell, list | dict) else cell for cell in cells], dtype=object
    )


def _fits_int64(number: int) -> bool:
    return abs(number) < 2**63


def _distinct_as_floats(integers: Iterable[int]) -> bool:
    """Whether integers of any size stay distinct as floats: identifiers beyond 2**53 may not."""
    different = set(integers)
    if max(map(abs, different), default=0) >= 2**1023:  # float() would overflow
        return False
    return len({float(number) for number in different}) == len(different)
