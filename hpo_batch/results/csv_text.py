"""A frame as CSV, to the letter what ``DataFrame.to_csv`` writes, in half its time: by column, not by cell.

Numbers are Python's ``repr``, which gives back the same float. pyarrow's writer is no way: it turns 1.0 into 1, and
puts every text in quotes.
"""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND
_SPECIAL = re.compile('[",\r\n]')


def csv_of(frame: pd.DataFrame) -> bytes:
    """The frame without its index; empty cells for what is missing."""
    head = ",".join(_quoted(str(name)) for name in frame.columns)
    columns = [_texts(frame.iloc[:, i]) for i in range(len(frame.columns))]
    rows = map(",".join, zip(*columns, strict=True))
    return "\n".join((head, *rows, "")).encode()


def _texts(column: pd.Series[Any]) -> list[str]:
    if pd.api.types.is_bool_dtype(column):
        return [_cell(value) for value in column.tolist()]
    if pd.api.types.is_integer_dtype(column):
        return ["" if value is pd.NA else str(value) for value in column.tolist()]
    if pd.api.types.is_float_dtype(column):
        return ["" if value != value else repr(value) for value in column.astype(float).tolist()]
    if pd.api.types.is_timedelta64_dtype(column):
        return _spans(column)
    if pd.api.types.is_datetime64_any_dtype(column):
        return _blanked(column)
    known: dict[str, str] = {}  # most texts come again and again
    cells = []
    for value in column.tolist():
        if type(value) is str:
            text = known.get(value)
            if text is None:
                text = known[value] = _quoted(value)
            cells.append(text)
        else:
            cells.append(_cell(value))
    return cells


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text


def _blanked(column: pd.Series[Any]) -> list[str]:
    """As pandas has them as text; empty where there is nothing."""
    texts = column.astype(str).tolist()
    return [text if there else "" for text, there in zip(texts, column.notna().tolist(), strict=True)]


def _spans(column: pd.Series[Any]) -> list[str]:
    """Durations as ``0 days 00:00:01``, with as many digits of the second as any of them needs: 0, 6 or 9."""
    there = column.notna()
    spans = column[there].astype("timedelta64[ns]").to_numpy().astype("int64")
    if (spans < 0).any() or (spans % _DAY == 0).all():
        return _blanked(column)  # pandas has other forms for these
    digits = 9 if (spans % 1_000).any() else 6 if (spans % _SECOND).any() else 0
    texts = (_span(ns, digits) for ns in spans.tolist())
    return [next(texts) if is_there else "" for is_there in there.tolist()]


def _span(ns: int, digits: int) -> str:
    days, ns = divmod(ns, _DAY)
    seconds, ns = divmod(ns, _SECOND)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{ns:09}"[: digits + 1] if digits else ""
    return f"{days} days {hours:02}:{minutes:02}:{seconds:02}{fraction}"
