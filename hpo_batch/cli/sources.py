"""The SOURCE argument and its options, shared by all reading commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hpo_batch.errors import Exit, UserError
from hpo_batch.text.lines import printable

if TYPE_CHECKING:
    from hpo_batch.results.table import TrialsTable
    from hpo_batch.sources.columns import Columns
    from hpo_batch.sources.read import Parts

F = TypeVar("F", bound=Callable[..., Any])


def source_options(command: F) -> F:
    """``[SOURCE ...] --from --sweep --map --value --direction --params --ignore``; pass them to ``read_sources``."""
    command = column_options(command)
    # reversed: decorators apply from the last to the first, and --help lists them in the order written here
    for decorate in reversed(
        (
            click.argument("sources", nargs=-1, metavar="[SOURCE ...]"),
            click.option(
                "--from",
                "files",
                multiple=True,
                metavar="FILE",
                help="Same as SOURCE: a CSV, JSON or Parquet file, an Optuna storage, a Ray Tune folder.",
            ),
            click.option(
                "--sweep",
                type=click.Path(path_type=Path, dir_okay=False),
                help="The sweep of a file's trials, which defines their space [default: inferred and shown].",
            ),
        )
    ):
        command = decorate(command)
    return command


def column_options(command: F) -> F:
    """``--map --value --direction --params --ignore``: the meaning of a file's columns.

    Each applies to all files, or to one file with the prefix ``FILE:``; see ``ColumnOptions.by_source``.
    """
    for decorate in reversed(
        (
            click.option(
                "--map",
                "maps",
                multiple=True,
                metavar="NAME=COLUMN",
                help="Rename a file's column: lr=col; FILE:lr=col for one file.",
            ),
            click.option(
                "--value",
                multiple=True,
                metavar="COLUMN",
                help="The column with the objective; FILE:COLUMN for one file.",
            ),
            click.option("--direction", multiple=True, metavar="D", help="maximize or minimize, for files."),
            click.option("--params", multiple=True, metavar="A,B,..", help="The columns that are parameters."),
            click.option("--ignore", multiple=True, metavar="COLUMN", help="A column to leave out."),
        )
    ):
        command = decorate(command)
    return command


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """The values of ``column_options``, as typed."""

    maps: tuple[str, ...]
    value: tuple[str, ...]
    direction: tuple[str, ...]
    params: tuple[str, ...]
    ignore: tuple[str, ...]

    def by_source(self, sources: Sequence[str]) -> tuple[Columns, dict[str, Columns]]:
        """The options for all sources, and those for single sources.

        ``runs.csv:lr=rate`` applies to ``runs.csv``, if that is a SOURCE or a SOURCE's file name.

        Raises:
            UserError: the name before the colon fits several sources, or a value of ``--map`` has no ``=``.
        """
        return by_source(sources, self.column_texts)

    @property
    def column_texts(self) -> dict[str, tuple[str, ...]]:
        return {one.name: getattr(self, one.name) for one in fields(ColumnOptions)}


@dataclass(frozen=True, kw_only=True)
class SourceOptions(ColumnOptions):
    """The values of ``source_options``."""

    sources: tuple[str, ...]
    files: tuple[str, ...]
    sweep: Path | None

    @property
    def is_one_source(self) -> bool:
        """Whether there is one SOURCE and no other option."""
        others = (self.files, self.sweep, self.maps, self.value, self.direction, self.params, self.ignore)
        return len(self.sources) == 1 and not any(others)


def read_sources(
    *, root: Path, parts: Parts | None = None, reports: bool = True, tell: bool = True, **options: Any
) -> tuple[TrialsTable, ...]:
    """Read the tables that ``source_options`` names; prints assumptions and errors to stderr.

    Args:
        root: the logs directory.
        parts: what to read.
        reports: read the reported values of each step, unless ``parts`` decides.
        tell: print; not where the same is read again.
        options: the values of ``source_options``.

    Raises:
        UserError: see ``read_tables``.
    """
    from hpo_batch.sources.read import Parts, read_tables

    request = SourceOptions(**options)
    sources = (*request.sources, *request.files)
    columns, columns_of = request.by_source(sources)
    tables = read_tables(
        sources,
        root=root,
        sweep=request.sweep,
        columns=columns,
        columns_of=columns_of,
        parts=parts or Parts(reports=reports),
    )
    for table in tables if tell else ():
        for error in table.left_out:
            click.echo(f"error: {printable(error)}", err=True)
        for note in table.notes:
            click.echo(printable(f"{table.label}: {note}"), err=True)
    return tables


def exit_code(tables: Sequence[TrialsTable]) -> Exit:
    """The exit code of a command that printed what it could read."""
    return Exit.STORAGE if any(table.left_out for table in tables) else Exit.OK


def by_source(sources: Sequence[str], options: Mapping[str, tuple[str, ...]]) -> tuple[Columns, dict[str, Columns]]:
    """See ``ColumnOptions.by_source``."""
    shared: dict[str, list[str]] = {name: [] for name in options}
    own: dict[str, dict[str, list[str]]] = {}
    for name, texts in options.items():
        for text in texts:
            source, rest = _scope(text, sources, f"--{'map' if name == 'maps' else name}")
            (shared if source is None else own.setdefault(source, {n: [] for n in options}))[name].append(rest)
    return _columns(shared), {source: _columns(texts) for source, texts in own.items()}


def _scope(text: str, sources: Sequence[str], option: str) -> tuple[str | None, str]:
    """The source that an option applies to (None: all), and the rest of its text."""
    whole = [source for source in sources if text.startswith(f"{source}:")]
    if whole:
        # the longest: a URL has a colon too, and one source may begin like another
        source = max(whole, key=len)
        return source, text[len(source) + 1 :]
    named = {source: Path(source).name for source in sources}
    matches = [source for source, name in named.items() if name and text.startswith(f"{name}:")]
    if len(set(matches)) > 1:
        raise UserError(f"{option}: '{named[matches[0]]}' may be {' or '.join(matches)}: write it like the SOURCE")
    return (matches[0], text[len(named[matches[0]]) + 1 :]) if matches else (None, text)


def _columns(texts: Mapping[str, Sequence[str]]) -> Columns:
    from hpo_batch.sources.columns import Columns

    return Columns(
        mapping=parse_maps(tuple(texts["maps"])),
        value=tuple(texts["value"]),
        directions=tuple(texts["direction"]),
        params=split_names(tuple(texts["params"])),
        ignore=tuple(texts["ignore"]),
    )


def parse_maps(texts: tuple[str, ...]) -> dict[str, str]:
    """Our name -> the file's name. Raises UserError for a text that is not ``NAME=COLUMN``."""
    mapping = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not ours or not equals or not theirs:
            raise UserError(f"--map: '{text}' is not NAME=COLUMN")
        mapping[ours] = theirs
    return mapping


def split_names(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())
