"""Read a file with a table into a ``RawTable``: the common part of CSV, JSON and Parquet, each with its own parser."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from hpo_batch.errors import StorageError, UserError
from hpo_batch.sources.nested import without_printed_dicts
from hpo_batch.sources.place import Place
from hpo_batch.sources.source import RawTable, Request
from hpo_batch.text.names import listed

EMPTY_COLUMNS: Final = "empty columns ignored"
# first bytes of a file -> what it is
_COMPRESSED: Final = {
    b"\x1f\x8b": "compressed by gzip: unpack it with gunzip first",
    b"PK\x03\x04": "a zip archive or a spreadsheet: unpack it, or save it as CSV, first",
    b"\xfd7zXZ": "compressed by xz: unpack it with unxz first",
    b"BZh": "compressed by bzip2: unpack it with bunzip2 first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it with unzstd first",
}


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """The result of a parser."""

    frame: pd.DataFrame
    header: tuple[str, ...]
    """all columns, ignored ones included"""
    notes: tuple[str, ...] = ()


# called with the content, the path (for messages) and the ignored columns, which need not be parsed
Parser = Callable[[bytes, Path, Collection[str]], Parsed]


def reader(parse: Parser) -> Callable[[Place, Request], Sequence[RawTable]]:
    """The ``read`` function of a ``Source`` for files of one format."""

    def read(place: Place, request: Request) -> Sequence[RawTable]:
        return [read_file(Path(place.text), parse, request)]

    return read


def read_file(path: Path, parse: Parser, request: Request) -> RawTable:
    """The rows of a file, without ignored and empty columns.

    Raises:
        UserError: the file is empty or cannot be parsed.
        StorageError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError.because(f"cannot read '{path}'", error) from error
    if not data.strip(b"\0 \r\n\t\xef\xbb\xbf"):
        raise UserError(f"'{path}' is empty")
    for start, kind in _COMPRESSED.items():
        if data.startswith(start):
            raise UserError(f"'{path}' is {kind}")
    parsed = parse(data, path, request.ignored)
    frame = parsed.frame.drop(columns=list(request.ignored), errors="ignore")
    frame, notes = without_printed_dicts(frame)
    empty = [str(name) for name in frame.columns if frame[name].isna().all() and name not in request.keep]
    if empty and len(frame):
        notes += (f"{EMPTY_COLUMNS}: {listed(empty)}",)
        frame = frame.drop(columns=empty)
    return RawTable(frame=frame, label=path.stem, notes=(*parsed.notes, *notes), header=parsed.header)
