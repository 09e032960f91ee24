"""``hpo-batch logs``: what a trial wrote, attempt by attempt."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import logs_root, one_study, root_option, trial_numbers
from hpo_batch.errors import StorageError, UserError

if TYPE_CHECKING:
    from hpo_batch.store.home import StudyHome
    from hpo_batch.store.scan import JournalState

FOLLOW_S = 0.5


@click.command(name="logs")
@click.argument("study_and_trial", nargs=-1, required=True, metavar="[STUDY] TRIAL")
@click.option("--attempt", type=int, help="Which attempt [default: the last].")
@click.option("-f", "--follow", is_flag=True, help="Go on printing while the trial runs.")
@root_option
def command(study_and_trial: tuple[str, ...], attempt: int | None, follow: bool, root: Path | None) -> None:
    """Print what TRIAL (a number, a name, or 1-3) wrote, or why it failed. STUDY left out: the newest."""
    from hpo_batch.monitor.status import load_state

    if len(study_and_trial) > 2:
        raise click.UsageError("give a study and a trial: hpo-batch logs STUDY TRIAL")
    study = study_and_trial[0] if len(study_and_trial) == 2 else None
    home = one_study(study, logs_root(root))
    state = load_state(home)
    names = {t.facts["name"]: t.number for t in state.trials if t.facts.get("name")}
    for number in trial_numbers(study_and_trial[-1], names, len(state.trials)):
        _print_trial(home, state, number, attempt)
        if follow:
            _follow(home, number)


def _print_trial(home: StudyHome, state: JournalState, number: int, attempt: int | None) -> None:
    trial = state.trials[number]
    record = trial.record()
    which = attempt or trial.attempt
    if attempt is not None and not 1 <= attempt <= trial.attempt:
        raise UserError(f"trial {number} has {trial.attempt} attempts; there is no attempt {attempt}")
    name = f" ({record.name})" if record.name else ""
    place = ""
    if record.attempts:
        run = record.attempts[min(which, len(record.attempts)) - 1]
        gpus = f", GPU {','.join(run.gpus)}" if run.gpus else ""
        place = f", attempt {which} of {trial.attempt} on {run.host} (job {run.job}{gpus})"
    click.echo(f"trial {number}{name}: {record.state.name}{place}", err=True)
    if record.reason:
        click.echo(f"reason: {record.reason}: {record.message or 'no message'}", err=True)
    repeats = trial.facts.get("repeats")
    if repeats is not None:
        click.echo(f"it has the configuration of trial {repeats} and was answered from it: see logs there", err=True)
        return
    folder = home.attempt(number, which)
    try:
        _print_streams(folder)
    except PermissionError as error:
        raise StorageError(f"no permission to read '{error.filename}'; its owner can give it") from error


def _print_streams(folder: Path) -> None:
    seeds = sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name))  # further ones of a trial
    for path in (part / stream for part in (folder, *seeds) for stream in ("stdout", "stderr")):
        if path.is_file() and path.stat().st_size:
            click.echo(f"--- {path}", err=True)
            _copy(path)
    if not folder.is_dir():
        click.echo(f"no files of this attempt in {folder}", err=True)


def _copy(path: Path, start: int = 0) -> int:
    """Print a file from ``start``; where it ended. Bytes that are not UTF-8 are shown as replacements."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    sys.stdout.write(data.decode(errors="replace"))
    sys.stdout.flush()
    return start + len(data)


def _follow(home: StudyHome, number: int) -> None:
    from hpo_batch.monitor.status import load_state

    def current() -> tuple[int, bool]:
        trial = load_state(home).trials[number]
        return trial.attempt, trial.state.ended

    attempt, ended = current()
    at = {s: _size(home.attempt(number, attempt) / s) for s in ("stdout", "stderr")}
    while True:
        for stream, start in at.items():
            path = home.attempt(number, attempt) / stream
            if _size(path) > start:
                at[stream] = _copy(path, start)
        if ended:
            return
        time.sleep(FOLLOW_S)
        newest, ended = current()
        if newest != attempt:
            attempt, at = newest, {"stdout": 0, "stderr": 0}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
