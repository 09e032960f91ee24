"""CSV, JSON and Parquet files of anybody to a plain frame: one row per trial, columns as the file names them.

Spreadsheets' habits are undone where they are plain (a byte order mark, semicolons, decimal commas); what could mean
two things is refused. Which column is what is decided in ``columns``.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from hpo_batch.errors import StorageError, UserError
from hpo_batch.sources.columns import check_column
from hpo_batch.text.names import listed

EMPTY: Final = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nat"))
"""cells that hold nothing, in lower case"""
DEEPEST: Final = 20
"""objects in objects of a JSON file beyond which their text stands for them"""
_INTEGER: Final = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_CODE: Final = re.compile(r"[+-]?0[0-9]")
"""a name that is made of digits: a number has no zeros before it"""
_INFINITE: Final = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_COMMA: Final = re.compile(r"[+-]?[0-9]+(,[0-9]+)?([eE][+-]?[0-9]+)?")
_THOUSANDS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+")
_POINTS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+")
_SEPARATOR: Final = re.compile(r"sep=([,;|\t])\r?\n", re.IGNORECASE)
"""the first line that spreadsheets write, or want"""
_PACKED: Final = {
    b"\x1f\x8b": "compressed by gzip: unpack it with gunzip first",
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as CSV, first",
    b"\xfd7zXZ": "compressed by xz: unpack it with unxz first",
    b"BZh": "compressed by bzip2: unpack it with bunzip2 first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it with unzstd first",
}
LACKING: Final = "has no column '{0}': --ignore {0} holds for others"
TEXTS: Final = "numbers and truth values that are written as texts are read as what they are"
EMPTY_COLUMNS: Final = "columns without any content left out"
MOST_DIGITS: Final = 1_000
"""of a number; what is longer is a text, and Python refuses to read it"""
MOST_CELLS: Final = 50_000_000
MOST_BYTES: Final = 2 << 30
"""of a Parquet file, unpacked: 1 MB of it may hold terabytes"""
_TRUTH: Final = {"true": True, "false": False}


def read_frame(
    path: Path, *, ignore: Collection[str] = (), maybe: Collection[str] = (), keep: Collection[str] = ("value",)
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows of a file, and what was taken for granted.

    Args:
        ignore: columns that nobody needs: they may be there twice.
        maybe: columns that nobody needs, if they are there.
        keep: columns that are kept even if they are empty.

    Raises:
        UserError: the file is empty, is none of the formats, or says something in two ways.
        StorageError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError.because(f"cannot read '{path}'", error) from error
    if not data.strip(b"\0 \r\n\t\xef\xbb\xbf"):
        raise UserError(f"'{path}' is empty")
    for start, packed in _PACKED.items():
        if data.startswith(start):
            raise UserError(f"'{path}' is {packed}")
    notes: tuple[str, ...] = ()
    if data.startswith(b"PAR1"):
        frame = _parquet(data, path)
        there = list(map(str, frame.columns))
    elif data.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"[", b"{"):
        frame, notes = _json(data, path)
        there = list(map(str, frame.columns))
    else:
        text, notes = _decoded(data, path)
        frame, there, more = _csv(text, path, {*ignore, *maybe})
        notes += more
    for name in ignore:
        check_column(name, there, option="--ignore", file=str(path))
    frame = frame.drop(columns=[name for name in (*ignore, *maybe) if name in frame.columns])
    notes += tuple(LACKING.format(name) for name in maybe if name not in there)
    frame, more = _with_inner(frame)
    notes += more
    empty = [str(c) for c in frame.columns if frame[c].isna().all() and c not in keep]
    if empty and len(frame):
        notes += (f"{EMPTY_COLUMNS}: {listed(empty)}",)
        frame = frame.drop(columns=empty)
    return frame, notes


def _decoded(data: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    is_wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not is_wide and b"\0" in data:
        raise UserError(f"'{path}' is neither CSV, JSON, Parquet nor an Optuna storage: it has bytes of zero in it")
    try:
        return data.decode("utf-16" if is_wide else "utf-8-sig"), ()
    except UnicodeDecodeError as error:
        if is_wide:
            raise UserError(f"'{path}' is not UTF-16 text that can be read: {error}") from error
    return data.decode("cp1252", errors="replace"), ("not UTF-8: read as Windows-1252 (Western European)",)


def _csv(text: str, path: Path, ignore: Collection[str]) -> tuple[pd.DataFrame, list[str], tuple[str, ...]]:
    """The rows without what is ignored, the header, and what was assumed."""
    told = _SEPARATOR.match(text)
    if told is not None:
        text = text[told.end() :]
    if not text.strip():
        raise UserError(f"'{path}' is empty")
    delimiter: str = told.group(1) if told is not None else _delimiter(text)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(f"'{path}' is not a CSV file that can be read: {error}") from error
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        raise UserError(f"'{path}' is empty: it has delimiters and nothing between them")
    header = [name.strip() for name in rows[0]]
    while header and not header[-1] and all(len(row) < len(header) or not row[len(header) - 1] for row in rows):
        header.pop()  # a delimiter at the end of each line
    if header[:1] == [""]:  # pandas writes its index without a name, and reads it as this
        header[0] = "Unnamed: 0"
    _check_header(header, path, ignore)
    width = len(header)
    for number, row in enumerate(rows[1:], start=2):
        if len(row) < width or any(cell.strip() for cell in row[width:]):
            raise UserError(
                f"'{path}': row {number} has {len(row)} fields, its header {width}: "
                f"{'was it cut off, or is it still being written?' if number == len(rows) else 'a delimiter too many?'}"
            )
    texts = {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(header) if name not in ignore}
    commas = [name for name, cells in texts.items() if delimiter != "," and _has_commas(cells)]
    if commas and all(_is_ambiguous(texts[name]) for name in commas):
        cell = next(cell for cell in texts[commas[0]] if "," in cell)
        raise UserError(
            f"'{path}': column '{commas[0]}': '{cell}' may be {cell.replace(',', '')} or {cell.replace(',', '.')}; "
            "write its numbers without commas"
        )
    for name in texts if commas else ():
        odd = _thousands_by_points(texts[name])
        if odd is not None:
            raise UserError(
                f"'{path}': column '{name}': '{odd}' may be {odd} or {odd.replace('.', '')}, as other columns have "
                "decimal commas; write its numbers without points"
            )
    columns = {}
    for name, cells in texts.items():
        columns[name] = _typed([cell.replace(",", ".") for cell in cells] if name in commas else cells)
    notes = (f"decimal commas read as points in {listed(commas)}",) if commas else ()
    return pd.DataFrame(columns, index=range(len(rows) - 1)), header, notes


def _delimiter(text: str) -> str:
    """What separates the fields of the first line that is not blank, outside of quotes."""
    first = next(line for line in text.splitlines() if line.strip())
    bare = re.sub(r'"[^"]*"', "", first)
    counts = {delimiter: bare.count(delimiter) for delimiter in ",;\t|"}
    return max(counts, key=lambda delimiter: counts[delimiter])


def _check_header(header: Sequence[str], path: Path, ignore: Collection[str]) -> None:
    twice = [name for name, count in collections.Counter(header).items() if count > 1 and name and name not in ignore]
    if twice:
        places = [i for i, name in enumerate(header, start=1) if name == twice[0]]
        raise UserError(
            f"'{path}' has the column '{twice[0]}' {len(places)} times (columns {', '.join(map(str, places))}): rename "
            f"them, or leave them out with --ignore {twice[0]}"
        )
    nameless = [i for i, name in enumerate(header, start=1) if not name]
    if nameless:
        raise UserError(f"'{path}': column {nameless[-1]} has no name")


def _has_commas(cells: Sequence[str]) -> bool:
    there = [cell for cell in cells if cell.lower() not in EMPTY]
    return any("," in cell for cell in there) and all(
        _COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell) for cell in there
    )


def _is_ambiguous(cells: Sequence[str]) -> bool:
    return all(_THOUSANDS.fullmatch(cell) for cell in cells if "," in cell)


def _thousands_by_points(cells: Sequence[str]) -> str | None:
    """A cell of a column of whole numbers whose points can only be read as those of thousands, or as decimal ones."""
    pointed = [cell for cell in cells if "." in cell]
    plain = all(_INTEGER.fullmatch(cell) or cell.lower() in EMPTY for cell in cells if "." not in cell)
    return pointed[0] if pointed and plain and all(_POINTS.fullmatch(cell) for cell in pointed) else None


def _typed(cells: Sequence[str]) -> pd.Series[Any]:
    """Texts as whole numbers, numbers or truth values if all of them are; empty ones stay empty."""
    lower = [cell.lower() for cell in cells]
    there = {cell for cell in dict.fromkeys(cells) if cell.lower() not in EMPTY}
    may_be_numbers = all(len(cell) <= MOST_DIGITS for cell in there)
    if may_be_numbers and there and all(_INTEGER.fullmatch(cell) for cell in there):
        numbers = {cell: int(cell) for cell in there}
        if all(abs(number) < 2**63 for number in numbers.values()):
            return pd.Series([numbers.get(cell) for cell in cells], dtype="Int64")
    if may_be_numbers and there and all(_NUMBER.fullmatch(cell) or _INFINITE.fullmatch(cell) for cell in there):
        floats = {cell: float(cell) for cell in there}
        if _keeps_apart(int(cell) for cell in there if _INTEGER.fullmatch(cell)):
            return pd.Series([floats.get(cell, float("nan")) for cell in cells], dtype="float64")
    if there and all(cell.lower() in _TRUTH for cell in there):
        return pd.Series([_TRUTH.get(cell) for cell in lower], dtype="boolean")
    return pd.Series([None if low in EMPTY else cell for cell, low in zip(cells, lower, strict=True)], dtype=object)


def _keeps_apart(integers: Iterable[int]) -> bool:
    """Whether different whole numbers, of any size, are different floats too."""
    different = set(integers)
    return max(map(abs, different), default=0) < 2**1023 and len({float(number) for number in different}) == len(
        different
    )


def _json(data: bytes, path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A list of objects, one object per line, or an object of columns; objects inside become columns of their own."""
    text = data.decode("utf-8-sig", errors="replace")
    try:
        content = _no_halves(json.loads(text))
    except ValueError as whole:
        try:
            content = [_no_halves(json.loads(line)) for line in text.splitlines() if line.strip()]
        except RecursionError as error:
            raise UserError(f"'{path}' is not JSON that can be read: it is nested too deeply") from error
        except ValueError:
            raise UserError(f"'{path}' is not JSON that can be read: {whole}") from whole
    except RecursionError as error:
        raise UserError(f"'{path}' is not JSON that can be read: it is nested too deeply") from error
    if isinstance(content, dict):
        content = _records(content, path)
    if not content:
        raise UserError(f"'{path}' is empty: no trials in it")
    if not all(isinstance(row, dict) for row in content):
        raise UserError(f"'{path}' is JSON, but not a list of trials: each is an object like {{\"value\": 0.5, ...}}")
    rows = [flat(row) for row in content]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns, told = {}, []
    for name in names:
        cells = [row.get(name) for row in rows]
        columns[name] = as_meant(cells)
        if columns[name].dtype != object and any(isinstance(cell, str) for cell in cells):
            told.append(name)
    return pd.DataFrame(columns), ((f"{TEXTS}: {listed(told)}",) if told else ())


