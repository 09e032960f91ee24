"""A frame as text or bytes: ``table``, ``md``, ``latex`` for people; ``csv``, ``json``, ``parquet`` for programs."""

from __future__ import annotations

import importlib
import io
import json
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import tabulate

from hpo_batch.results.cells import is_empty
from hpo_batch.results.output_format import FORMATS
from hpo_batch.text import escapes
from hpo_batch.text.lines import printable


def render(frame: pd.DataFrame, format: str) -> bytes:
    """The frame in one of ``output_format.FORMATS``."""
    module, _, name = FORMATS[format].writer.partition(":")
    content: bytes = getattr(importlib.import_module(module), name)(frame)
    return content


def json_rows(frame: pd.DataFrame) -> bytes:
    """A list of objects in full precision: times as ISO text, durations in seconds, empty cells as null."""
    rows = [{str(name): _json(value) for name, value in row.items()} for row in frame.astype(object).to_dict("records")]
    return _encoded(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False))


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    _for_parquet(frame).to_parquet(buffer, index=False)  # the index is the order, which the rows have anyway
    return buffer.getvalue()


def plain_table(frame: pd.DataFrame) -> bytes:
    return _tabulated(frame, "simple", printable)


def markdown_table(frame: pd.DataFrame) -> bytes:
    return _tabulated(frame, "pipe", escapes.markdown)


def _tabulated(frame: pd.DataFrame, style: str, text: Callable[[object], str]) -> bytes:
    rows = [[_cell(value, text) for value in row] for row in frame.itertuples(index=False, name=None)]
    headers = [_cell(name, text) for name in frame.columns]
    # numbers are formatted here: tabulate would parse texts such as "1e5" as numbers and align at the decimal point
    return _encoded(
        tabulate.tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True, colalign=_align(frame))
    )


def _encoded(text: str) -> bytes:
    # names of files may hold surrogates (PEP 383), which UTF-8 cannot encode
    return (text.rstrip("\n") + "\n").encode(errors="backslashreplace")


def latex_table(frame: pd.DataFrame) -> bytes:
    """A booktabs table for papers: numbers right-aligned, powers of ten written out, all text escaped."""
    sides = "".join("r" if side == "right" else "l" for side in _align(frame) or ["l"] * len(frame.columns))
    lines = ["% \\usepackage{booktabs}", f"\\begin{{tabular}}{{{sides}}}", "\\toprule"]
    lines.append(" & ".join(_cell(name, escapes.latex) for name in frame.columns) + r" \\")
    lines.append("\\midrule")
    for row in frame.itertuples(index=False, name=None):
        lines.append(" & ".join(_latex_cell(value) for value in row) + r" \\")
    return _encoded("\n".join([*lines, "\\bottomrule", "\\end{tabular}"]))


def _latex_cell(value: Any) -> str:
    text = _cell(value, escapes.latex)
    # "e" would be an italic letter in a paper, and a hyphen is shorter than a minus
    if isinstance(value, float) and "e" in text:
        digits, _, power = text.partition("e")
        return f"$10^{{{int(power)}}}$" if digits == "1" else rf"${digits} \times 10^{{{int(power)}}}$"
    if isinstance(value, int | float) and not isinstance(value, bool) and text.startswith("-"):
        return f"${text}$"
    return text


def _align(frame: pd.DataFrame) -> list[str] | None:
    if frame.empty:
        return None
    return ["right" if pd.api.types.is_numeric_dtype(frame[name]) else "left" for name in frame.columns]


def _cell(value: Any, text: Callable[[object], str]) -> str:
    if is_empty(value):
        return ""
    # five digits: metrics rarely differ reliably beyond, and csv, json and parquet have all of them
    return f"{value:.5g}" if isinstance(value, float) else text(value)


def _json(value: Any) -> Any:
    if is_empty(value):
        return None
    if isinstance(value, pd.Timedelta):
        return value.total_seconds()
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bytes):  # SQLite keeps them in any column
        return value.decode(errors="backslashreplace")
    if isinstance(value, float) and math.isinf(value):
        return str(value)  # JSON has no infinity, and null would mean missing
    return value


def _for_parquet(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed types as text: Parquet has one type per column."""
    converted = frame.copy()
    for name in converted.columns:
        if converted[name].dtype == object:
            kinds = {type(value) for value in converted[name] if value is not None}
            if len(kinds) > 1:
                converted[name] = converted[name].map(lambda value: None if value is None else str(value))
    return converted
