"""A table as CSV, byte for byte as ``DataFrame.to_csv`` writes it, in a third of the time: by column, not by cell.

100,000 trials with 28 columns (28 MB) take 0.75 s of CPU here and 2.1 s with ``to_csv``, which also requires
importing pandas (0.5 s) and building the frame (0.2 s); columns of plain values need neither. Numbers are written as
Python's ``repr``, which restores the same float. pyarrow's writer turns 1.0 into 1 and quotes every text.
"""

from __future__ import annotations

import datetime
import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from hpo_batch.records import Counts
from hpo_batch.results.study_columns import replayed, study_columns

if TYPE_CHECKING:
    import pandas as pd

_SECOND = 1_000_000_000
_DAY = 86_400 * _SECOND
_SPECIAL = re.compile('[",\r\n]')
# marks of numbers that JSON writes differently from Python: very large or small, infinite, missing
_ODD = ("e", "null", ",0.0000", ",-0.0000")
# pandas writes a column of whole days without a time
_MIDNIGHT = datetime.time()


def csv_of(frame: pd.DataFrame) -> bytes:
    """The frame without its index; missing values are empty cells."""
    return _joined(list(map(str, frame.columns)), [_texts(frame.iloc[:, i]) for i in range(len(frame.columns))])


def csv_of_study(journal: Path) -> tuple[Counts, bytes]:
    """All trials of a study, and how many there are.

    Raises:
        StorageError: the journal holds no study, or cannot be read.
    """
    state = replayed(journal, reports=False)
    return state.counts(), csv_of_columns(study_columns(state).columns)


def csv_of_columns(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """The same as ``csv_of(frame_of(columns))``."""
    return _joined(list(columns), [_plain_texts(name, values) for name, values in columns.items()])


def _joined(names: Sequence[str], columns: Sequence[Sequence[str]]) -> bytes:
    rows = map(",".join, zip(*columns, strict=True))
    return "\n".join((",".join(map(_quoted, names)), *rows, "")).encode(errors="backslashreplace")


def _plain_texts(name: str, values: Sequence[Any]) -> Sequence[str]:
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return [""] * len(values)
    if name in ("datetime_start", "datetime_complete"):
        return _plain_times(name, values)
    if name == "duration":
        return _plain_spans(name, values)
    if kinds == {float}:
        return _reals(values)
    if kinds == {int, float}:
        return _reals([None if value is None else float(value) for value in values])
    return _cells(values)


def _reals(values: Sequence[float | None]) -> list[str]:
    """As ``repr`` writes them, at a sixth of its cost."""
    text = "," + msgspec.json.encode(values)[1:-1].decode()
    texts = text.split(",")[1:] if values else []
    for odd in _ODD:
        place, last, at = -1, 0, text.find(odd)
        while at >= 0:
            place += text.count(",", last, at + 1)
            texts[place] = _cell(values[place])
            last, at = at + 1, text.find(odd, at + 1)
    return texts


def _plain_times(name: str, values: Sequence[datetime.datetime | None]) -> Sequence[str]:
    """With as many digits of the second as any of them needs: 0, 3 or 6."""
    there = [value for value in values if value is not None]
    if all(value.time() == _MIDNIGHT for value in there):
        return _texts_of_frame(name, values)  # pandas writes days differently
    fractions = {value.microsecond for value in there}
    digits = "seconds" if fractions == {0} else "microseconds" if any(us % 1000 for us in fractions) else "milliseconds"
    return ["" if value is None else value.isoformat(" ", digits) for value in values]


def _plain_spans(name: str, values: Sequence[float | None]) -> Sequence[str]:
    there = [_nanoseconds(value) for value in values if value is not None]
    if min(there) < 0 or all(ns % _DAY == 0 for ns in there):
        return _texts_of_frame(name, values)
    digits = _digits(there)
    texts = (_span(ns, digits) for ns in there)
    return ["" if value is None else next(texts) for value in values]


def _nanoseconds(seconds: float) -> int:
    """As ``pandas.to_timedelta`` rounds."""
    whole = int(seconds)
    return whole * _SECOND + int(round((seconds - whole) * 1e9) / 1e9 * 1e9)


def _digits(spans: Sequence[int]) -> int:
    return 9 if any(ns % 1_000 for ns in spans) else 6 if any(ns % _SECOND for ns in spans) else 0


def _texts_of_frame(name: str, values: Sequence[Any]) -> list[str]:
    from hpo_batch.results.table import frame_of

    return _texts(frame_of({name: values})[name])


def _texts(column: pd.Series[Any]) -> list[str]:
    import pandas as pd

    if pd.api.types.is_float_dtype(column):
        return _reals(column.astype(float).tolist())
    if pd.api.types.is_timedelta64_dtype(column):
        return _spans(column)
    if pd.api.types.is_datetime64_any_dtype(column):
        return _blanked(column)
    return _cells(column.astype(object).where(column.notna(), None).tolist())


def _cells(values: Sequence[Any]) -> list[str]:
    kinds = set(map(type, values)) - {type(None)}
    # names, states and reasons are repeated thousands of times: quote each once
    if kinds == {str}:
        known = {value: _cell(value) for value in set(values)}
        return [known[value] for value in values]
    if kinds == {int}:
        return ["" if value is None else str(value) for value in values]
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text


def _blanked(column: pd.Series[Any]) -> list[str]:
    """As pandas writes them; empty if missing."""
    texts = column.astype(str).tolist()
    return [text if there else "" for text, there in zip(texts, column.notna().tolist(), strict=True)]


def _spans(column: pd.Series[Any]) -> list[str]:
    """Durations as ``0 days 00:00:01``, with as many digits of the second as any of them needs: 0, 6 or 9."""
    there = column.notna()
    spans = column[there].astype("timedelta64[ns]").to_numpy().astype("int64")
    if (spans < 0).any() or (spans % _DAY == 0).all():
        return _blanked(column)  # pandas writes these differently
    digits = _digits(spans.tolist())
    texts = (_span(ns, digits) for ns in spans.tolist())
    return [next(texts) if is_there else "" for is_there in there.tolist()]


def _span(ns: int, digits: int) -> str:
    days, ns = divmod(ns, _DAY)
    seconds, ns = divmod(ns, _SECOND)
    fraction = f".{ns:09}"[: digits + 1] if digits else ""
    return f"{days} days {_clock(seconds)}{fraction}"


@functools.cache
def _clock(seconds: int) -> str:
    """A time of day; cached, as there are only 86,400."""
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
