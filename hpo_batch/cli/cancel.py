"""``hpo-batch cancel``: end a study's workers, or let them finish their trials."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import check_ours, hint, live_homes, logs_root, root_option

if TYPE_CHECKING:
    from hpo_batch.launch.cancel import Ended
    from hpo_batch.records import Counts


@click.command(name="cancel")
@click.argument("study", required=False)
@click.option("--drain", is_flag=True, help="Let running trials finish; start no new ones.")
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@root_option
def command(study: str | None, drain: bool, yes: bool, root: Path | None) -> None:
    """End the workers of STUDY (default: the only one with trials left). Unfinished trials wait for resume."""
    from hpo_batch.launch.cancel import cancel, target_of
    from hpo_batch.monitor.reader import load_state

    homes = live_homes(study, logs_root(root))
    for home in homes:
        check_ours(home)
    # without a terminal there is nobody to answer
    if not yes and sys.stdin.isatty():
        what = "drain" if drain else "cancel"
        click.confirm(f"{what} {', '.join(home.name for home in homes)}?", abort=True, err=True)
    ended = cancel([target_of(home) for home in homes], drain=drain, say=lambda text: click.echo(text, err=True))
    # after cancel: workers that have ended by now have given their trials back
    counts = {home.name: load_state(home).counts() for home in homes}
    for line in _lines(counts, ended, drain=drain):
        click.echo(line, err=True)


def _lines(counts_of: Mapping[str, Counts], ended: Ended, *, drain: bool) -> list[str]:
    lines = []
    for name, counts in counts_of.items():
        marked = "no further trial starts" if drain else "cancelled"
        left = (
            f"{counts.remaining} of {counts.target} trials {'is' if counts.remaining == 1 else 'are'} left"
            if counts.remaining
            else "all trials are finished"
        )
        running = f", {counts.running} run to their end" if drain and counts.running else ""
        lines.append(f"{name}: {marked}; {left}{running}")
    if ended.jobs:
        what = "jobs whose waiting tasks were cancelled" if drain else "cancelled jobs"
        lines.append(f"  {what}: {', '.join(ended.jobs)}")
    if ended.local:
        lines.append(f"  local workers ended: {', '.join(worker.name for worker in ended.local)}")
    for worker in ended.killed:
        lines.append(f"  killed because it did not end: {worker.name}; its trial continues from its last checkpoint")
    for worker in ended.left:
        lines.append(f"  worker {worker.name} on {worker.host} cannot be ended from here; it ends by itself soon")
    lines.append(f"resume with: {hint('resume', next(iter(counts_of)).partition('/')[0])}")
    return lines
