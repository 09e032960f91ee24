"""``hpo-batch logs``: what a trial wrote, attempt by attempt; or its worker, where an attempt left nothing."""

from __future__ import annotations

import codecs
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from hpo_batch.cli.options import logs_root, one_study, root_option, trial_numbers
from hpo_batch.cli.terminal import steering
from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import open_regular
from hpo_batch.scheduler.gpus import named_gpus
from hpo_batch.text.lines import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hpo_batch.journal.trial import ScannedTrial
    from hpo_batch.monitor.reader import StudyReader
    from hpo_batch.records import Attempt, TrialRecord
    from hpo_batch.store.home import StudyHome
    from hpo_batch.store.submissions import Submission

FOLLOW_S = 0.5
LAST_LINES = 40
"""of a worker's log, where an attempt left nothing"""
_AT_ONCE = 1 << 20
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@click.command(name="logs")
@click.argument("study_and_trial", nargs=-1, required=True, metavar="[STUDY] TRIAL")
@click.option("--attempt", type=int, help="Which attempt [default: the last].")
@click.option("-f", "--follow", is_flag=True, help="Go on printing while the trial runs, also in its next attempt.")
@click.option("--worker", is_flag=True, help="The log of the worker (array task) that ran it, instead.")
@click.option("--raw", is_flag=True, help="As it was written, also what steers the terminal: only of code you trust.")
@root_option
def command(
    study_and_trial: tuple[str, ...], attempt: int | None, follow: bool, worker: bool, raw: bool, root: Path | None
) -> None:
    """Print what TRIAL (a number, a name, or 1-3) wrote, or why it failed. STUDY left out: the newest."""
    from hpo_batch.monitor.reader import StudyReader

    if len(study_and_trial) > 2:
        raise click.UsageError("give a study and a trial: hpo-batch logs STUDY TRIAL")
    if worker and follow:
        raise click.UsageError("--follow prints what a trial writes: leave --worker out")
    if follow and attempt is not None:
        raise click.UsageError("--follow goes on to the newest attempt: leave --attempt out")
    study = study_and_trial[0] if len(study_and_trial) == 2 else None
    home = one_study(study, logs_root(root))
    reader = StudyReader(home)
    state = reader.read()
    names = {t.facts["name"]: t.number for t in state.trials if t.facts.get("name")}
    for number in trial_numbers(study_and_trial[-1], names, len(state.trials)):
        try:
            if worker:
                _print_worker(home, reader.read().trials[number], attempt, raw=raw)
                continue
            printed = _print_trial(home, reader.read().trials[number], attempt, follow=follow, raw=raw)
            if follow:
                _follow(home, reader, number, printed)
        except PermissionError as error:
            raise StorageError(f"no permission to read '{error.filename}'; its owner can give it") from error


@dataclass(kw_only=True)
class _Printed:
    """How far the files of an attempt have been printed."""

    attempt: int
    raw: bool
    at: dict[Path, int] = field(default_factory=dict)
    told: Path | None = None
    """the stream that was printed last: a change to the other one is told"""

    def go_on(self, home: StudyHome, number: int) -> None:
        from hpo_batch.monitor.output import size, streams

        for path in streams(home.attempt(number, self.attempt)):
            start = self.at.get(path, 0)
            if size(path) > start:
                if self.told != path:
                    click.echo(f"--- {path}", err=True)
                    self.told = path
                self.at[path] = _copy(path, start, raw=self.raw)


def _chosen(trial: ScannedTrial, attempt: int | None) -> int:
    if attempt is not None and not 1 <= attempt <= trial.attempt:
        raise UserError(f"trial {trial.number} has {trial.attempt} attempts; there is no attempt {attempt}")
    return attempt or trial.attempt


def _run_of(record: TrialRecord, which: int) -> Attempt | None:
    return next((attempt for attempt in record.attempts if attempt.number == which), None)


def _print_head(record: TrialRecord, which: int, run: Attempt | None, attempts: int) -> None:
    name = f" ({record.name})" if record.name else ""
    place = ""
    if run is not None:
        gpus = f", GPU {named_gpus(run.gpus, run.gpu_count)}" if run.gpus else ""
        place = f", attempt {which} of {attempts} on {run.host} (job {run.job}{gpus})"
    click.echo(one_line(f"trial {record.number}{name}: {record.state.name}{place}"), err=True)
    if record.reason:
        click.echo(one_line(f"reason: {record.reason}: {record.message or 'no message'}"), err=True)


