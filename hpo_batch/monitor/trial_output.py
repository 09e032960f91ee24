"""What a trial or its worker printed, piece by piece, with notes on where each piece comes from. For ``logs``."""

from __future__ import annotations

import codecs
import contextlib
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Final, TypeAlias

from msgspec import Struct

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
from hpo_batch.text.numbers import count

# seconds between reads while following: short enough to feel live, and the journal is read on, not again
FOLLOW_S: Final = 0.5
# lines of a worker's log to show if an attempt left no output: a traceback and SLURM's message fit
LAST_LINES: Final = 40
# bytes per piece, so that a log of gigabytes is never held in memory
PIECE: Final = 1 << 20


class Note(Struct, frozen=True, kw_only=True):
    """A line of ours about the output."""

    text: str
    path: Path | None = None
    """the file that the texts after this note are from"""


class Text(Struct, frozen=True, kw_only=True):
    """A piece of what was printed, unchanged: it may contain escape sequences. It ends with a line where possible."""

    text: str


Output: TypeAlias = Iterator[Note | Text]


def trial_output(study: StudyReader, number: int, *, attempt: int | None = None, follow: bool = False) -> Output:
    """What a trial printed; for an attempt that printed nothing, the end of its worker's log.

    Args:
        attempt: which one, from 1; None for the last.
        follow: continue until the trial has ended, through all its further attempts.

    Raises:
        UserError: there is no such attempt.
        StorageError: this user may not read the output.
    """
    with _explaining_permissions():
        trial = study.read().trials[number]
        which = _chosen(trial, attempt)
        progress = _Progress(attempt=which)
        yield from _first_look(study.home, trial, progress, follow=follow)
        if follow:
            yield from _follow(study, number, progress)


def worker_output(study: StudyReader, number: int, *, attempt: int | None = None) -> Output:
    """The log of the worker (array task or local process) that ran an attempt.

    Raises:
        UserError: there is no such attempt, or no worker has run the trial.
        StorageError: the log is gone, or this user may not read it.
    """
    with _explaining_permissions():
        trial = study.read().trials[number]
        which, record = _chosen(trial, attempt), trial.record()
        run = _run_of(record, which)
        yield from _heading(record, which, run, trial.attempt)
        if run is None:
            raise UserError(f"no worker has run trial {number}, so there is no log")
        path = worker_log(study.home, run, read_submissions(study.home))
        if path is None:
            raise StorageError(
                f"the log of worker {run.worker} (job {run.job}) is not in '{study.home.path}': was it removed?"
            )
        yield Note(text=f"--- {path}", path=path)
        yield from _pieces(path)


class _Progress(Struct, kw_only=True):
    """How far the files of an attempt have been read."""

    attempt: int
    read: dict[Path, int] = {}
    """bytes"""
    last: Path | None = None
    """the file that was read last: a note announces a change to the other one"""

    def read_on(self, home: StudyHome, number: int) -> Output:
        for path in streams(home.attempt(number, self.attempt)):
            start = self.read.get(path, 0)
            if size(path) > start:
                if self.last != path:
                    yield Note(text=f"--- {path}", path=path)
                    self.last = path
                self.read[path] = yield from _pieces(path, start)


def _first_look(home: StudyHome, trial: ScannedTrial, progress: _Progress, *, follow: bool) -> Output:
    which, record = progress.attempt, trial.record()
    run = _run_of(record, which)
    yield from _heading(record, which, run, trial.attempt)
    repeats = trial.facts.get("repeats")
    if repeats is not None:
        yield Note(text=f"it has the configuration of trial {repeats}, whose result was copied: see its logs")
        return
    if record.origin == "import":
        yield Note(text="it was imported, and ran elsewhere: nothing was written here")
        return
    folder = home.attempt(record.number, which)
    yield from progress.read_on(home, record.number)
    if has_output(folder):
        return
    if not folder.is_dir():
        yield Note(text=f"no files of this attempt in {folder}")
    elif run is not None:
        yield Note(text=f"attempt {which} has printed nothing{_so_far(run)}")
    if run is not None and not (follow and not run.ending):
        yield from _end_of_worker(home, run, record.number)


def _follow(study: StudyReader, number: int, progress: _Progress) -> Output:
    while True:
        # first the state, then the files, so that what was printed before the end is not missed
        trial = study.read().trials[number]
        yield from progress.read_on(study.home, number)
        if trial.attempt != progress.attempt:
            record = trial.record()
            yield from _heading(record, trial.attempt, _run_of(record, trial.attempt), trial.attempt)
            progress = _Progress(attempt=trial.attempt)
        elif trial.state.ended:
            return
        else:
            time.sleep(FOLLOW_S)


def _chosen(trial: ScannedTrial, attempt: int | None) -> int:
    if attempt is not None and not 1 <= attempt <= trial.attempt:
        raise UserError(f"trial {trial.number} has {count(trial.attempt, 'attempt')}; there is no attempt {attempt}")
    return attempt or trial.attempt


def _run_of(record: TrialRecord, which: int) -> Attempt | None:
    return next((attempt for attempt in record.attempts if attempt.number == which), None)


def _heading(record: TrialRecord, which: int, run: Attempt | None, attempts: int) -> Output:
    name = f" ({record.name})" if record.name else ""
    place = ""
    if run is not None:
        gpus = f", GPU {named_gpus(run.gpus, run.gpu_count)}" if run.gpus else ""
        fused = f"; one of up to {run.fused} in its process, whose output this is" if run.fused > 1 else ""
        place = f", attempt {which} of {attempts} on {run.host} (job {run.job}{gpus}){fused}"
    yield Note(text=one_line(f"trial {record.number}{name}: {record.state.name}{place}"))
    if record.reason:
        yield Note(text=one_line(f"reason: {record.reason}: {record.message or 'no message'}"))


def _so_far(run: Attempt) -> str:
    return f"; it ended as '{run.ending}'" if run.ending else " yet"


def _end_of_worker(home: StudyHome, run: Attempt, number: int) -> Output:
    """What the worker logged about an attempt without output: killed for memory, lost with its node, no module."""
    path = worker_log(home, run, read_submissions(home))
    if path is None:
        yield Note(text=f"the log of its worker ({run.worker}, job {run.job}) is not there either")
        return
    with _opened(path):  # raises PermissionError, where last_lines would return nothing
        lines = about_trial(last_lines(path, 10_000), number, LAST_LINES)
    yield Note(text=f"--- the end of its worker's log, {path}", path=path)
    for line in lines:
        yield Text(text=f"{line}\n")


def _pieces(path: Path, start: int = 0) -> Generator[Text, None, int]:
    """A file from byte ``start`` on; returns where it ended. Bytes that are not UTF-8 become U+FFFD.

    A piece ends with a line if it has one: a colour sequence, or ``\\r`` and ``\\n``, must not be torn.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    rest = ""
    with _opened(path) as file:
        file.seek(start)
        while data := file.read(PIECE):
            start += len(data)
            text = rest + decoder.decode(data)
            cut = text.rfind("\n") + 1 or len(text)
            rest = text[cut:]
            yield Text(text=text[:cut])
    if rest := rest + decoder.decode(b"", final=True):
        yield Text(text=rest)
    return start


def _opened(path: Path) -> IO[bytes]:
    """Never what a link leads to: anybody who can write to the study may have made it."""
    return os.fdopen(open_regular(path, os.O_RDONLY), "rb")


@contextlib.contextmanager
def _explaining_permissions() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise StorageError(f"no permission to read '{error.filename}'; its owner can grant it") from error
