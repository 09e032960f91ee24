"""Submissions of a study, one JSON line each: all that readers need of SLURM, written before and completed after.

Each line repeats the whole submission; the last line of an id counts.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import stat
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from hpo_batch.errors import StorageError
from hpo_batch.files import LINES_BYTES, append_json_line, loads, read_json_lines, read_regular
from hpo_batch.store.home import StudyHome

MOST_S: Final = 1e12
"""a time, in seconds since the epoch or of a walltime, that dates can be made of"""
MOST_WORKERS: Final = 10**9


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One call of sbatch, or one start of local workers."""

    id: str
    """a uuid, also part of the job's name"""
    kind: Literal["slurm", "local"]
    workers: int
    walltime_s: float
    workers_per_task: int = 1
    """workers in one array task"""
    submitted: float
    """seconds since the epoch"""
    job_ids: tuple[str, ...] = ()
    """SLURM's job ids, or process ids of local workers; empty if the submitter died before it knew them"""
    gpus: str = ""
    """what was asked for each worker, as SLURM spells it"""
    log_pattern: str = ""
    """output of the workers, relative to the study's directory; %A, %a or %i stand for job, task and worker"""
    host: str = ""
    name: str = ""
    """of its jobs in SLURM; ends with the id"""
    cluster: str = ""
    """SLURM's, whose job ids those are; empty if nobody told"""
    user: str = ""
    """who submitted it: SLURM may show nobody else's jobs"""
    asked: int = 0
    """workers that were wanted, of which ``workers`` were started"""
    limit: str = ""
    """why not all of them were, in SLURM's words"""
    is_open: bool = False
    """sbatch is being called, or its answer was lost: there may be jobs of its name that ``job_ids`` lacks"""
    submitter: dict[str, Any] = field(default_factory=dict)
    """the process that calls sbatch: host, boot, pid, start"""
    refused: str = ""
    """why nothing was started, in SLURM's words"""
    code: dict[str, Any] = field(default_factory=dict)
    """git commit, whether there were changes, versions, command line, working directory"""
    collector: str = ""
    """id of the job that runs after the workers; it is not one of ``job_ids``"""
    collector_refused: str = ""
    """why that job was not taken; the workers run all the same"""
    resumes: int = 0
    """how many submissions in a row were made by collectors, this one included; 0: a person made it"""
    met: int = 0
    """the target that was met when its tasks that still waited were cancelled"""
    cancelled: float = 0.0
    """when its jobs were cancelled, in seconds since the epoch: what SLURM still shows of them is about to end"""

    @property
    def may_have_more(self) -> bool:
        """Whether SLURM may have jobs of it whose ids were never written down: they are found by its name."""
        return self.kind == "slurm" and not self.refused and (self.is_open or not self.job_ids)


def is_id(text: object) -> bool:
    """Whether a submission can be called so: nobody is ended for what another one's id leads to."""
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{12}", text) is not None


def job_name(home: StudyHome, submission: str) -> str:
    """The study's name for people, the submission's id for us: workers and lost submissions are found by it."""
    readable = "".join(c if c.isalnum() or c in "._" else "." for c in home.name)
    return f"{readable}-{submission}"


def is_script_of(home: StudyHome, submission: str, script: str) -> bool:
    """Whether a job that runs this script is one of a study's submission, by where the script lies.

    A name or a number proves nothing: a file may say any, and a copied study says those of the original. Where the
    script's directory is no more, the study has been moved, and has it still.
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


def told_workdir(home: StudyHome, workdir: Path) -> str:
    """A working directory as it is noted: from the study's directory if one holds the other, so that both may move."""
    study, workdir = home.path.absolute(), workdir.absolute()
    if study.is_relative_to(workdir) or workdir.is_relative_to(study):
        return os.path.relpath(workdir, study)
    return str(workdir)


def workdir_of(home: StudyHome, submission: Submission) -> Path | None:
    """Where the workers of a submission ran; None if that was not noted."""
    told = submission.code.get("workdir")
    if not told or not isinstance(told, str) or "\0" in told:
        return None
    return Path(os.path.normpath(home.path.absolute() / told))


def write_submission(home: StudyHome, submission: Submission) -> None:
    """Raises StorageError if the file system refuses."""
    try:
        append_json_line(home.submissions, asdict(submission))
    except OSError as error:
        raise StorageError.because(f"cannot write '{home.submissions}'", error) from error


def read_submissions(home: StudyHome) -> tuple[Submission, ...]:
    """All submissions in the order they were made.

    Raises:
        StorageError: the file may not be read.
    """
    latest: dict[str, Submission] = {}
    try:
        records = tuple(read_json_lines(home.submissions))
    except OSError as error:
        raise StorageError.because(f"cannot read '{home.submissions}'", error) from error
    for record in records:
        with contextlib.suppress(ValueError):  # not one of ours, or somebody's
            submission = _converted(record)
            if submission.kind == "slurm" and not submission.name:  # written before names were kept
                submission = replace(submission, name=job_name(home, submission.id))
            latest[submission.id] = submission
    return tuple(latest.values())


def strange_lines(home: StudyHome) -> list[tuple[int, str]]:
    """Lines of the file that are no submissions: number from 1, and why.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        lines = read_regular(home.submissions, most=LINES_BYTES).splitlines()
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                _converted(loads(line))
        except ValueError as error:
            found.append((number, str(error)))
    return found


def _converted(record: object) -> Submission:
    """Raises ValueError: of another type, or with numbers that none of ours has."""
    submission = msgspec.convert(record, Submission)
    numbers = (submission.walltime_s, submission.submitted, submission.cancelled)
    counts = (submission.workers, submission.workers_per_task, submission.asked, submission.resumes, submission.met)
    if not all(map(math.isfinite, numbers)) or max(map(abs, numbers)) > MOST_S or not min(counts) >= 0:
        raise ValueError("a number that makes no sense")
    if max(counts) > MOST_WORKERS or not submission.id or "/" in submission.id:
        raise ValueError("a number or an id that makes no sense")
    if any(re.fullmatch("[0-9]{1,18}", id) is None for id in submission.job_ids):
        raise ValueError("a job id that is none")
    log = Path(submission.log_pattern)
    if log.is_absolute() or ".." in log.parts or "\0" in submission.log_pattern:
        raise ValueError("logs that lie elsewhere than in the study")
    return submission
