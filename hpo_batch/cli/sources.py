"""SOURCE and its options, as all reading commands have them: studies, files of anybody, Optuna storages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hpo_batch.errors import UserError

if TYPE_CHECKING:
    from hpo_batch.results.table import TrialsTable

F = TypeVar("F", bound=Callable[..., Any])
OPTIONS = ("sources", "files", "sweep", "maps", "value", "direction", "params", "ignore")
"""names of the arguments that ``source_options`` adds"""


def source_options(command: F) -> F:
    """``[SOURCE ...] --from --sweep --map --value --direction --params --ignore``; hand them to ``read_sources``."""
    command = column_options(command)
    for decorate in reversed(
        (
            click.argument("sources", nargs=-1, metavar="[SOURCE ...]"),
            click.option(
                "--from",
                "files",
                multiple=True,
                metavar="FILE",
                help="The same as SOURCE: a CSV, JSON or Parquet file, an Optuna storage.",
            ),
            click.option(
                "--sweep",
                type=click.Path(path_type=Path, dir_okay=False),
                help="The sweep whose space the trials of a file are from [default: inferred and shown].",
            ),
        )
    ):
        command = decorate(command)
    return command


def column_options(command: F) -> F:
    """``--map --value --direction --params --ignore``: what the columns of a file are."""
    for decorate in reversed(
        (
            click.option(
                "--map", "maps", multiple=True, metavar="NAME=COLUMN", help="What a file's column is: lr=col."
            ),
            click.option("--value", multiple=True, metavar="COLUMN", help="A file's column with the objective."),
            click.option("--direction", multiple=True, metavar="D", help="maximize or minimize, for files."),
            click.option("--params", multiple=True, metavar="A,B,..", help="The columns that are parameters."),
            click.option("--ignore", multiple=True, metavar="COLUMN", help="A file's column to leave out."),
        )
    ):
        command = decorate(command)
    return command


def read_sources(
    *,
    sources: tuple[str, ...],
    files: tuple[str, ...],
    sweep: Path | None,
    maps: tuple[str, ...],
    value: tuple[str, ...],
    direction: tuple[str, ...],
    params: tuple[str, ...],
    ignore: tuple[str, ...],
    root: Path,
    **more: bool,
) -> tuple[TrialsTable, ...]:
    """The tables that the options of ``source_options`` name; what was assumed is told on stderr.

    Args:
        root: the logs directory.
        more: further arguments of ``results.read.read_tables``.

    Raises:
        UserError: see ``read_tables``.
    """
    from hpo_batch.results.read import read_tables
    from hpo_batch.space.words import printable

    mapping = parse_maps(maps)
    tables = read_tables(
        (*sources, *files),
        root=root,
        sweep=sweep,
        into=None,
        mapping=mapping,
        value=value,
        directions=direction,
        params=split_names(params),
        ignore=ignore,
        **more,
    )
    for table in tables:
        for note in table.notes:
            click.echo(printable(f"{table.label}: {note}"), err=True)
    return tables


def parse_maps(texts: tuple[str, ...]) -> dict[str, str]:
    """Our name -> the file's. Raises UserError for a text without both."""
    mapping = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not ours or not equals or not theirs:
            raise UserError(f"--map: '{text}' is not NAME=COLUMN")
        mapping[ours] = theirs
    return mapping


def split_names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())
