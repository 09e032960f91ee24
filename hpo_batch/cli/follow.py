"""Follow studies until their workers have ended: a progress bar, then the results and the next commands.

Read-only: Ctrl-C ends the waiting, not the sweep. SLURM is asked at most once a minute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click

from hpo_batch.cli.options import hint
from hpo_batch.cli.screen import stopped_lines
from hpo_batch.cli.terminal import steering
from hpo_batch.errors import Exit
from hpo_batch.journal.reader import summary_reader
from hpo_batch.monitor.status import StudyStatus, study_statuses
from hpo_batch.monitor.waiting import AGAIN_S, Patience, why_not_working
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions
from hpo_batch.text.lines import one_line

LOOK_EVERY_S = 0.5
# squeue loads the controller, so SchedMD asks users not to poll it: https://slurm.schedmd.com/squeue.html
ASK_SLURM_EVERY_S = 60.0
# trials in the table at the end
SHOWN = 20


def follow(homes: Sequence[StudyHome]) -> int:
    """Wait for the workers of the studies; the exit code tells whether the target is met.

    A failed trial that was replaced by another does not matter, since the target counts finished trials.
    """
    try:
        _wait(homes)
    except KeyboardInterrupt:
        look = "; ".join(hint("status", home.name) for home in homes)
        click.echo(f"\nstopped waiting; the sweep continues. To watch it: {look}", err=True)
        return Exit.INTERRUPTED
    return _report(homes)


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
    console = Console(file=steering(sys.stderr))
    readers = [(home, summary_reader(home.journal)) for home in homes]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars = [progress.add_task(escape(one_line(home.name)), total=None, more="") for home in homes]
        last_text = ""
        asked, workers_left, patience = 0.0, True, Patience()
        while workers_left:
            workers_left, asked = _workers_left(homes, asked, patience)
            texts = []
            for bar, (home, reader) in zip(bars, readers, strict=True):
                counts = reader.read().counts()
                more = f"{counts.running} running" + (f", {counts.failed} failed" if counts.failed else "")
                progress.update(bar, total=counts.target, completed=counts.finished, more=more)
                texts.append(f"{home.name}: {counts.finished} of {counts.target} finished, {more}")
            text = "; ".join(texts)
            if not console.is_terminal and text != last_text:
                click.echo(text, err=True)
            last_text = text
            if workers_left:
                time.sleep(LOOK_EVERY_S)


def _workers_left(homes: Sequence[StudyHome], asked: float, patience: Patience) -> tuple[bool, float]:
    """Whether any worker may still be running, and when SLURM was last asked.

    SLURM is not asked about a study without remaining and running trials, since its workers are about to exit.
    """
    slurm = any(s.is_batch for home in homes for s in read_submissions(home))
    if slurm and asked and time.monotonic() - asked < (AGAIN_S if patience.empty else ASK_SLURM_EVERY_S):
        from hpo_batch.monitor.reader import load_state

        counts = [load_state(home).counts() for home in homes]
        return any(c.remaining or c.running for c in counts), asked
    statuses = study_statuses(homes)
    for line in patience.news(statuses):
        click.echo(line, err=True)
    return patience.goes_on(statuses), time.monotonic()


def _report(homes: Sequence[StudyHome]) -> int:
    from hpo_batch.cli.collect import print_overview, print_summary

    statuses = study_statuses(homes)
    for home in homes:
        click.echo("", err=True)
        print_summary(home, top=SHOWN)
    if len(homes) > 1:
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
