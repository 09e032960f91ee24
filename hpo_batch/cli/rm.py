"""``hpo-batch rm``: put studies aside."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

from hpo_batch.cli.options import logs_root, root_option, study_homes


@click.command(name="rm")
@click.argument("studies", nargs=-1, required=True, metavar="STUDY...")
@root_option
def command(studies: tuple[str, ...], root: Path | None) -> None:
    """Put each STUDY aside: its directory is moved to .trash in the logs directory. Nothing is deleted."""
    from hpo_batch.launch.ownership import check_ours
    from hpo_batch.launch.submit_lock import turn
    from hpo_batch.launch.trash import put_aside
    from hpo_batch.monitor.live import live
    from hpo_batch.study.read import read_state

    folder = logs_root(root)
    homes = [home for study in studies for home in study_homes(study, folder)]
    for home in homes:
        check_ours(home)
        with turn(home):
            aside = put_aside(home, read_state(home), live([home])[home.name], now=time.time())
        back = shlex.join(("mv", str(aside), str(home.path)))
        click.echo(f"{home.name}: moved to {aside}; to bring it back: {back}", err=True)
