"""Follow studies until their workers have ended: a progress bar, then the results and the next commands.

Read-only: Ctrl-C ends the waiting, not the sweep. SLURM is asked at most once a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from hpo_batch.cli.options import hint
from hpo_batch.cli.screen import stopped_lines
from hpo_batch.cli.terminal import steering
from hpo_batch.errors import Exit
from hpo_batch.monitor.status import StudyStatus, study_statuses
from hpo_batch.monitor.waiting import wait_for_workers, why_not_working
from hpo_batch.store.home import StudyHome
from hpo_batch.text.lines import one_line

# best configurations in the table at the end: with the next commands they still fit on one screen
SHOWN = 20


def follow(homes: Sequence[StudyHome], *, tables: bool = True) -> int:
    """Wait for the workers of the studies; the exit code tells whether the target is met.

    A failed trial that was replaced by another does not matter, since the target counts finished trials.

    Args:
        tables: print the results to stdout.
    """
    try:
        _wait(homes)
    except KeyboardInterrupt:
        look = "; ".join(hint("status", home.name) for home in homes)
        click.echo(f"\nstopped waiting; the sweep continues. To watch it: {look}", err=True)
        return Exit.INTERRUPTED
    return _report(homes, tables=tables)


def _wait(homes: Sequence[StudyHome]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[more]}"),
        TimeElapsedColumn(),
    )
    # rich draws with escape sequences, which our stderr would spell out
    console = Console(file=steering(sys.stderr))
    last_text = ""
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        # escaped: rich reads [...] in a name as markup, https://rich.readthedocs.io/en/stable/markup.html#escaping
        bars = [progress.add_task(escape(one_line(home.name)), total=None, more="") for home in homes]
        for all_counts in wait_for_workers(homes, tell=lambda line: click.echo(line, err=True)):
            texts = []
            for bar, home, counts in zip(bars, homes, all_counts, strict=True):
                more = f"{counts.running} running" + (f", {counts.failed} failed" if counts.failed else "")
                progress.update(bar, total=counts.target, completed=counts.finished, more=more)
                texts.append(f"{home.name}: {counts.finished} of {counts.target} finished, {more}")
            text = "; ".join(texts)
            # in a log file a line for each change, instead of a bar that is redrawn
            if not console.is_terminal and text != last_text:
                click.echo(text, err=True)
            last_text = text


def _report(homes: Sequence[StudyHome], *, tables: bool) -> int:
    from hpo_batch.cli.collect import print_overview, print_summary

    statuses = study_statuses(homes)
    for home in homes if tables else ():
        click.echo("", err=True)
        print_summary(home, top=SHOWN)
    if tables and len(homes) > 1:
        print_overview(homes)
    _next_steps(statuses)
    return Exit.TRIALS_FAILED if any(status.counts.remaining for status in statuses) else Exit.OK


def _next_steps(statuses: Sequence[StudyStatus]) -> None:
    click.echo("\nnext:", err=True)
    for status in statuses:
        name = status.name
        if status.counts.remaining:
            for line in (*why_not_working(status), *map(str, status.dead)):
                click.echo(f"  {name}: {line}", err=True)
            for label, text in stopped_lines(status.stopped, name) if status.stopped is not None else ():
                click.echo(f"  {label:<8}  {text}", err=True)
        commands = [(hint("logs", name, str(status.best.number)), "output of the best trial")] if status.best else []
        commands.append((hint("status", name), "trials, workers, failures"))
        commands.append((hint("collect", name, "-o", f"{name.replace('/', '-')}.csv"), "every trial, all metrics"))
        width = max(len(command) for command, _ in commands)
        for command, meaning in commands:
            click.echo(f"  {command:<{width}}   {meaning}", err=True)