def _no_halves(content: Any) -> Any:
    """Without halves of a pair of surrogates (``"\\ud800"``), which no file in UTF-8 can hold."""
    if isinstance(content, str):
        return content if content.isascii() else content.encode(errors="backslashreplace").decode()
    if isinstance(content, dict):
        return {_no_halves(name): _no_halves(value) for name, value in content.items()}
    return [_no_halves(value) for value in content] if isinstance(content, list) else content


def as_meant(cells: Sequence[Any]) -> pd.Series[Any]:
    """Cells of JSON. Texts are numbers if all are: YAML makes a text of ``1e-2``, and a number of 0.01."""
    if any(isinstance(cell, str) for cell in cells):
        texts = [_text_of(cell) for cell in cells]
        if None not in texts and not any(_CODE.match(text or "") for text in texts):
            typed = _typed([text for text in texts if text is not None])
            if typed.dtype != object:
                return typed
    return _series(cells)


def _text_of(cell: Any) -> str | None:
    """As a CSV file has it; None for what has no place in one."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bool):
        return str(cell).lower()
    return repr(cell) if isinstance(cell, int | float) else None


def _records(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    trials = content.get("trials")
    if isinstance(trials, list):
        return trials
    table = content.get("data")
    if isinstance(table, list) and isinstance(content.get("columns"), list):
        if not all(isinstance(name, str) for name in content["columns"]):
            raise UserError(f"'{path}' is JSON, but the names of its columns are not all texts")
        return [dict(zip(content["columns"], row, strict=False)) if isinstance(row, list) else row for row in table]
    if content and all(_is_column(cells) for cells in content.values()):
        rows = dict.fromkeys(row for cells in content.values() for row in cells)
        return [{name: cells.get(row) for name, cells in content.items()} for row in rows]
    lengths = {len(cells) for cells in content.values() if isinstance(cells, list)}
    if len(lengths) == 1 and all(isinstance(cells, list) for cells in content.values()):
        return [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]
    raise UserError(f"'{path}' is JSON, but not a table: wanted is a list of objects, one for each trial")


def _is_column(cells: Any) -> bool:
    """As pandas writes a column: an object with a cell for each row."""
    return isinstance(cells, dict) and not any(isinstance(cell, dict | list) for cell in cells.values())


_INNER: Final = {"params": "params_", "parameters": "params_", "hyperparameters": "params_", "config": "params_",
                 "metrics": "user_attrs_", "user_attrs": "user_attrs_", "results": "user_attrs_",
                 "summary": "user_attrs_"}  # fmt: skip


_ARRAY: Final = re.compile(r"\b(?:np|numpy)\.\w+\(([^()]*)\)")
"""as NumPy 2 writes its numbers in a dict that is printed"""
_NO_NUMBER: Final = re.compile(r"(?<!['\"\w])nan(?!['\"\w])")
_NO_END: Final = re.compile(r"(?<!['\"\w])inf(?!['\"\w])")


def _with_inner(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A column of dicts that were printed into it (``params`` of scikit-learn) as columns of its own."""
    told = []
    for name in [str(c) for c in frame.columns if str(c).lower() in _INNER]:
        cells = [_dict_in(cell) for cell in frame[name].tolist()]
        if None in cells or not any(cells):
            continue
        prefix = _INNER[name.lower()]
        rows = [{f"{prefix}{inner}": cell for inner, cell in _inside(each or {})} for each in cells]
        names = list(dict.fromkeys(inner for row in rows for inner in row))
        bare = {inner.removeprefix(prefix) for inner in names}
        marked = {f"param_{inner}" for inner in bare}
        if marked <= set(map(str, frame.columns)) or set(names) & set(map(str, frame.columns)):
            told.append(f"'{name}' says what other columns say: left out")
        else:
            more = pd.DataFrame({inner: as_meant([row.get(inner) for row in rows]) for inner in names})
            frame = pd.concat([frame, more.set_index(frame.index)], axis=1)
            told.append(f"'{name}' holds {listed(sorted(bare))}: a column each")
        frame = frame.drop(columns=name)
    return frame, tuple(told)


