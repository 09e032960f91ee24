"""What is told to SLURM of array tasks that wait since an earlier submission, and what is said where it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpo_batch.launch.plan import Plan
from hpo_batch.launch.updates import bring_up_to_date
from hpo_batch.monitor.live import Live
from hpo_batch.monitor.queue import Queue
from hpo_batch.scheduler.slurm.queue import parse_squeue
from hpo_batch.store.submissions import Submission, read_submissions, write_submission
from hpo_batch.sweep.difference import Change
from tests.launch.test_submit import a_plan
from tests.scheduler.conftest import FakeCommand
from tests.scheduler.conftest import fake_command as fake_command

Fake = Callable[..., FakeCommand]
REFUSED = "scontrol: error: 7_1: Access/permission denied\nslurm_update error: Access/permission denied\n"


@pytest.fixture
def plan(root: Path) -> Plan:
    made = a_plan(root)
    made.home.make()
    old = Submission(id="abc", kind="slurm", workers=2, walltime_s=600.0, submitted=time.time(), job_ids=("7",))
    write_submission(made.home, old)
    return replace(made, sweep=replace(made.sweep, job=replace(made.sweep.job, walltime=600.0)))


def changed(plan: Plan, *lines: str, **job: object) -> Plan:
    sweep = replace(plan.sweep, job=replace(plan.sweep.job, **job))  # type: ignore[arg-type]
    return replace(plan, sweep=sweep, change=Change(lines=lines))


def the_live(*, waiting: str = "", stuck: str = "", running: str = "") -> Live:
    rows = [tuple(parse_squeue(text).values()) for text in (waiting, stuck, running)]
    queue = Queue(rows={}, job_ids={"abc": ("7",)})
    return Live(workers=1, held_back=(), queue=queue, waiting=rows[0], stuck=rows[1], running=rows[2])


WAITING = "7|1|PENDING|Priority|0:00|10:00|"
RUNNING = "7|0|RUNNING|None|0:10|9:50|n1"


def test_nothing_is_done_where_nothing_changed(plan: Plan, fake_command: Fake) -> None:
    scontrol = fake_command("scontrol")
    assert list(map(str, bring_up_to_date(plan, the_live(waiting=WAITING, running=RUNNING)))) == []
    assert scontrol.calls == []


def test_a_new_limit_is_told_to_tasks_that_wait(plan: Plan, fake_command: Fake) -> None:
    scontrol = fake_command("scontrol")
    shorter = changed(plan, "job.walltime: 600.0 -> 90.0", walltime=90.0)
    assert list(map(str, bring_up_to_date(shorter, the_live(waiting=WAITING, running=RUNNING)))) == [
        "pending array tasks have the new limit too, 0:01:30: 7_1",
        "running array tasks keep their limit: 7_0",
    ]
    assert [call["argv"] for call in scontrol.calls] == [["update", "JobId=7_1", "TimeLimit=2"]]
    assert read_submissions(plan.home)[-1].walltime_s == 90.0
    # a worker of it counts with it, and the next submission has nothing to tell
    assert list(map(str, bring_up_to_date(shorter, the_live(waiting=WAITING)))) == []


def test_a_limit_that_slurm_refuses_is_kept_and_said_to_be(plan: Plan, fake_command: Fake) -> None:
    fake_command("scontrol", stderr=REFUSED, returncode=1)
    longer = changed(plan, "job.walltime: 600.0 -> 1200.0", walltime=1200.0)
    (told,) = map(str, bring_up_to_date(longer, the_live(waiting=WAITING)))
    assert told.startswith("warning: pending array tasks keep the old limit, 0:10:00: 7_1 ('scontrol update' failed")
    assert told.endswith("to replace them: scancel --state=PENDING 7, then submit again")
    assert read_submissions(plan.home)[-1].walltime_s == 600.0
    # also if the sweep has not changed since: they have the old limit still
    assert list(map(str, bring_up_to_date(replace(longer, change=Change()), the_live(waiting=WAITING)))) == [told]


def test_other_keys_are_told_or_said_to_be_kept(plan: Plan, fake_command: Fake) -> None:
    scontrol = fake_command("scontrol")
    lines = ("job.partition: a -> b", "job.cpus: 1 -> 2", "job.sbatch.mail-type: END -> ALL", "study.trials: 4 -> 8")
    other = changed(plan, *lines, partition="b", cpus=2)
    assert list(map(str, bring_up_to_date(other, the_live(waiting=WAITING)))) == [
        "pending array tasks have the new job.partition too: 7_1",
        "warning: pending array tasks keep the job.cpus, job.sbatch they were submitted with: 7_1; "
        "to replace them: scancel --state=PENDING 7, then submit again",
    ]
    assert [call["argv"] for call in scontrol.calls] == [["update", "JobId=7_1", "Partition=b"]]
    quiet = changed(plan, "job.workers: 1 -> 2", "job.grace_s: 30.0 -> 60.0")
    assert list(map(str, bring_up_to_date(quiet, the_live(waiting=WAITING)))) == []


def test_what_can_never_start_is_cancelled(plan: Plan, fake_command: Fake) -> None:
    scancel = fake_command("scancel")
    stuck = "7|0|PENDING|PartitionTimeLimit|0:00|1:00|\n8|N/A|PENDING|DependencyNeverSatisfied|0:00|1:00|"
    (told,) = map(str, bring_up_to_date(plan, the_live(stuck=stuck)))
    assert told == "cancelled, since they could never start: 7_0,8"
    assert [call["argv"] for call in scancel.calls] == [["7_0", "8"]]
    fake_command(
        "scancel", stderr="scancel: error: Kill job error on job id 7: Access/permission denied\n", returncode=1
    )
    (told,) = map(str, bring_up_to_date(plan, the_live(stuck=stuck)))
    assert told.startswith("warning: array tasks that can never start could not be cancelled: 7_0,8 ('scancel' failed")
