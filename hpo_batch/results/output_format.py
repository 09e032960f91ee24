"""The format of a table: as the option says, or the suffix of the file. ``formats`` writes it."""

from __future__ import annotations

from pathlib import Path

from hpo_batch.errors import UserError

FORMATS = ("table", "csv", "json", "md", "latex", "parquet")
# rounded, and only the columns that tell trials apart
FOR_PEOPLE = ("table", "md", "latex")
SUFFIXES = {".csv": "csv", ".json": "json", ".md": "md", ".tex": "latex", ".parquet": "parquet", ".txt": "table"}


def format_of(output: Path | None, given: str | None) -> str:
    """The format asked for, else that of the file's suffix, else a table.

    Raises:
        UserError: the suffix says nothing, or Parquet without a file.
    """
    if given is None and output is not None and output.suffix.lower() not in SUFFIXES:
        raise UserError(f"'{output.name}' does not tell a format; add --format, one of {', '.join(FORMATS)}")
    chosen = given or (SUFFIXES[output.suffix.lower()] if output is not None else "table")
    if chosen == "parquet" and output is None:
        raise UserError("parquet is not text: give a file with -o")
    return chosen
