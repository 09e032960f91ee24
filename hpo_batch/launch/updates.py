"""Update pending array tasks of earlier submissions after an edit of the sweep.

They keep the options that they were submitted with unless ``scontrol update`` changes them, which SLURM may refuse.
Tasks that can never start are cancelled and do not count as workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from hpo_batch.errors import CommandMissing, SlurmError
from hpo_batch.launch.facts import Note, Warned
from hpo_batch.launch.plan import Plan
from hpo_batch.monitor.live import Live
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.tasks import QueueRow
from hpo_batch.store.submissions import read_submissions, write_submission
from hpo_batch.sweep.walltime import format_walltime

# keys of ``[job]``, besides ``walltime``, that ``scontrol update`` can change for a pending task
# (https://slurm.schedmd.com/scontrol.html)
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
# keys that take effect for pending tasks anyway, because the worker reads them at start or they are not the task's
READ_AT_START: Final = frozenset(
    {"template", "scheduler", "workers", "device", "grace_s", "collect", "auto_resume", "mps", "walltime", *FIELDS}
)


def bring_up_to_date(plan: Plan, live: Live) -> Iterator[Note | Warned]:
    """Update pending tasks; notes about what was done, and warnings about what was not."""
    yield from _cancel_stuck(live.stuck)
    changed = {line.partition(":")[0].removeprefix("job.") for line in plan.change.lines if line.startswith("job.")}
    if not live.waiting:
        if "walltime" in changed and live.running:
            yield _running_keep_limit(live)
        return
    yield from _new_limit(plan, live)
    for key in sorted(changed & FIELDS.keys()):
        value = getattr(plan.sweep.job, key)
        yield _update(live.waiting, f"job.{key}", {FIELDS[key]: "" if value is None else str(value)})
    fixed = sorted({key.partition(".")[0] for key in changed} - READ_AT_START)
    if fixed:
        keys = ", ".join(f"job.{key}" for key in fixed)
        yield Warned(
            text=f"pending array tasks keep the {keys} they were submitted with: {_named(live.waiting)}; "
            f"{_how_to_replace(live.waiting)}"
        )


def start_held_back(plan: Plan, live: Live) -> Iterator[Note | Warned]:
    """Let requeued tasks start now, except after ``--begin``.

    SLURM delays a requeued job until its old credential has expired, 121 s by default (cred_expiration in
    https://github.com/SchedMD/slurm/blob/master/src/slurmctld/job_mgr.c).
    """
    if not live.held_back or "begin" in plan.sweep.job.sbatch:
        return
    tasks = ", ".join(live.held_back)
    try:
        BATCH.start_now(live.held_back)
        yield Note(text=f"requeued tasks start now instead of waiting: {tasks}")
    except (SlurmError, CommandMissing) as error:
        yield Warned(text=f"requeued tasks wait until SLURM starts them ({tasks}): {error}")


def _new_limit(plan: Plan, live: Live) -> Iterator[Note | Warned]:
    """Set the new time limit of tasks that were submitted with another walltime, by whichever submission."""
    walltime_s = plan.sweep.job.walltime
    has_noted_running = False
    for submission in read_submissions(plan.home):
        if not submission.is_batch or submission.walltime_s == walltime_s:
            continue
        jobs_of_it = {int(id) for id in live.queue.job_ids.get(submission.id, ())}
        rows = [row for row in live.waiting if row.task.job in jobs_of_it]
        if not rows:
            continue
        refusal = _change(rows, {"TimeLimit": str(math.ceil(walltime_s / 60))})  # minutes
        if refusal is None:
            write_submission(plan.home, replace(submission, walltime_s=walltime_s))
            limit = format_walltime(walltime_s)
            yield Note(text=f"pending array tasks have the new limit too, {limit}: {_named(rows)}")
        else:
            yield Warned(
                text=f"pending array tasks keep the old limit, {format_walltime(submission.walltime_s)}: "
                f"{_named(rows)} ({refusal}); {_how_to_replace(rows)}"
            )
        if live.running and not has_noted_running:
            has_noted_running = True
            yield _running_keep_limit(live)


def _running_keep_limit(live: Live) -> Note:
    return Note(text=f"running array tasks keep their limit: {_named(live.running)}")


def _update(rows: Sequence[QueueRow], what: str, changes: Mapping[str, str]) -> Note | Warned:
    refusal = _change(rows, changes)
    if refusal is None:
        return Note(text=f"pending array tasks have the new {what} too: {_named(rows)}")
    return Warned(text=f"pending array tasks keep the old {what}: {_named(rows)} ({refusal})")


def _change(rows: Sequence[QueueRow], changes: Mapping[str, str]) -> str | None:
    """Update the tasks; SLURM's message if it refuses."""
    try:
        BATCH.update([row.id for row in rows], changes)
    except (SlurmError, CommandMissing) as error:
        return str(error)
    return None


def _cancel_stuck(rows: Sequence[QueueRow]) -> Iterator[Note | Warned]:
    if not rows:
        return
    try:
        BATCH.cancel([row.id for row in rows])
    except (SlurmError, CommandMissing) as error:
        yield Warned(text=f"array tasks that can never start could not be cancelled: {_named(rows)} ({error})")
        return
    yield Note(text=f"cancelled, since they could never start: {_named(rows)}")


def _how_to_replace(rows: Sequence[QueueRow]) -> str:
    return f"to replace them: scancel --state=PENDING {_jobs(rows)}, then submit again"


def _named(rows: Sequence[QueueRow]) -> str:
    few = ",".join(row.id for row in rows[:8])
    return f"{few} and {len(rows) - 8} more" if len(rows) > 8 else few


def _jobs(rows: Sequence[QueueRow]) -> str:
    return " ".join(dict.fromkeys(str(row.task.job) for row in rows))
