"""The formats of a table, and which one is meant: as the option says, or the suffix of the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpo_batch.errors import UserError
from hpo_batch.extras import require


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way to write a table."""

    writer: str
    """``module:function`` that converts a frame to bytes; a name, so that pandas is imported only when needed"""
    suffix: str
    """of files in this format"""
    for_people: bool = False
    """whether it has rounded numbers, and only the columns in which trials differ"""
    is_text: bool = True
    """whether it may be printed to a terminal"""
    package: str | None = None
    """optional package that it needs, see ``extras``"""


# by the name in ``--format``; to add a format, write a function and add a line here
FORMATS: dict[str, Format] = {
    "table": Format(writer="hpo_batch.results.formats:plain_table", suffix=".txt", for_people=True),
    "csv": Format(writer="hpo_batch.results.csv_text:csv_of", suffix=".csv"),
    "json": Format(writer="hpo_batch.results.formats:json_rows", suffix=".json"),
    "md": Format(writer="hpo_batch.results.formats:markdown_table", suffix=".md", for_people=True),
    "latex": Format(writer="hpo_batch.results.formats:latex_table", suffix=".tex", for_people=True),
    "parquet": Format(writer="hpo_batch.results.formats:parquet", suffix=".parquet", is_text=False, package="pyarrow"),
}


def format_of(output: Path | None, given: str | None) -> str:
    """The format asked for, else that of the file's suffix, else a table.

    Raises:
        UserError: the suffix is unknown, or a binary format has no file to go to, or a package is missing.
    """
    by_suffix = {format.suffix: name for name, format in FORMATS.items()}
    if given is None and output is not None and output.suffix.lower() not in by_suffix:
        raise UserError(f"'{output.name}' has no known extension; add --format, one of {', '.join(FORMATS)}")
    chosen = given or (by_suffix[output.suffix.lower()] if output is not None else "table")
    if not FORMATS[chosen].is_text and output is None:
        raise UserError(f"{chosen} is not text: give a file with -o")
    if package := FORMATS[chosen].package:
        require(package, what=f"the format {chosen}")
    return chosen
