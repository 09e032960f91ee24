"""Queries jobs with squeue, one call for all of them. https://slurm.schedmd.com/squeue.html"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from hpo_batch.scheduler.scheduler import ANSWER_S
from hpo_batch.scheduler.slurm import states
from hpo_batch.scheduler.slurm.runner import UNKNOWN_ID, failure, joined, number, run_command, seconds
from hpo_batch.scheduler.tasks import ArrayTask, FoundJob, QueueRow, TaskState

log = logging.getLogger(__name__)


_SQUEUE_FIELDS = "%F|%K|%T|%r|%M|%L|%N"


def squeue(
    job_ids: Iterable[str], *, names: Iterable[str] = (), ended: bool = False, timeout_s: float = ANSWER_S
) -> dict[ArrayTask, QueueRow]:
    """The tasks of these jobs that have not ended; a job that SLURM does not know (any more) has none.

    Args:
        job_ids: of the jobs.
        names: select jobs by these names instead, since squeue would combine both with AND.
        ended: include those that ended recently (MinJobAge, five minutes on most sites).
        timeout_s: in seconds.

    Raises:
        CommandMissing: there is no squeue on this machine.
        SlurmUnreachable: no answer, or no controller.
    """
    ids, wanted = joined(job_ids), joined(names)
    if not ids and not wanted:
        return {}
    which = [*(["-t", "all"] if ended else []), *([f"--name={wanted}"] if wanted else ["-j", ids])]
    # -r: one line per pending task. %j and %o: job ids are reused, and any job can have our name, but only ours has the
    # path of our script. A tab before the path, which may contain a |
    done = run_command(["squeue", "-h", "-r", *which, "-o", f"{_SQUEUE_FIELDS}|%e|%j\t%o"], timeout_s=timeout_s)
    # squeue fails if a single job id is no longer known, but still prints the others
    if done.returncode != 0 and UNKNOWN_ID not in done.stderr:
        raise failure("squeue", done)
    return parse_squeue(done.stdout, whole=True)


def find_jobs(names: Iterable[str], *, only_pending: bool = False, timeout_s: float = ANSWER_S) -> dict[str, FoundJob]:
    """The jobs with these names that have not ended, by id, including those whose submission got no answer.

    Other users' jobs may have the same name: check with ``store.submissions.is_script_of``.

    Args:
        names: of the jobs.
        only_pending: only jobs with a pending task.
        timeout_s: in seconds.

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
    jobs = {}
    for line in done.stdout.splitlines():
        fields, _, script = line.partition("\t")
        id, _, name = fields.strip().partition("|")
        if name in wanted and id.isdecimal():
            jobs[id] = FoundJob(name=name, script=script.strip())
    return jobs


def time_left(job_id: str, *, timeout_s: float) -> float | None:
    """Seconds to the time limit of a running job or array task (`A_i`); infinite without a limit, None if not running.

    Raises:
        CommandMissing, SlurmUnreachable, SlurmRefused: squeue is not available, as in some containers.
    """
    row = squeue([job_id], timeout_s=timeout_s).get(ArrayTask.parse(job_id))
    if row is None or row.state not in (TaskState.RUNNING, TaskState.SUSPENDED):
        return None
    # squeue prints INVALID or a negative time after the limit
    if row.left_s is None:
        return float("inf") if row.is_unlimited else 0.0
    return row.left_s


def parse_squeue(text: str, *, whole: bool = False) -> dict[ArrayTask, QueueRow]:
    """Parse `squeue -h -r -o '%F|%K|%T|%r|%M|%L|%N'`, followed by `|%e|%j<tab>%o` if ``whole``."""
    rows: dict[ArrayTask, QueueRow] = {}
    for output in text.splitlines():
        fields, _, script = output.partition("\t")
        line, end, name = _split(fields, 3, from_end=True) if whole else (fields, "", "")
        # the reason may be text from an administrator and contain a `|`
        job, index, word, rest = _split(line, 4)
        reason, elapsed, left, node = _split(rest, 4, from_end=True)
        if not job.isdecimal() or len(job) > 18 or len(index) > 18:
            log.warning("cannot parse a line of squeue: %r", line)
            continue
        task = ArrayTask(job=int(job), index=int(index) if index.isdecimal() else 0)
        rows[task] = QueueRow(
            task=task,
            state=states.parse(word),
            word=word,
            reason=reason,
            elapsed_s=seconds(elapsed) or 0.0,
            left_s=seconds(left),
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
