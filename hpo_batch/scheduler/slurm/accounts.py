"""Queries SLURM's database: sacct for past runs, sacctmgr for limits. https://slurm.schedmd.com/sacct.html"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator

from hpo_batch.scheduler.scheduler import ANSWER_S
from hpo_batch.scheduler.site import Limit
from hpo_batch.scheduler.slurm import site, states
from hpo_batch.scheduler.slurm.runner import failure, joined, number, run_command
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask

log = logging.getLogger(__name__)


_SACCT_FIELDS = "JobID,State,ExitCode,Submit,Start,End,ElapsedRaw,TimelimitRaw,AllocTRES,NodeList"
# no site allows larger arrays (MaxArraySize); bounds what a malformed line can cost
MOST_TASKS = 100_000


def sacct(job_ids: Iterable[str], *, timeout_s: float = ANSWER_S) -> dict[ArrayTask, tuple[AccountingRow, ...]] | None:
    """All runs of the tasks of these jobs, oldest first; None if the site has no accounting.

    The state of the last run is the task's. Accounting is some seconds behind squeue.

    Raises:
        CommandMissing: there is no sacct on this machine.
        SlurmUnreachable: no answer, or no database.
    """
    ids = joined(job_ids)
    if not ids:
        return {}
    # -X: no steps. -D: also the runs before a requeue, which share the job id
    done = run_command(["sacct", "-X", "-D", "-P", "-n", "-j", ids, "-o", _SACCT_FIELDS], timeout_s=timeout_s)
    if "accounting storage is disabled" in done.stderr:
        return None
    if done.returncode != 0:
        raise failure("sacct", done)
    return parse_sacct(done.stdout)


def show_limits(user: str, *, cluster: str, timeout_s: float = ANSWER_S) -> tuple[tuple[Limit, ...], dict[str, Limit]]:
    """Limits of the user's associations, and of all QOS by name. Runs sacctmgr twice.

    Raises:
        CommandMissing: there is no sacctmgr on this machine.
        SlurmUnreachable: no answer, or no database.
        SlurmRefused: the site hides them.
    """
    outputs = []
    for words in (
        ["assoc", "where", f"user={user}", f"cluster={cluster}", f"format={site.LIMIT_FIELDS}"],
        ["qos", f"format={site.QOS_FIELDS}"],
    ):
        done = run_command(["sacctmgr", "-n", "-P", "show", *words], timeout_s=timeout_s)
        if done.returncode != 0:
            raise failure(f"sacctmgr show {words[0]}", done)
        outputs.append(done.stdout)
    return site.parse_associations(outputs[0]), site.parse_qos(outputs[1])


def parse_sacct(text: str) -> dict[ArrayTask, tuple[AccountingRow, ...]]:
    """Parse `sacct -X -D -P -n` with our fields, and times in seconds since 1970."""
    rows: dict[ArrayTask, tuple[AccountingRow, ...]] = {}
    for line in text.splitlines():
        fields = line.split("|")
        try:
            tasks = tuple(_tasks(fields[0]))
        except ValueError:
            tasks = ()
        # no SLURM field has 19 digits or more
        if len(fields) != _SACCT_FIELDS.count(",") + 1 or not tasks or re.search(r"\d{19}", line):
            log.warning("cannot parse a line of sacct: %r", line)
            continue
        _, word, exit_code, submitted, started, ended, elapsed, _, tres, node = fields
        code, _, signal = exit_code.partition(":")
        for task in tasks:
            row = AccountingRow(
                task=task,
                state=states.parse(word),
                word=word,
                exit_code=int(number(code) or 0),
                signal=int(number(signal) or 0),
                submitted=number(submitted),
                started=number(started),
                ended=number(ended),
                elapsed_s=number(elapsed) or 0.0,
                gpus=_resource(tres, "gres/gpu"),
                cpus=_resource(tres, "cpu"),
                node="" if node == "None assigned" else node,
            )
            rows[task] = (*rows.get(task, ()), row)
    return rows


def _tasks(job_id: str) -> Iterator[ArrayTask]:
    """The tasks in a job id. sacct prints pending tasks in one line: `7_[3,5-9:2%4]`."""
    folded = re.match(r"(\d{1,18})_\[([^\]%]*)", job_id)
    if folded is None:
        yield ArrayTask.parse(job_id)
        return
    # a long list is cut off with `...`; squeue has the other tasks
    ranges = re.findall(r"(?<!\d)(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?(?!\d)", folded[2])
    indices = (range(int(first), int(last or first) + 1, int(step or 1) or 1) for first, last, step in ranges)
    for indices_of_range in indices:
        for index in indices_of_range[:MOST_TASKS]:
            yield ArrayTask(job=int(folded[1]), index=index)


def _resource(tres: str, name: str) -> int:
    """Amount of a resource, such as `gres/gpu` in `billing=1,cpu=1,gres/gpu:a100=2,gres/gpu=2`."""
    match = re.search(rf"(?:^|,){re.escape(name)}(?::[^=,]*)?=(\d{{1,18}})(?!\d)", tres)
    return int(match[1]) if match else 0