def _dict_in(cell: Any) -> dict[str, Any] | None:
    """The dict that a text is; an empty one for an empty cell; None for what is none."""
    if cell is None or cell is pd.NA or cell != cell:
        return {}
    if not isinstance(cell, str) or not cell.startswith("{"):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(cell)
        return found if isinstance(found, dict) else None
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        found = ast.literal_eval(_NO_END.sub("1e999", _NO_NUMBER.sub("None", _ARRAY.sub(r"\1", cell))))
        return found if isinstance(found, dict) else None
    return None


def flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and value:
            prefix = _INNER.get(name, f"{name}.")
            flat.update({f"{prefix}{inner}": cell for inner, cell in _inside(value)})
        else:
            flat[name] = value
    return flat


def _inside(value: dict[str, Any], depth: int = 1) -> Iterator[tuple[str, Any]]:
    """What objects in an object hold, however deep, by names with points."""
    for name, cell in value.items():
        if isinstance(cell, dict) and cell and depth < DEEPEST:
            yield from ((f"{name}.{inner}", each) for inner, each in _inside(cell, depth + 1))
        else:
            yield str(name), cell


def _parquet(data: bytes, path: Path) -> pd.DataFrame:
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    try:
        facts = pyarrow.parquet.ParquetFile(io.BytesIO(data)).metadata
        chunks = [facts.row_group(i).column(k) for i in range(facts.num_row_groups) for k in range(facts.num_columns)]
        cells, size = sum(one.num_values for one in chunks), sum(one.total_uncompressed_size for one in chunks)
        if max(cells, facts.num_rows * facts.num_columns) > MOST_CELLS or size > MOST_BYTES:
            raise UserError(f"'{path}' is too large to be a table of trials: {cells:,} cells, {size:,} bytes unpacked")
        names = [facts.schema.column(k).path for k in range(facts.num_columns)]
        # a text that stands in each row is stored once: kept so until it is known what all of them are together
        table = pyarrow.parquet.read_table(io.BytesIO(data), read_dictionary=names)
        large = sum(_bytes_of(column) for column in table.columns)
        if large > MOST_BYTES:
            raise UserError(f"'{path}' is too large to be a table of trials: {large:,} bytes unpacked")
        frame = pd.read_parquet(io.BytesIO(data))
    except UserError:
        raise
    except Exception as error:  # pyarrow has a dozen kinds of error for a damaged file
        raise UserError(f"'{path}' is not a Parquet file that can be read: {error}") from error
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()  # pandas keeps an index with a name as a column
    columns = {}
    for name in frame.columns:
        column = frame[name]
        kept = pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column)
        is_span = pd.api.types.is_timedelta64_dtype(column)
        columns[str(name)] = column if kept or is_span else _series(column.tolist())
    return pd.DataFrame(columns)


