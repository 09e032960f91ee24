"""``hpo-batch import``: make a study of finished trials from elsewhere, as history for a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.options import hint, logs_root, root_option
from hpo_batch.cli.sources import ColumnOptions, column_options

if TYPE_CHECKING:
    from hpo_batch.sources.import_trials import Imported


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, metavar="FILE ...")
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="SWEEP",
    help="The TOML of the sweep whose sampler learns from the trials. It defines parameters and metric.",
)
@click.option(
    "--budget", metavar="BUDGET", help="The [[budget]] of SWEEP that the trials are for, if there are several."
)
@click.option("--name", metavar="NAME", help="Name of the study [default: the first file's name].")
@column_options
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be imported; write nothing.")
@root_option
def command(
    files: tuple[str, ...],
    into: Path,
    budget: str | None,
    name: str | None,
    dry_run: bool,
    root: Path | None,
    **columns: Any,
) -> None:
    """Make a study of the finished trials in FILE, so that the sampler of SWEEP learns from them.

    FILE is a CSV, JSON or Parquet file, a Ray Tune folder, or an Optuna storage: a SQLite file, a journal, a URL.
    Append '#NAME' to pick one study of a storage. Complete trials with a finite value inside the space are imported.
    stdout has the line to add to [study] of SWEEP; stderr lists assumptions and what was imported or left out.
    """
    from hpo_batch.sources.import_trials import Import, import_trials

    shared, own = ColumnOptions(**columns).by_source(files)
    request = Import(files=files, into=into, budget=budget, name=name, columns=shared, columns_of=own)
    imported = import_trials(
        request, root=logs_root(root), dry_run=dry_run, tell=lambda line: click.echo(line, err=True)
    )
    home = imported.home
    verb = f"the study '{home.name}' would be made" if dry_run else f"made the study '{home.name}'"
    trials = f"{imported.count} finished trial{'' if imported.count == 1 else 's'}"
    click.echo(f"{verb} in {home.path}, with {trials}", err=True)
    _say_what_to_add(imported, into, budget=budget, is_made=not dry_run)


def _say_what_to_add(imported: Imported, into: Path, *, budget: str | None, is_made: bool) -> None:
    study, name = imported.sweep.study, imported.home.name
    if imported.is_imported:
        click.echo(f"{into} imports it already: nothing to add", err=True)
        if imported.is_frozen:
            path = study.name if budget is None else f"{study.name}/{budget}"
            click.echo(
                f"warning: the study '{path}' keeps the imports that it has read: remove the name from {into}, submit "
                f"it, then add the name again",
                err=True,
            )
        return
    line = f"import = {json.dumps([*study.import_, name])}"
    table = "[study]" if budget is None else f"the [[budget]] '{budget}'"
    instead = ", in place of the import there" if study.import_ else ""
    click.echo(f"to show them to the sampler, add this line to {table} of {into}{instead}:", err=True)
    # alone on stdout, so that a script can append it
    click.echo(line if budget is None else f"study.{line}")
    if is_made:
        click.echo(f"next: {hint('check', str(into))}   {hint('collect', name)}", err=True)
