"""What squeue tells of jobs: one call for all the jobs asked about."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from hpo_batch.scheduler.scheduler import ANSWER_S
from hpo_batch.scheduler.slurm import states
from hpo_batch.scheduler.slurm.runner import UNKNOWN_ID, failure, joined, number, run_command
from hpo_batch.scheduler.tasks import ArrayTask, FoundJob, QueueRow, TaskState

log = logging.getLogger(__name__)


_SQUEUE_FIELDS = "%F|%K|%T|%r|%M|%L|%N"


def squeue(
    job_ids: Iterable[str], *, names: Iterable[str] = (), ended: bool = False, timeout_s: float = ANSWER_S
) -> dict[ArrayTask, QueueRow]:
    """The tasks of these jobs that have not ended; a job that SLURM does not know (any more) has none.

    Args:
        names: jobs of these names instead, whatever their ids: SLURM would give only those of both.
        ended: those too that ended not long ago (MinJobAge, five minutes on most sites).

    Raises:
        CommandMissing: there is no squeue on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    ids, wanted = joined(job_ids), joined(names)
    if not ids and not wanted:
        return {}
    which = [*(["-t", "all"] if ended else []), *([f"--name={wanted}"] if wanted else ["-j", ids])]
    # -r: one line for each pending task too. The name tells a job of ours from a stranger's that has got its number.
    # The script proves that it is ours: any job can be given a name. A tab: a path may have a | of its own.
    done = run_command(["squeue", "-h", "-r", *which, "-o", f"{_SQUEUE_FIELDS}|%e|%j\t%o"], timeout_s=timeout_s)
    if done.returncode != 0 and UNKNOWN_ID not in done.stderr:
        raise failure("squeue", done)
    return parse_squeue(done.stdout, whole=True)


def find_jobs(names: Iterable[str], *, only_pending: bool = False, timeout_s: float = ANSWER_S) -> dict[str, FoundJob]:
    """The jobs of these names that have not ended, by id: also those whose id was never told us.

    An id may be another job's by now. So may a name: ``store.submissions.is_script_of`` says whose a job is.

    Args:
        only_pending: those of which some task waits.

    Raises:
        CommandMissing: there is no squeue on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    wanted = set(names)
    if not wanted:
        return {}
    waits = ["-t", "PENDING"] if only_pending else []
    done = run_command(["squeue", "-h", *waits, "-n", joined(sorted(wanted)), "-o", "%F|%j\t%o"], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("squeue", done)
    found = {}
    for line in done.stdout.splitlines():
        fields, _, script = line.partition("\t")
        id, _, name = fields.strip().partition("|")
        if name in wanted and id.isdecimal():
            found[id] = FoundJob(name=name, script=script.strip())
    return found


def time_left(job_id: str, *, timeout_s: float) -> float | None:
    """Seconds to the time limit of a job or array task (`A_i`) that runs; infinite without one, None if SLURM has none
    such that runs.

    Raises:
        CommandMissing, SlurmUnreachable, SlurmRefused: it cannot be asked, as in some containers.
    """
    row = squeue([job_id], timeout_s=timeout_s).get(ArrayTask.parse(job_id))
    if row is None or row.state not in (TaskState.RUNNING, TaskState.SUSPENDED):
        return None
    if row.left_s is None:
        return float("inf") if row.is_unlimited else 0.0
    return row.left_s


def parse_squeue(text: str, *, whole: bool = False) -> dict[ArrayTask, QueueRow]:
    """Lines of `squeue -h -r -o '%F|%K|%T|%r|%M|%L|%N'`, with `|%e|%j<tab>%o` behind them if ``whole``."""
    rows: dict[ArrayTask, QueueRow] = {}
    for written in text.splitlines():
        fields, _, script = written.partition("\t")
        line, end, name = _split(fields, 3, from_end=True) if whole else (fields, "", "")
        # The reason may be an administrator's text, with a `|` of its own.
        job, index, word, rest = _split(line, 4)
        reason, elapsed, left, node = _split(rest, 4, from_end=True)
        if not job.isdecimal() or len(job) > 18 or len(index) > 18:
            log.warning("squeue wrote a line that is not understood: %r", line)
            continue
        task = ArrayTask(job=int(job), index=int(index) if index.isdecimal() else 0)
        rows[task] = QueueRow(
            task=task,
            state=states.parse(word),
            word=word,
            reason=reason,
            elapsed_s=_seconds(elapsed) or 0.0,
            left_s=_seconds(left),
            is_unlimited=left.strip() == "UNLIMITED",
            node=node,
            ends=number(end),
            name=name,
            script=script.strip(),
            is_array=index.isdecimal(),
        )
    return rows


def _split(line: str, count: int, *, from_end: bool = False) -> list[str]:
    parts = line.rsplit("|", count - 1) if from_end else line.split("|", count - 1)
    return parts + [""] * (count - len(parts))


def _seconds(text: str) -> float | None:
    """`1-02:03:04`, `03:04`; None for UNLIMITED, INVALID and the like."""
    match = re.fullmatch(r"(?:(\d{1,9})-)?(?:(\d{1,9}):)?(\d{1,9}):(\d{1,9})", text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