def _bytes_of(column: Any) -> int:
    """How much memory a column of texts takes once each row has its own."""
    total = 0
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary"):
            lengths = [len(text.as_py() or b"") for text in chunk.dictionary]
            total += (
                sum(lengths[i] for i in chunk.indices.to_pylist() if i is not None) if max(lengths, default=0) else 0
            )
        else:
            total += chunk.nbytes
    return total


def _series(cells: Sequence[Any]) -> pd.Series[Any]:
    """Cells of a format that has types: kept, if they are values at all."""
    # lists in a Parquet file come as arrays, which are equal and unequal at once
    cells = [cell.tolist() if hasattr(cell, "tolist") else cell for cell in cells]
    found = [None if cell is None or cell is pd.NA or cell is pd.NaT or cell != cell else cell for cell in cells]
    kinds = {type(cell) for cell in found if cell is not None}
    if kinds == {bool}:
        return pd.Series(found, dtype="boolean")
    if kinds == {int} and all(cell is None or abs(cell) < 2**63 for cell in found):
        return pd.Series(found, dtype="Int64")
    whole = [cell for cell in found if type(cell) is int]
    if kinds and kinds <= {int, float} and _keeps_apart(whole):
        return pd.Series([float("nan") if cell is None else float(cell) for cell in found], dtype="float64")
    if kinds == {int}:
        found = [None if cell is None else str(cell) for cell in found]  # beyond what a column of numbers holds
    bad = next((cell for cell in found if isinstance(cell, list | dict | set | tuple)), None)
    if bad is not None:
        found = [json.dumps(cell, default=str) if isinstance(cell, list | dict) else cell for cell in found]
    return pd.Series(found, dtype=object)
