"""Print what a trial or its worker wrote. For ``hpo-batch logs``."""

from __future__ import annotations

import codecs
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import click

from hpo_batch.cli.terminal import steering
from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import open_regular
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.monitor.output import about_trial, has_output, last_lines, size, streams, worker_log
from hpo_batch.monitor.reader import StudyReader
from hpo_batch.records import Attempt, TrialRecord
from hpo_batch.scheduler.gpus import named_gpus
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import read_submissions
from hpo_batch.text.lines import one_line

FOLLOW_S: Final = 0.5
LAST_LINES: Final = 40
"""of a worker's log, where an attempt left nothing"""
_AT_ONCE: Final = 1 << 20
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(kw_only=True)
class Printed:
    """How far the files of an attempt have been printed."""

    attempt: int
    raw: bool
    at: dict[Path, int] = field(default_factory=dict)
    last: Path | None = None
    """the stream that was printed last: a change to the other one is announced"""

    def go_on(self, home: StudyHome, number: int) -> None:
        for path in streams(home.attempt(number, self.attempt)):
            start = self.at.get(path, 0)
            if size(path) > start:
                if self.last != path:
                    click.echo(f"--- {path}", err=True)
                    self.last = path
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


def print_trial(home: StudyHome, trial: ScannedTrial, attempt: int | None, *, follow: bool, raw: bool) -> Printed:
    which, record = _chosen(trial, attempt), trial.record()
    run = _run_of(record, which)
    _print_head(record, which, run, trial.attempt)
    printed = Printed(attempt=which, raw=raw)
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
    path = worker_log(home, run, read_submissions(home))
    if path is None:
        click.echo(f"the log of its worker ({run.worker}, job {run.job}) is not there either", err=True)
        return
    with _opened(path):  # raises PermissionError: last_lines would return nothing instead
        lines = about_trial(last_lines(path, 10_000), number, LAST_LINES)
    click.echo(f"--- the end of its worker's log, {path}", err=True)
    for line in lines:
        click.echo(_plain(line))


def print_worker(home: StudyHome, trial: ScannedTrial, attempt: int | None, *, raw: bool) -> None:
    which, record = _chosen(trial, attempt), trial.record()
    run = _run_of(record, which)
    _print_head(record, which, run, trial.attempt)
    if run is None:
        raise UserError(f"no worker has run trial {record.number}: it has no log")
    path = worker_log(home, run, read_submissions(home))
    if path is None:
        raise StorageError(f"the log of worker {run.worker} (job {run.job}) is not in '{home.path}': was it removed?")
    click.echo(f"--- {path}", err=True)
    _copy(path, raw=raw)


def _copy(path: Path, start: int = 0, *, raw: bool) -> int:
    """Print a file from ``start``; where it ended. Bytes that are not UTF-8 are shown as replacements."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    with _opened(path) as file:
        file.seek(start)
        while data := file.read(_AT_ONCE):
            start += len(data)
            text = rest + decoder.decode(data)
            cut = text.rfind("\n") + 1 or len(text)  # a colour, or a return, may go on in what is read next
            rest = text[cut:]
            _print(text[:cut], raw=raw)
    _print(rest + decoder.decode(b"", final=True), raw=raw)
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


def follow_trial(home: StudyHome, reader: StudyReader, number: int, printed: Printed) -> None:
    """Print on until the trial has ended, through all its further attempts."""
    while True:
        # first the state, then the files: what was written before the end is printed
        trial = reader.read().trials[number]
        printed.go_on(home, number)
        if trial.attempt != printed.attempt:
            record = trial.record()
            _print_head(record, trial.attempt, _run_of(record, trial.attempt), trial.attempt)
            printed = Printed(attempt=trial.attempt, raw=printed.raw)
        elif trial.state.ended:
            return
        else:
            time.sleep(FOLLOW_S)
