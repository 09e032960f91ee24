"""Submissions of a study, as JSON lines. A submission is written before sbatch is called, and again afterwards.

Each line is a whole submission; the last line with an id counts.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import asdict, replace

from hpo_batch.errors import StorageError
from hpo_batch.files import LINES_BYTES, append_json_line, loads, read_json_lines, read_regular
from hpo_batch.scheduler.names import SchedulerName
from hpo_batch.store.home import StudyHome

MOST_S: Final = 1e12
"""largest time or walltime, in seconds, that ``datetime`` can handle"""
MOST_WORKERS: Final = 10**9


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One call of sbatch, or one start of local workers."""

    id: str
    """12 hexadecimal digits, also the end of the job's name"""
    kind: SchedulerName
    workers: int
    walltime_s: float
    workers_per_task: int = 1
    """workers in one array task"""
    submitted: float
    """seconds since the epoch"""
    job_ids: tuple[str, ...] = ()
    """SLURM's job ids, or process ids of local workers; empty if the submitter died before it received them"""
    gpus: str = ""
    """GPUs requested per worker, in SLURM's notation"""
    log_pattern: str = ""
    """log path of a worker, relative to the study's directory, with %A, %a and %i for job, task and worker"""
    host: str = ""
    name: str = ""
    """job name in SLURM; ends with the id"""
    cluster: str = ""
    """SLURM cluster of the job ids; empty if unknown"""
    user: str = ""
    """who submitted it: SLURM may hide jobs of other users (PrivateData)"""
    asked: int = 0
    """number of workers requested, of which ``workers`` were submitted"""
    limit: str = ""
    """SLURM's message, if not all were submitted"""
    is_open: bool = False
    """sbatch is running, or its answer was lost: there may be jobs with its name that are not in ``job_ids``"""
    submitter: dict[str, Any] = {}
    """process that calls sbatch: host, boot, pid, start"""
    refused: str = ""
    """SLURM's message, if nothing was submitted"""
    code: dict[str, Any] = {}
    """git commit and uncommitted changes, versions, command line, working directory"""
    collector: str = ""
    """id of the job that runs after the workers; not in ``job_ids``"""
    collector_refused: str = ""
    """why sbatch refused that job; the workers run anyway"""
    resumes: int = 0
    """number of consecutive submissions made by collectors, including this one; 0 if made by a person"""
    met: int = 0
    """target that was met when its pending tasks were cancelled; 0 if they were not"""
    cancelled: float = 0.0
    """when its jobs were cancelled, in seconds since the epoch; SLURM may still show them for a while"""

    @property
    def is_batch(self) -> bool:
        """Whether its workers are jobs of a batch scheduler, not processes of the machine where it was typed."""
        return self.kind != "local"

    @property
    def may_have_more(self) -> bool:
        """Whether SLURM may have jobs of it whose ids were not recorded; they are found by name."""
        return self.is_batch and not self.refused and (self.is_open or not self.job_ids)


def is_id(text: object) -> bool:
    """Whether this is a valid submission id. Jobs are cancelled by it, so nothing else is accepted."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{12}", text) is not None


def job_name(home: StudyHome, submission: str) -> str:
    """Job name: the study's name for people, and the id to find workers and lost submissions."""
    # a path separator of a budget, for example, is not allowed in a job name
    readable = "".join(c if c.isalnum() or c in "._" else "." for c in home.name)
    return f"{readable}-{submission}"


def is_script_of(home: StudyHome, submission: str, script: str) -> bool:
    """Whether a job with this script belongs to a submission of the study, judged by the script's location.

    Job names and ids prove nothing: files may contain any, and a copied study contains those of the original. If the
    script's directory no longer exists, the study was moved, and the script must be in its current directory.
    """
    path = Path(script)
    if not (is_id(submission) and path.is_absolute() and path.name.startswith(submission)):
        return False
    try:
        return path.parent.samefile(home.slurm)
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            return stat.S_ISREG((home.slurm / path.name).lstat().st_mode)
    except OSError:
        pass
    return False


def portable_workdir(home: StudyHome, workdir: Path) -> str:
    """A working directory, relative to the study's if one contains the other, so that both can be moved together."""
    study, workdir = home.path.absolute(), workdir.absolute()
    if study.is_relative_to(workdir) or workdir.is_relative_to(study):
        return os.path.relpath(workdir, study)
    return str(workdir)


def workdir_of(home: StudyHome, submission: Submission) -> Path | None:
    """Working directory of a submission's workers; None if not recorded."""
    workdir = submission.code.get("workdir")
    if not workdir or not isinstance(workdir, str) or "\0" in workdir:
        return None
    return Path(os.path.normpath(home.path.absolute() / workdir))


def write_submission(home: StudyHome, submission: Submission) -> None:
    """Append a submission; raises StorageError on failure."""
    try:
        append_json_line(home.submissions, asdict(submission))
    except OSError as error:
        raise StorageError.because(f"cannot write '{home.submissions}'", error) from error


def read_submissions(home: StudyHome) -> tuple[Submission, ...]:
    """All submissions, in order.

    Raises:
        StorageError: the file cannot be read.
    """
    latest: dict[str, Submission] = {}
    try:
        records = tuple(read_json_lines(home.submissions))
    except OSError as error:
        raise StorageError.because(f"cannot read '{home.submissions}'", error) from error
    for record in records:
        with contextlib.suppress(ValueError):  # invalid lines are reported by ``doctor`` (strange_lines)
            submission = _converted(record)
            if submission.is_batch and not submission.name:  # written before names were recorded
                submission = replace(submission, name=job_name(home, submission.id))
            latest[submission.id] = submission
    return tuple(latest.values())


def strange_lines(home: StudyHome) -> list[tuple[int, str]]:
    """Invalid lines: line number from 1, and why.

    Raises:
        OSError: the file exists and cannot be read.
    """
    try:
        lines = read_regular(home.submissions, most=LINES_BYTES).splitlines()
    except FileNotFoundError:
        return []
    strange = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                _converted(loads(line))
        except ValueError as error:
            strange.append((number, str(error)))
    return strange


def _converted(record: object) -> Submission:
    """A validated submission; raises ValueError for wrong types and impossible values."""
    submission = msgspec.convert(record, Submission)
    numbers = (submission.walltime_s, submission.submitted, submission.cancelled)
    counts = (submission.workers, submission.workers_per_task, submission.asked, submission.resumes, submission.met)
    if not all(map(math.isfinite, numbers)) or max(map(abs, numbers)) > MOST_S or not min(counts) >= 0:
        raise ValueError("a number is out of range")
    if max(counts) > MOST_WORKERS or not submission.id or "/" in submission.id:
        raise ValueError("a number is out of range, or the id is invalid")
    if any(re.fullmatch("[0-9]{1,18}", id) is None for id in submission.job_ids):
        raise ValueError("a job id is invalid")
    log = Path(submission.log_pattern)
    if log.is_absolute() or ".." in log.parts or "\0" in submission.log_pattern:
        raise ValueError("its logs are outside the study's directory")
    return submission