def _print_trial(home: StudyHome, trial: ScannedTrial, attempt: int | None, *, follow: bool, raw: bool) -> _Printed:
    from hpo_batch.monitor.output import has_output

    which, record = _chosen(trial, attempt), trial.record()
    run = _run_of(record, which)
    _print_head(record, which, run, trial.attempt)
    printed = _Printed(attempt=which, raw=raw)
    repeats = trial.facts.get("repeats")
    if repeats is not None:
        click.echo(f"it has the configuration of trial {repeats} and was answered from it: see logs there", err=True)
        return printed
    if record.origin == "import":
        click.echo("it was imported, and ran elsewhere: nothing was written here", err=True)
        return printed
    folder = home.attempt(record.number, which)
    printed.go_on(home, record.number)
    if has_output(folder):
        return printed
    if not folder.is_dir():
        click.echo(f"no files of this attempt in {folder}", err=True)
    elif run is not None:
        click.echo(f"attempt {which} has printed nothing{_so_far(run)}", err=True)
    if run is not None and not (follow and not run.ending):
        _print_end_of_worker(home, run, record.number)
    return printed


def _so_far(run: Attempt) -> str:
    return f"; it ended as '{run.ending}'" if run.ending else " yet"


def _print_end_of_worker(home: StudyHome, run: Attempt, number: int) -> None:
    """What the worker said of an attempt that left nothing: killed for memory, lost with its node, no module."""
    from hpo_batch.monitor.output import about_trial, last_lines, worker_log

    path = worker_log(home, run, _submissions(home))
    if path is None:
        click.echo(f"the log of its worker ({run.worker}, job {run.job}) is not there either", err=True)
        return
    with _opened(path):  # this user may look into it, or is told so
        lines = about_trial(last_lines(path, 10_000), number, LAST_LINES)
    click.echo(f"--- the end of its worker's log, {path}", err=True)
    for line in lines:
        click.echo(_plain(line))


def _print_worker(home: StudyHome, trial: ScannedTrial, attempt: int | None, *, raw: bool) -> None:
    from hpo_batch.monitor.output import worker_log

    which, record = _chosen(trial, attempt), trial.record()
    run = _run_of(record, which)
    _print_head(record, which, run, trial.attempt)
    if run is None:
        raise UserError(f"no worker has run trial {record.number}: it has no log")
    path = worker_log(home, run, _submissions(home))
    if path is None:
        raise StorageError(f"the log of worker {run.worker} (job {run.job}) is not in '{home.path}': was it removed?")
    click.echo(f"--- {path}", err=True)
    _copy(path, raw=raw)


def _submissions(home: StudyHome) -> Sequence[Submission]:
    from hpo_batch.store.submissions import read_submissions

    return read_submissions(home)


def _copy(path: Path, start: int = 0, *, raw: bool) -> int:
    """Print a file from ``start``; where it ended. Bytes that are not UTF-8 are shown as replacements."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    held = ""
    with _opened(path) as file:
        file.seek(start)
        while data := file.read(_AT_ONCE):
            start += len(data)
            text = held + decoder.decode(data)
            cut = text.rfind("\n") + 1 or len(text)  # a colour, or a return, may go on in what is read next
            held = text[cut:]
            _print(text[:cut], raw=raw)
    _print(held + decoder.decode(b"", final=True), raw=raw)
    sys.stdout.flush()
    return start


def _opened(path: Path) -> IO[bytes]:
    """Not what a link leads to: who may write in the study may have made it."""
    return os.fdopen(open_regular(path, os.O_RDONLY), "rb")


def _print(text: str, *, raw: bool) -> None:
    if raw:
        steering(sys.stdout).write(text)
    else:
        sys.stdout.write(_plain(text))


def _plain(text: str) -> str:
    """Without what training programs write most: colours, and the returns with which a bar is drawn over itself."""
    return re.sub(r"\r+\n?", "\n", _COLOURS.sub("", text))


def _follow(home: StudyHome, reader: StudyReader, number: int, printed: _Printed) -> None:
    """Print on until the trial has ended, through all its further attempts."""
    while True:
        # first the state, then the files: what was written before the end is printed
        trial = reader.read().trials[number]
        printed.go_on(home, number)
        if trial.attempt != printed.attempt:
            record = trial.record()
            _print_head(record, trial.attempt, _run_of(record, trial.attempt), trial.attempt)
            printed = _Printed(attempt=trial.attempt, raw=printed.raw)
        elif trial.state.ended:
            return
        else:
            time.sleep(FOLLOW_S)
