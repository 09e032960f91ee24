"""Find and read the output of attempts and the logs of their workers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hpo_batch.files import open_regular
from hpo_batch.records import Attempt
from hpo_batch.scheduler.tasks import ArrayTask
from hpo_batch.store.attempt_folder import STREAMS
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission
from hpo_batch.store.worker_name import WorkerName


def worker_log(home: StudyHome, attempt: Attempt, submissions: Sequence[Submission]) -> Path | None:
    """The log of the array task or local worker that ran an attempt; None if it is gone."""
    if attempt.job == "local":
        index = str(WorkerName.parse(attempt.worker).index)
        patterns = [s.log_pattern.replace("%i", index) for s in submissions if s.id == attempt.submission]
        return _first(home.path / pattern for pattern in patterns)
    try:
        task = ArrayTask.parse(attempt.job)
    except ValueError:  # not a SLURM job: the journal was written by another program
        return None
    job, is_array = str(task.job), "_" in attempt.job
    patterns = [s.log_pattern for s in submissions if job in s.job_ids and s.log_pattern]
    filled = [p.replace("%A", job).replace("%a", str(task.index)) for p in patterns]
    # the last job of a split array may be a plain job
    filled += [f"slurm/{job}_{task.index}_0_log.err"] if is_array else [f"slurm/{job}_0_log.err"]
    return _first(home.path / name for name in filled)


def streams(folder: Path) -> list[Path]:
    """The files that an attempt prints to; for a trial with several seeds, those of each."""
    # seed-2 before seed-10
    seeds = sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name))
    return [part / stream for part in (folder, *seeds) for stream in STREAMS]


def size(path: Path) -> int:
    """Size in bytes; 0 if the file does not exist: it is removed at the end if nothing was printed.

    Raises:
        PermissionError: this user may not read the folder.
    """
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def has_output(folder: Path) -> bool:
    """Whether an attempt has printed anything. Raises PermissionError if this user may not read it."""
    return any(size(path) for path in streams(folder))


def last_lines(path: Path, count: int, *, most_bytes: int = 65536) -> list[str]:
    """The last lines of a file that may be long; none if it cannot be read."""
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most_bytes))
            text = file.read(most_bytes).decode(errors="replace")
    except OSError:
        return []
    # progress bars overwrite their line after \r; keep the last state
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return [line for line in lines if line.strip()][-count:]


def about_trial(lines: Sequence[str], number: int, count: int) -> list[str]:
    """The last ``count`` lines of a worker's log that are about a trial; of the whole log if no line names it."""
    start = max((i for i, line in enumerate(lines) if f" trial {number}" in line and ": attempt " in line), default=0)
    return list(lines[start:][-count:])


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
