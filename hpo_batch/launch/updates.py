"""What a submission changes of array tasks that wait since an earlier one: they keep what they were submitted with,
unless SLURM is told, and SLURM may refuse. What can never start is cancelled: the submission counts without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from hpo_batch.errors import CommandMissing, SlurmError
from hpo_batch.launch.plan import Plan
from hpo_batch.monitor.live import Live
from hpo_batch.scheduler.slurm import control, jobs
from hpo_batch.scheduler.tasks import QueueRow
from hpo_batch.store.submissions import read_submissions, write_submission
from hpo_batch.sweep.walltime import format_walltime

FIELDS: Final[Mapping[str, str]] = {
    "partition": "Partition",
    "qos": "QOS",
    "account": "Account",
    "constraint": "Features",
    "exclude": "ExcNodeList",
    "nodelist": "ReqNodeList",
    "reservation": "ReservationName",
    "dependency": "Dependency",
}
"""keys of ``[job]`` that ``scontrol update`` changes of a task that waits, beside ``walltime``"""
READ_AT_START: Final = frozenset(
    {"template", "scheduler", "workers", "device", "grace_s", "collect", "auto_resume", "mps", "walltime", *FIELDS}
)
"""keys that a task that waits does not keep, since its worker reads them, or since they are not of a task"""


def bring_up_to_date(plan: Plan, live: Live) -> Iterator[str]:
    """Do it; what was done and what was not, in words. Those that begin with ``warning:`` need a look."""
    yield from _replace_stuck(live.stuck)
    changed = {line.partition(":")[0].removeprefix("job.") for line in plan.change.lines if line.startswith("job.")}
    if not live.waiting:
        if "walltime" in changed and live.running:
            yield f"array tasks that run keep the limit they have: {_named(live.running)}"
        return
    yield from _new_limit(plan, live)
    for key in sorted(changed & FIELDS.keys()):
        value = getattr(plan.sweep.job, key)
        yield from _update(live.waiting, f"job.{key}", {FIELDS[key]: "" if value is None else str(value)})
    kept = sorted({key.partition(".")[0] for key in changed} - READ_AT_START)
    if kept:
        keys = ", ".join(f"job.{key}" for key in kept)
        yield (
            f"warning: array tasks that wait keep what they were submitted with in {keys}: {_named(live.waiting)}; "
            f"to replace them: scancel --state=PENDING {_jobs(live.waiting)}, then submit again"
        )


def _new_limit(plan: Plan, live: Live) -> Iterator[str]:
    """Of tasks that were submitted with another walltime, whichever submission has changed it since."""
    walltime_s = plan.sweep.job.walltime
    told_running = False
    for submission in read_submissions(plan.home):
        if submission.kind != "slurm" or submission.walltime_s == walltime_s:
            continue
        of_it = {int(id) for id in live.queue.job_ids.get(submission.id, ())}
        rows = [row for row in live.waiting if row.task.job in of_it]
        if not rows:
            continue
        limit = {"TimeLimit": str(math.ceil(walltime_s / 60))}
        failed = _tell(rows, limit)
        if failed is None:
            write_submission(plan.home, replace(submission, walltime_s=walltime_s))
            yield f"array tasks that wait have the new limit too, {format_walltime(walltime_s)}: {_named(rows)}"
        else:
            yield (
                f"warning: array tasks that wait keep the old limit, {format_walltime(submission.walltime_s)}: "
                f"{_named(rows)} ({failed}); to replace them: scancel --state=PENDING {_jobs(rows)}, then submit again"
            )
        if live.running and not told_running:
            told_running = True
            yield f"array tasks that run keep the limit they have: {_named(live.running)}"


def _update(rows: Sequence[QueueRow], what: str, changes: Mapping[str, str]) -> Iterator[str]:
    failed = _tell(rows, changes)
    if failed is None:
        yield f"array tasks that wait have the new {what} too: {_named(rows)}"
    else:
        yield f"warning: array tasks that wait keep the old {what}: {_named(rows)} ({failed})"


def _tell(rows: Sequence[QueueRow], changes: Mapping[str, str]) -> str | None:
    try:
        control.update([row.id for row in rows], changes)
    except (SlurmError, CommandMissing) as error:
        return str(error)
    return None


def _replace_stuck(rows: Sequence[QueueRow]) -> Iterator[str]:
    if not rows:
        return
    try:
        jobs.scancel([row.id for row in rows])
    except (SlurmError, CommandMissing) as error:
        yield f"warning: array tasks that can never start could not be cancelled: {_named(rows)} ({error})"
        return
    yield f"cancelled, since they could never start: {_named(rows)}"


def _named(rows: Sequence[QueueRow]) -> str:
    few = ",".join(row.id for row in rows[:8])
    return f"{few} and {len(rows) - 8} more" if len(rows) > 8 else few


def _jobs(rows: Sequence[QueueRow]) -> str:
    return " ".join(dict.fromkeys(str(row.task.job) for row in rows))
