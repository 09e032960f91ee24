"""Read JSON files: a list of objects, one object per line, an object of columns, and the layouts of pandas."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.sources.cells import column_of_json
from hpo_batch.sources.nested import flat
from hpo_batch.sources.place import Place
from hpo_batch.sources.source import Source
from hpo_batch.sources.table_file import Parsed, reader
from hpo_batch.text.names import listed


def parse(data: bytes, path: Path, ignored: Collection[str]) -> Parsed:
    """A row for each object; objects inside become columns of their own.

    Raises:
        UserError: it is no JSON, or no table.
    """
    content = _content(data.decode("utf-8-sig", errors="replace"), path)
    if isinstance(content, dict):
        content = _records(content, path)
    if not content:
        raise UserError(f"'{path}' is empty: no trials in it")
    if not all(isinstance(row, dict) for row in content):
        raise UserError(f"'{path}' is JSON, but not a list of trials: each is an object like {{\"value\": 0.5, ...}}")
    rows = [flat(row) for row in content]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns, converted = {}, []
    for name in names:
        cells = [row.get(name) for row in rows]
        columns[name] = column_of_json(cells)
        if columns[name].dtype != object and any(isinstance(cell, str) for cell in cells):
            converted.append(name)
    notes = (f"text columns read as numbers or booleans: {listed(converted)}",) if converted else ()
    return Parsed(frame=pd.DataFrame(columns), header=tuple(names), notes=notes)


def _content(text: str, path: Path) -> Any:
    """The JSON value, or a list of the values of all lines."""
    try:
        return _without_lone_surrogates(json.loads(text))
    except RecursionError as error:
        raise UserError(f"'{path}' cannot be read as JSON: it is nested too deeply") from error
    except ValueError as error:
        not_one_value = error
    try:
        return [_without_lone_surrogates(json.loads(line)) for line in text.splitlines() if line.strip()]
    except RecursionError as error:
        raise UserError(f"'{path}' cannot be read as JSON: it is nested too deeply") from error
    except ValueError:
        raise UserError(f"'{path}' cannot be read as JSON: {not_one_value}") from not_one_value


def _without_lone_surrogates(content: Any) -> Any:
    r"""``"\ud800"`` alone is valid JSON (RFC 8259, section 8.2), but cannot be encoded as UTF-8: kept as its escape."""
    if isinstance(content, str):
        return content if content.isascii() else content.encode(errors="backslashreplace").decode()
    if isinstance(content, dict):
        return {_without_lone_surrogates(name): _without_lone_surrogates(value) for name, value in content.items()}
    return [_without_lone_surrogates(value) for value in content] if isinstance(content, list) else content


def _records(content: dict[str, Any], path: Path) -> list[Any]:
    """The trials of an object: under ``trials``, or as pandas writes a frame (``split``, ``columns``, ``list``)."""
    trials = content.get("trials")
    if isinstance(trials, list):
        return trials
    names, rows = content.get("columns"), content.get("data")
    if isinstance(rows, list) and isinstance(names, list):
        if not all(isinstance(name, str) for name in names):
            raise UserError(f"'{path}' is JSON, but some column names are not text")
        return [dict(zip(names, row, strict=False)) if isinstance(row, list) else row for row in rows]
    if content and all(map(_is_column, content.values())):
        indices = dict.fromkeys(index for cells in content.values() for index in cells)
        return [{name: cells.get(index) for name, cells in content.items()} for index in indices]
    lengths = {len(cells) for cells in content.values() if isinstance(cells, list)}
    if len(lengths) == 1 and all(isinstance(cells, list) for cells in content.values()):
        return [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]
    raise UserError(f"'{path}' is JSON, but not a table: expected a list of objects, one for each trial")


def _is_column(cells: Any) -> bool:
    """Whether this is a column as ``DataFrame.to_json`` writes it: an object with a cell for each row."""
    return isinstance(cells, dict) and not any(isinstance(cell, dict | list) for cell in cells.values())


def _knows(place: Place) -> bool:
    return place.is_plain_file and place.head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"[", b"{")


SOURCE: Final = Source(kind="a JSON file", knows=_knows, read=reader(parse))
