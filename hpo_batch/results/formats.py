"""A frame as text or bytes: ``table``, ``md``, ``latex`` for people; ``csv``, ``json``, ``parquet`` for programs."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pandas as pd
import tabulate

from hpo_batch.results.cells import is_empty
from hpo_batch.results.csv_text import csv_of
from hpo_batch.text import escapes
from hpo_batch.text.lines import printable


def render(frame: pd.DataFrame, format: str) -> bytes:
    """The frame in one of ``output_format.FORMATS``. CSV and JSON keep full precision; tables for people round."""
    if format == "csv":
        return csv_of(frame)
    if format == "json":
        return (json.dumps(_plain(frame), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(
            errors="backslashreplace"
        )
    if format == "parquet":
        buffer = io.BytesIO()
        _for_parquet(frame).to_parquet(buffer, index=False)
        return buffer.getvalue()
    if format == "latex":
        return _latex(frame).encode(errors="backslashreplace")
    kinds = {"table": "simple", "md": "pipe"}
    rows = [[_cell(value, format) for value in row] for row in frame.itertuples(index=False, name=None)]
    headers = [_cell(name, format) for name in frame.columns]
    text = tabulate.tabulate(
        rows, headers=headers, tablefmt=kinds[format], disable_numparse=True, colalign=_align(frame)
    )
    return (text + "\n").encode(errors="backslashreplace")


def _latex(frame: pd.DataFrame) -> str:
    """A booktabs table as papers have it: numbers to the right, powers of ten written out, all text escaped."""
    sides = "".join("r" if side == "right" else "l" for side in _align(frame) or ["l"] * len(frame.columns))
    lines = ["% \\usepackage{booktabs}", f"\\begin{{tabular}}{{{sides}}}", "\\toprule"]
    lines.append(" & ".join(escapes.latex(_cell(name, "latex")) for name in frame.columns) + r" \\")
    lines.append("\\midrule")
    for row in frame.itertuples(index=False, name=None):
        lines.append(" & ".join(_latex_cell(value) for value in row) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _latex_cell(value: Any) -> str:
    text = _cell(value, "latex")
    if isinstance(value, float) and "e" in text:
        digits, _, power = text.partition("e")
        return f"$10^{{{int(power)}}}$" if digits == "1" else rf"${digits} \times 10^{{{int(power)}}}$"
    if isinstance(value, int | float) and not isinstance(value, bool) and text.startswith("-"):
        return f"${text}$"
    return escapes.latex(text)


def _align(frame: pd.DataFrame) -> list[str] | None:
    if frame.empty:
        return None
    return ["right" if pd.api.types.is_numeric_dtype(frame[name]) else "left" for name in frame.columns]


def _cell(value: Any, format: str) -> str:
    if is_empty(value):
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    return escapes.markdown(value) if format == "md" else printable(value)


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values: times as ISO text, durations in seconds, empty cells as null."""
    rows = []
    for row in frame.astype(object).to_dict("records"):
        rows.append({str(name): _json(value) for name, value in row.items()})
    return rows


def _json(value: Any) -> Any:
    if is_empty(value):
        return None
    if isinstance(value, pd.Timedelta):
        return value.total_seconds()
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and math.isinf(value):
        return str(value)  # JSON has no number for it, and it is not nothing
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
