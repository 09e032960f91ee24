"""Reads the table in a CSV or Parquet file; pandas is imported when one is read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def version(path: Path, otherwise: str = "'data' is") -> tuple[int, int]:
    """What changes with the file: a key for caches.

    Raises:
        ValueError: there is no such file; `otherwise` begins the advice.
    """
    if not path.is_file():
        raise ValueError(f"no data file '{path}': {otherwise} the path of a .csv or .parquet file")
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def read_table(path: Path) -> pd.DataFrame:
    """The whole table.

    Raises:
        ValueError: the name says no format, or the content is another.
    """
    import pandas as pd

    if not {".csv", ".parquet", ".pq"} & set(path.suffixes):
        raise ValueError(f"cannot tell the format of '{path}': its name must end in .csv or .parquet")
    try:
        return pd.read_csv(path, low_memory=False) if ".csv" in path.suffixes else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"cannot read '{path}': {error}") from error


def quoted(names: Iterable[object]) -> str:
    return ", ".join(f"'{name}'" for name in names)
