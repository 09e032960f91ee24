"""``hpo-batch rm``: move studies to the trash."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from hpo_batch.cli.options import logs_root, root_option, study_homes


@click.command(name="rm")
@click.argument("studies", nargs=-1, required=True, metavar="STUDY...")
@root_option
def command(studies: tuple[str, ...], root: Path | None) -> None:
    """Move each STUDY to .trash in the logs directory. Nothing is deleted."""
    from hpo_batch.launch.trash import remove

    root_folder = logs_root(root)
    # all names are resolved first, so that a typing error removes nothing
    for home in [home for study in studies for home in study_homes(study, root_folder)]:
        path = remove(home)
        back = shlex.join(("mv", str(path), str(home.path)))
        click.echo(f"{home.name}: moved to {path}; to restore it: {back}", err=True)
