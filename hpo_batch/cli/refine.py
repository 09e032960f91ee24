"""``hpo-batch refine``: write the next sweep after some studies, to review and submit."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.confirm import folder_of
from hpo_batch.cli.options import hint, logs_root, root_option
from hpo_batch.cli.report import known_options
from hpo_batch.cli.sources import read_sources, source_options
from hpo_batch.errors import Exit, UserError

if TYPE_CHECKING:
    from hpo_batch.findings.known import Known


@click.command(name="refine")
@source_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="NEXT.toml",
    help="The sweep to write [default: the next version of the study's name, here].",
)
@click.option("--diff", is_flag=True, help="Print what changes in the sweep's file.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the sweep and its reasons; write nothing.")
@known_options
@root_option
def command(
    output: Path | None, diff: bool, dry_run: bool, known: Known, seed: int, root: Path | None, **source_arguments: Any
) -> int:
    """Write the next sweep after SOURCE, a study: what to widen, leave out, fix or give a fair share, with reasons.

    Further SOURCEs with the same objective add their trials. For a file of trials, --sweep names the sweep.
    Beside NEXT.toml come NEXT.rationale.md and NEXT.decisions.json. Nothing is overwritten. If the trials carry no
    change, nothing is written, stderr says which trials would lift that, and the exit code is 5.
    """
    folder_of(output)
    tables = read_sources(**source_arguments, root=logs_root(root), reports=True)

    from hpo_batch.next.refine import refine, write

    if tables[0].left_out:
        raise UserError("a SOURCE could not be read: a sweep is refined from all that was named, or not at all")
    made = refine(
        tables,
        root=logs_root(root),
        text=_own_text(source_arguments),
        path=output,
        known=known,
        seed=seed,
    )
    if not dry_run:
        write(made)
    if diff:
        before, after = made.before.splitlines(), made.toml.splitlines()
        lines = difflib.unified_diff(before, after, tables[0].source, str(made.path), lineterm="", n=1)
        click.echo("\n".join(lines))
    elif dry_run:
        click.echo(made.toml, nl=False)
    for decision in made.decisions:
        if decision.changes:
            click.echo(f"{decision.parameter}: {decision.comment}", err=True)
    click.echo(made.change.text, err=True)
    for note in made.notes:
        click.echo(f"note: {note}", err=True)
    if not dry_run:
        if not diff:
            click.echo(made.path)
        click.echo(f"next: {hint('check', str(made.path))}   {hint('submit', str(made.path))}", err=True)
    return Exit.OK


def _own_text(arguments: dict[str, Any]) -> str | None:
    """The sweep's file, if the user has named one."""
    named = arguments["sweep"]
    sources = (*arguments["sources"], *arguments["files"])
    if named is None and sources and sources[0].endswith(".toml") and Path(sources[0]).is_file():
        named = Path(sources[0])
    if named is None:
        return None
    text: str = Path(named).read_text(encoding="utf-8-sig")
    return text
