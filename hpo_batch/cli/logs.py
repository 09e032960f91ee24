"""``hpo-batch logs``: what a trial printed, attempt by attempt; or its worker, if an attempt printed nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hpo_batch.cli.options import logs_root, one_study, root_option
from hpo_batch.cli.terminal import steering

if TYPE_CHECKING:
    from hpo_batch.monitor.trial_output import Output

# "select graphic rendition", which sets colours: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


@click.command(name="logs")
@click.argument("study_and_trial", nargs=-1, required=True, metavar="[STUDY] TRIAL")
@click.option("--attempt", type=int, help="Which attempt [default: the last].")
@click.option("-f", "--follow", is_flag=True, help="Keep printing while the trial runs, also in its next attempt.")
@click.option("--worker", is_flag=True, help="Print the log of the worker (array task) that ran it instead.")
@click.option("--raw", is_flag=True, help="Print bytes unchanged, also terminal control sequences; for trusted code.")
@root_option
def command(
    study_and_trial: tuple[str, ...], attempt: int | None, follow: bool, worker: bool, raw: bool, root: Path | None
) -> None:
    """Print what TRIAL (a number, a name, or 1-3) wrote, or why it failed. Default STUDY: the newest."""
    from hpo_batch.monitor.reader import StudyReader, trial_numbers
    from hpo_batch.monitor.trial_output import trial_output, worker_output

    if len(study_and_trial) > 2:
        raise click.UsageError("give a study and a trial: hpo-batch logs STUDY TRIAL")
    if worker and follow:
        raise click.UsageError("--follow prints what a trial writes: leave --worker out")
    if follow and attempt is not None:
        raise click.UsageError("--follow continues with the newest attempt: leave --attempt out")
    study = StudyReader(one_study(study_and_trial[0] if len(study_and_trial) == 2 else None, logs_root(root)))
    for number in trial_numbers(study.read(), study_and_trial[-1]):
        if worker:
            _print(worker_output(study, number, attempt=attempt), raw=raw)
        else:
            _print(trial_output(study, number, attempt=attempt, follow=follow), raw=raw)


def _print(output: Output, *, raw: bool) -> None:
    """Notes go to stderr, so that stdout has only what the trial printed."""
    from hpo_batch.monitor.trial_output import Note

    for piece in output:
        if isinstance(piece, Note):
            click.echo(piece.text, err=True)
            continue
        if raw:
            steering(sys.stdout).write(piece.text)
        else:
            sys.stdout.write(_plain(piece.text))
        sys.stdout.flush()


def _plain(text: str) -> str:
    """Without colours, and with each state of a progress bar, which returns to the line's start, on its own line."""
    return re.sub(r"\r+\n?", "\n", _COLOURS.sub("", text))
