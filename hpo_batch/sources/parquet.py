"""Read Parquet files up to the size of a plausible table of trials."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.extras import require
from hpo_batch.sources.cells import column_of_values
from hpo_batch.sources.place import Place
from hpo_batch.sources.source import Source
from hpo_batch.sources.table_file import Parsed, reader

MOST_CELLS: Final = 50_000_000
# maximum size after decompression: a 1 MB file may expand to terabytes
MOST_BYTES: Final = 2 << 30


def parse(data: bytes, path: Path, ignored: Collection[str]) -> Parsed:
    """Raises UserError for a file that is damaged or too large."""
    require("pyarrow", what=f"reading '{path}'")
    try:
        _check_size(data, path)
        frame = pd.read_parquet(io.BytesIO(data))
    except UserError:
        raise
    except Exception as error:  # pyarrow raises a dozen kinds of errors for damaged files
        raise UserError(f"'{path}' cannot be read as Parquet: {error}") from error
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()  # pandas stores an index with a name as a column
    columns = {str(name): _column(frame[name]) for name in frame.columns}
    return Parsed(frame=pd.DataFrame(columns), header=tuple(columns))


def _column(column: pd.Series[Any]) -> pd.Series[Any]:
    types = pd.api.types
    has_type = (
        types.is_numeric_dtype(column) or types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column)
    )
    return column if has_type else column_of_values(column.tolist())


def _check_size(data: bytes, path: Path) -> None:
    """Raises UserError if the file would unpack to more than ``MOST_CELLS`` or ``MOST_BYTES``."""
    import pyarrow.parquet  # large, and no other format needs it

    file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
    facts = file.metadata
    if facts.num_columns:
        _check_metadata(file)
    chunks = [facts.row_group(i).column(k) for i in range(facts.num_row_groups) for k in range(facts.num_columns)]
    cells, size = sum(chunk.num_values for chunk in chunks), sum(chunk.total_uncompressed_size for chunk in chunks)
    if max(cells, facts.num_rows * facts.num_columns) > MOST_CELLS or size > MOST_BYTES:
        raise UserError(f"'{path}' is too large to be a table of trials: {cells:,} cells, {size:,} bytes unpacked")
    # a dictionary stores a repeated text only once: it is not expanded before its full size is known
    # https://arrow.apache.org/docs/python/parquet.html#reading-types-as-dictionaryarray
    names = [facts.schema.column(k).path for k in range(facts.num_columns)]
    table = pyarrow.parquet.read_table(io.BytesIO(data), read_dictionary=names)
    size = sum(map(_unpacked_bytes, table.columns))
    if size > MOST_BYTES:
        raise UserError(f"'{path}' is too large to be a table of trials: {size:,} bytes unpacked")


def _check_metadata(file: Any) -> None:
    """Raises OSError if a file's description of its columns is invalid.

    For such a column, ``RowGroupMetaData.column`` of pyarrow 26 aborts the process, because Cython does not translate
    the C++ exception of its constructor (similar: https://github.com/apache/arrow/issues/45283). A reader of zero rows
    makes the same checks and raises Python errors; ``ParquetFile.iter_batches`` does not accept zero rows.
    """
    for group in range(file.metadata.num_row_groups):
        list(file.reader.iter_batches(0, row_groups=[group], use_threads=False))


def _unpacked_bytes(column: Any) -> int:
    """Memory of a text column in bytes, if each row has its own copy of its text."""
    size = 0
    for chunk in column.chunks:
        if not hasattr(chunk, "dictionary"):
            size += chunk.nbytes
            continue
        lengths = [len(text.as_py() or b"") for text in chunk.dictionary]
        if any(lengths):
            size += sum(lengths[i] for i in chunk.indices.to_pylist() if i is not None)
    return size


def _knows(place: Place) -> bool:
    return place.is_plain_file and place.head.startswith(b"PAR1")


SOURCE: Final = Source(kind="a Parquet file", knows=_knows, read=reader(parse))
