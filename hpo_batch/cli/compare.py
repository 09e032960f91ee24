"""``hpo-batch compare``: several studies side by side, and which differences are certain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.options import json_format_option, logs_root, root_option
from hpo_batch.cli.report import known_options
from hpo_batch.cli.sources import exit_code, read_sources, source_options
from hpo_batch.errors import StorageError, UserError

if TYPE_CHECKING:
    from hpo_batch.findings.known import Known

# only formats that hold a comparison: csv and parquet have one table of plain columns
SUFFIXES = {".md": "md", ".html": "html", ".json": "json", ".tex": "latex", ".txt": "table"}


@click.command(name="compare")
@source_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "md", "html", "json", "latex"]),
    help="Output format [default: from the suffix of --output, else a table].",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Output file; its suffix sets the format."
)
@json_format_option
@known_options
@root_option
def command(
    format_: str | None,
    output: Path | None,
    known: Known,
    seed: int,
    root: Path | None,
    **source_arguments: Any,
) -> int:
    """Compare the studies of each SOURCE (at least two): best values, noise, coverage, effects of parameters.

    Where the trials support no answer, the table says 'cannot tell' or 'not measured', not 'no'.
    """
    if output is not None and format_ is None and output.suffix.lower() not in SUFFIXES:
        raise UserError(f"'{output.name}' has no known suffix ({', '.join(SUFFIXES)}); use one, or add --format")
    tables = read_sources(**source_arguments, root=logs_root(root), reports=True)

    # not before, since memory peaks while large studies are read
    from hpo_batch.files import write_atomic
    from hpo_batch.findings.report import compare

    chosen = format_ or (SUFFIXES[output.suffix.lower()] if output is not None else "table")
    content = compare(tables, known=known, seed=seed).text(chosen)
    if output is None:
        click.echo(content, nl=False)
        return exit_code(tables)
    try:
        write_atomic(output.absolute(), content)
    except OSError as error:
        raise StorageError.because(f"cannot write '{output}'", error, do="choose another file with -o") from error
    click.echo(f"wrote {output.resolve()}", err=True)
    return exit_code(tables)
