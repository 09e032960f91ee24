"""Reads the files that trainers are given; pandas is imported when a table is read."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpo_batch.extras import install, is_installed
from hpo_batch.text.lines import short
from hpo_batch.text.names import listed

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
GZIP: Final = b"\x1f\x8b"
UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
LONGEST_NAME: Final = 60


def located(given: str) -> Path:
    """The absolute path of a file or folder; `~` is a home directory, where there is one."""
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError:  # no such user
        return Path(given).absolute()


def version(path: Path, otherwise: str = "'data' is") -> tuple[int, int]:
    """What changes with the file: a key for caches.

    Raises:
        ValueError: there is no such file; `otherwise` begins the advice.
    """
    advice = f"{otherwise} the path of a .csv or .parquet file"
    try:
        stat, is_folder, is_file = path.stat(), path.is_dir(), path.is_file()
    except (OSError, ValueError):  # also a name that is too long, or has a NUL
        raise ValueError(f"no data file '{short(path, 300)}': {advice}") from None
    if not is_file:
        raise ValueError(f"'{path}' is {'a folder' if is_folder else 'no regular file'}: {advice}")
    return stat.st_mtime_ns, stat.st_size


def read_table(path: Path) -> pd.DataFrame:
    """The whole table.

    A CSV file is read as UTF-8, or as ISO 8859-1 if it is not: ASSISTments 2009 is published in it, and no two texts
    become one.

    Raises:
        ValueError: the name says no format, or the content is another.
    """
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if not {".csv", ".parquet", ".pq"} & suffixes:
        raise ValueError(f"cannot tell the format of '{path}': its name must end in .csv or .parquet")
    try:
        frame = _read_csv(path) if ".csv" in suffixes else _read_parquet(path)
    except MemoryError:
        raise
    except Exception as error:  # pandas and pyarrow break on foreign files in many ways: EOFError, zlib.error, ...
        raise ValueError(f"cannot read '{path}': {_first_line(error)}") from error
    if frame.columns.size == 1 and (found := [s for s in (";", "\t", "|") if s in str(frame.columns[0])]):
        raise ValueError(f"the columns of '{path}' are separated by {found[0]!r}, and must be by ','")
    if not len(frame):
        raise ValueError(f"'{path}' has no rows")
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    if path.suffix.lower() == ".csv":
        with path.open("rb") as file:
            head = file.read(4096)
        if head.startswith(GZIP):
            raise ValueError("it is compressed by gzip: its name must end in .csv.gz")
        if head.startswith(UTF16) or b"\0" in head:
            raise ValueError("it is UTF-16 or no text; convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW")
    encoding = "utf-8"
    try:
        frame = pd.read_csv(path, low_memory=False)
    except UnicodeDecodeError:
        log.info("'%s' is not UTF-8, and read as ISO 8859-1", path)
        encoding = "iso-8859-1"
        frame = pd.read_csv(path, low_memory=False, encoding=encoding)
    # pandas calls a second 'high' 'high.1', and nobody would know which of them is used
    names = pd.read_csv(path, header=None, nrows=1, dtype=str, encoding=encoding).iloc[0].dropna()
    if (twice := names[names.duplicated()]).any():
        raise ValueError(f"it has two columns {quoted(twice.unique())}")
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not is_installed("pyarrow"):
        raise ValueError(f"pyarrow is not installed: {install('pyarrow')}")
    return pd.read_parquet(path)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return short(lines[0], 300) if lines else type(error).__name__


def quoted(names: Iterable[object]) -> str:
    return listed(f"'{short(name, LONGEST_NAME)}'" for name in names)
