"""``hpo-batch status``: one screen per study."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import logs_root, root_option, study_homes
from hpo_batch.errors import Exit
from hpo_batch.files import shown_json

if TYPE_CHECKING:
    from hpo_batch.monitor.status import StudyStatus


@click.command(name="status")
@click.argument("study", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, described in docs/status-json.md.")
@click.option("-w", "--watch", is_flag=True, help="Keep watching until q or Ctrl-C; asks SLURM once a minute.")
@click.option("--all", "all_workers", is_flag=True, help="List every worker, even if there are many.")
@click.option("--accounting", is_flag=True, help="Ask sacct too, for charged hours and all idle time.")
@root_option
def command(
    study: str | None, as_json: bool, watch: bool, all_workers: bool, accounting: bool, root: Path | None
) -> int:
    """Show the trials, workers and best value of STUDY (default: the newest).

    Changes nothing. Asks SLURM once for all studies, and reports what could not be checked.
    """
    from hpo_batch.monitor.status import View

    view = View(study_homes(study, logs_root(root)))
    if not watch:
        statuses = view.look(accounting=accounting)
        click.echo(_json(statuses, indent=2) if as_json else _text(statuses, all_workers=all_workers))
        for error in view.unreadable.values():
            click.echo(f"error: {error}", err=True)
        return next((error.exit_code for error in view.unreadable.values()), Exit.OK)
    try:
        if sys.stdout.isatty() and not as_json and os.environ.get("TERM", "dumb") != "dumb":
            from hpo_batch.cli.live_screen import redraw
            from hpo_batch.monitor.status import ASK_SLURM_EVERY_S, LOOK_EVERY_S

            every = f"reads the journal every {LOOK_EVERY_S:g} s, asks SLURM every {ASK_SLURM_EVERY_S:g} s"
            redraw(view.watch(accounting=accounting), all_workers=all_workers, every=every)
        else:
            _print_changes(view.watch(accounting=accounting), as_json=as_json, all_workers=all_workers)
    except KeyboardInterrupt:
        pass  # the way to stop watching
    return Exit.OK


def _print_changes(looks: Iterable[list[StudyStatus]], *, as_json: bool, all_workers: bool) -> None:
    """Without a terminal: print the screen after each change, JSON as one line."""
    before = None
    for statuses in looks:
        now = tuple(status.gist for status in statuses)
        if now != before:
            text = _json(statuses) if as_json else _text(statuses, all_workers=all_workers) + "\n"
            click.echo(text)  # which flushes
        before = now


def _json(statuses: Sequence[StudyStatus], *, indent: int | None = None) -> str:
    return shown_json([status.as_json() for status in statuses], indent=indent)


def _text(statuses: Sequence[StudyStatus], *, all_workers: bool) -> str:
    from hpo_batch.cli.screen import screen

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return "\n\n".join("\n".join(screen(status, width=width, all_workers=all_workers)) for status in statuses)
