"""Read CSV files from any program, including spreadsheets (byte order mark, semicolons, decimal commas).

Ambiguous content is rejected. pandas' parser would guess instead: it accepts ``1,024`` and truncated rows silently.
"""

from __future__ import annotations

import collections
import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.sources.cells import EMPTY, column_of_texts, is_integer
from hpo_batch.sources.source import Source
from hpo_batch.sources.table_file import Parsed, reader
from hpo_batch.text.names import listed

_COMMA: Final = re.compile(r"[+-]?[0-9]+(,[0-9]+)?([eE][+-]?[0-9]+)?")
_THOUSANDS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+")
_THOUSANDS_BY_POINTS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+")
# a first line that tells Excel the delimiter
_SEPARATOR: Final = re.compile(r"sep=([,;|\t])\r?\n", re.IGNORECASE)


def parse(data: bytes, path: Path, ignored: Collection[str]) -> Parsed:
    """The rows of a CSV file, without the columns that are ignored.

    Raises:
        UserError: it is no CSV file, its header or a row is wrong, or a number may mean two things.
    """
    text, notes = _decoded(data, path)
    header, rows = _header_and_rows(text, path)
    _check_header(header, path, ignored)
    _check_widths(rows, len(header), path)
    texts = {name: [row[i].strip() for row in rows] for i, name in enumerate(header) if name not in ignored}
    commas = _columns_with_decimal_commas(texts, path) if _delimiter_of(text) != "," else []
    columns = {
        name: column_of_texts([cell.replace(",", ".") for cell in cells] if name in commas else cells)
        for name, cells in texts.items()
    }
    if commas:
        notes += (f"decimal commas read as points in {listed(commas)}",)
    return Parsed(frame=pd.DataFrame(columns, index=range(len(rows))), header=tuple(header), notes=notes)


def _decoded(data: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """The text, and a note if its encoding is a guess."""
    # what Excel writes as "Unicode Text"
    is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not is_utf16 and b"\0" in data:
        raise UserError(f"'{path}' is neither CSV, JSON, Parquet nor an Optuna storage: it contains zero bytes")
    try:
        return data.decode("utf-16" if is_utf16 else "utf-8-sig"), ()
    except UnicodeDecodeError as error:
        if is_utf16:
            raise UserError(f"'{path}' cannot be read as UTF-16 text: {error}") from error
    # "replace": Windows-1252 leaves five bytes undefined
    return data.decode("cp1252", errors="replace"), ("not UTF-8: read as Windows-1252 (Western European)",)


def _delimiter_of(text: str) -> str:
    """The delimiter that a ``sep=`` line names, else the most frequent one in the first line outside of quotes."""
    separator = _SEPARATOR.match(text)
    if separator is not None:
        return separator.group(1)
    # the header, since numbers in rows may contain decimal commas
    first = next((line for line in text.splitlines() if line.strip()), "")
    unquoted = re.sub(r'"[^"]*"', "", first)
    return max(",;\t|", key=unquoted.count)


def _header_and_rows(text: str, path: Path) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and the cells of each row that is not blank."""
    delimiter = _delimiter_of(text)
    if (separator := _SEPARATOR.match(text)) is not None:
        text = text[separator.end() :]
    if not text.strip():
        raise UserError(f"'{path}' is empty")
    # strict: else a quote that is never closed would swallow the rest of the file into one cell
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(f"'{path}' cannot be read as CSV: {error}") from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        raise UserError(f"'{path}' is empty: it contains only delimiters")
    header = [name.strip() for name in rows[0]]
    while header and not header[-1] and all(len(row) < len(header) or not row[len(header) - 1] for row in rows):
        header.pop()  # a delimiter at the end of each line
    if header[:1] == [""]:
        header[0] = "Unnamed: 0"  # pandas writes its index without a name, and reads it back under this one
    return header, rows[1:]


def _check_header(header: Sequence[str], path: Path, ignored: Collection[str]) -> None:
    counts = collections.Counter(name for name in header if name and name not in ignored)
    for name, count in counts.items():
        if count > 1:
            places = ", ".join(str(i) for i, other in enumerate(header, start=1) if other == name)
            raise UserError(
                f"'{path}' has the column '{name}' {count} times (columns {places}): rename them, or leave them out "
                f"with --ignore {name}"
            )
    if "" in header:
        last = max(i for i, name in enumerate(header, start=1) if not name)
        raise UserError(f"'{path}': column {last} has no name")


def _check_widths(rows: Sequence[Sequence[str]], width: int, path: Path) -> None:
    """Raises UserError for a row whose length differs from the header's. The header is row 1."""
    for number, row in enumerate(rows, start=2):
        if len(row) < width or any(cell.strip() for cell in row[width:]):
            is_last = number == len(rows) + 1
            why = "was it cut off, or is it still being written?" if is_last else "an extra delimiter?"
            raise UserError(f"'{path}': row {number} has {len(row)} fields, its header {width}: {why}")


def _columns_with_decimal_commas(texts: Mapping[str, Sequence[str]], path: Path) -> list[str]:
    """The columns with decimal commas.

    Raises:
        UserError: the commas, or the points of another column, could also separate thousands.
    """
    commas = [name for name, cells in texts.items() if _has_commas(cells)]
    if commas and all(_is_ambiguous(texts[name]) for name in commas):
        cell = next(cell for cell in texts[commas[0]] if "," in cell)
        raise UserError(
            f"'{path}': column '{commas[0]}': '{cell}' may be {cell.replace(',', '')} or {cell.replace(',', '.')}; "
            "write its numbers without commas"
        )
    for name in texts if commas else ():
        cell = _thousands_by_points(texts[name])
        if cell:
            raise UserError(
                f"'{path}': column '{name}': '{cell}' may be {cell} or {cell.replace('.', '')}, as other columns have "
                "decimal commas; write its numbers without points"
            )
    return commas


def _has_commas(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell.lower() not in EMPTY]
    return any("," in cell for cell in filled) and all(
        _COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell) for cell in filled
    )


def _is_ambiguous(cells: Sequence[str]) -> bool:
    return all(_THOUSANDS.fullmatch(cell) for cell in cells if "," in cell)


def _thousands_by_points(cells: Sequence[str]) -> str:
    """A cell of a column of integers whose points may separate thousands; an empty text if there is none."""
    pointed = [cell for cell in cells if "." in cell]
    others_are_integers = all(is_integer(cell) or cell.lower() in EMPTY for cell in cells if "." not in cell)
    if pointed and others_are_integers and all(_THOUSANDS_BY_POINTS.fullmatch(cell) for cell in pointed):
        return pointed[0]
    return ""


SOURCE: Final = Source(kind="a CSV file", knows=lambda place: place.is_plain_file, read=reader(parse))
