"""``hpo-batch logs``: what a trial printed, attempt by attempt; or its worker, if an attempt printed nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hpo_batch.cli.options import logs_root, naming_a_trial, one_study, root_option
from hpo_batch.cli.terminal import steering

if TYPE_CHECKING:
    from hpo_batch.monitor.trial_output import Output

SCHEMA_VERSION: Final = 1
"""of the JSON; adding keys does not change it"""
# "select graphic rendition", which sets colours: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


@click.command(name="logs")
@click.argument("study_and_trial", nargs=-1, required=True, metavar="[STUDY] TRIAL")
@click.option("--attempt", type=int, help="Which attempt [default: the last].")
@click.option("-f", "--follow", is_flag=True, help="Keep printing while the trial runs, also in its next attempt.")
@click.option("--worker", is_flag=True, help="Print the log of the worker (array task) that ran it instead.")
@click.option("--raw", is_flag=True, help="Print bytes unchanged, also terminal control sequences; for trusted code.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, described in docs/json.md.")
@root_option
def command(
    study_and_trial: tuple[str, ...],
    attempt: int | None,
    follow: bool,
    worker: bool,
    raw: bool,
    as_json: bool,
    root: Path | None,
) -> None:
    """Print what TRIAL (a number, a name, or 1-3) wrote, or why it failed. Default STUDY: the newest."""
    from hpo_batch.monitor.reader import StudyReader, trial_numbers
    from hpo_batch.monitor.trial_output import trial_output, worker_output

    if as_json and (follow or raw):
        raise click.UsageError(f"--json prints all at once, as text: leave {'--follow' if follow else '--raw'} out")
    if len(study_and_trial) > 2:
        raise click.UsageError("give a study and a trial: hpo-batch logs STUDY TRIAL")
    if worker and follow:
        raise click.UsageError("--follow prints what a trial writes: leave --worker out")
    if follow and attempt is not None:
        raise click.UsageError("--follow continues with the newest attempt: leave --attempt out")
    study = StudyReader(one_study(study_and_trial[0] if len(study_and_trial) == 2 else None, logs_root(root)))
    with naming_a_trial(study_and_trial, logs_root(root)):
        numbers = trial_numbers(study.read(), study_and_trial[-1])
    printed: list[dict[str, object]] = []
    for number in numbers:
        if worker:
            output = worker_output(study, number, attempt=attempt)
        else:
            output = trial_output(study, number, attempt=attempt, follow=follow)
        if as_json:
            printed.append(_gathered(study.home.name, number, output))
        else:
            _print(output, raw=raw)
    if as_json:
        from hpo_batch.files import shown_json

        click.echo(shown_json(printed))


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


def _gathered(study: str, number: int, output: Output) -> dict[str, object]:
    """All output of one trial: notes of ours, and text by the file that it is from."""
    from hpo_batch.monitor.trial_output import Note

    notes: list[str] = []
    parts: list[dict[str, str]] = []
    for piece in output:
        if not isinstance(piece, Note):
            parts[-1]["text"] += _plain(piece.text)
        elif piece.path is not None:
            parts.append({"path": str(piece.path), "text": ""})
        else:
            notes.append(piece.text)
    return {"schema_version": SCHEMA_VERSION, "study": study, "trial": number, "notes": notes, "output": parts}


def _plain(text: str) -> str:
    """Without colours, and with each state of a progress bar, which returns to the line's start, on its own line."""
    return re.sub(r"\r+\n?", "\n", _COLOURS.sub("", text))
