"""Why workers ended that said nothing themselves: from logs as SLURM 22.05 to 24.05 writes them, and from squeue."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.monitor.ends import NO_LOG, Dead, dead_workers, true_reason
from hpo_batch.scheduler.slurm.queue import parse_squeue
from hpo_batch.store.home import StudyHome
from hpo_batch.store.last_words import killed_for_memory
from hpo_batch.store.submissions import Submission

BEGAN = "2026-11-29 10:46:28,558 I worker on n1, pid 18028, study toy\n... I trial 0: attempt 1, x=0.8\n"
ENDED = "2026-11-29 10:46:31,817 I worker ends: 1 complete, 0 pruned, 0 failed, 0 given back\n"
MEMORY = """\
slurmstepd-n1: error: StepId=1.0 exceeded memory limit (917405696 > 644874240), being killed
slurmstepd-n1: error: *** STEP 1.0 ON n1 CANCELLED AT 2026-11-29T10:46:29 ***
slurmstepd-n1: error: Exceeded job memory limit
srun: Job step aborted: Waiting up to 5 seconds for job step to finish.
srun: error: n1: task 0: Killed
"""
CGROUP = """\
slurmstepd: error: Detected 1 oom_kill event in StepId=5.0. Some of the step tasks have been OOM Killed.
srun: error: gpu07: task 0: Out Of Memory
"""
BATCH = """\
slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.batch. Some of your processes may have been killed by the \
cgroup out-of-memory handler.
"""
NO_PROGRAM = """\
slurmstepd-n1: error: execve(): /nowhere/python: No such file or directory
srun: error: n1: task 0: Exited with exit code 2
"""
NO_FOLDER = """\
slurmstepd: error: couldn't chdir to `/home/user/project': No such file or directory: going to /tmp instead
slurmstepd: error: execve(): bin/python: No such file or directory
srun: error: n2: task 0: Exited with exit code 2
"""
NO_MODULE = """\
Traceback (most recent call last):
  File "<frozen runpy>", line 189, in _run_module_as_main
ModuleNotFoundError: No module named 'submitit'
srun: error: n2: task 0: Exited with exit code 1
"""
LIMIT = """\
slurmstepd: error: *** JOB 3 ON n1 CANCELLED AT 2026-11-29T10:43:40 DUE TO TIME LIMIT ***
slurmstepd: error: *** STEP 3.0 ON n1 CANCELLED AT 2026-11-29T10:43:40 DUE TO TIME LIMIT ***
srun: Job step aborted: Waiting up to 32 seconds for job step to finish.
"""
NO_ENVIRONMENT = """\
RuntimeError: Could not figure out which environment the job is runnning in.
Known environments: slurm, local, debug.
srun: error: n1: task 0: Exited with exit code 1
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (MEMORY, "StepId=1.0 exceeded memory limit (917405696 > 644874240), being killed"),
        (CGROUP, "Detected 1 oom_kill event in StepId=5.0. Some of the step tasks have been OOM Killed."),
        (NO_PROGRAM, "execve(): /nowhere/python: No such file or directory"),
        (NO_FOLDER, "execve(): bin/python: No such file or directory"),
        (NO_MODULE, "ModuleNotFoundError: No module named 'submitit'"),
        (LIMIT, "*** JOB 3 ON n1 CANCELLED AT 2026-11-29T10:43:40 DUE TO TIME LIMIT ***"),
        (NO_ENVIRONMENT, "RuntimeError: Could not figure out which environment the job is runnning in."),
        ("/py: 2: exec: /nowhere/python: not found\nsrun: error: n2: task 0: Exited with exit code 127\n",
         "/py: 2: exec: /nowhere/python: not found"),
        ("srun: error: n2: task 0: Killed\n", "srun: error: n2: task 0: Killed"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_true_reason_stands_before_sruns_last_line(log: str, reason: str) -> None:
    assert true_reason(log.splitlines()) == reason


@pytest.fixture
def home(tmp_path: Path) -> StudyHome:
    home = StudyHome(path=tmp_path / "toy", name="toy")
    home.slurm.mkdir(parents=True)
    return home


def dead(home: StudyHome, squeue: str = "", *, live: tuple[str, ...] = (), **more: object) -> tuple[Dead, ...]:
    facts = {"id": "abc", "kind": "slurm", "workers": 4, "walltime_s": 60.0, "submitted": 1.0, "job_ids": ("7",)}
    submission = Submission(**{**facts, **more})  # type: ignore[arg-type]
    rows = parse_squeue(squeue)
    return dead_workers(home, [submission], rows=rows, job_ids={"abc": ("7",)}, live=live, answered=True)


def put(home: StudyHome, *logs: str) -> None:
    for index, log in enumerate(logs):
        if log:
            (home.slurm / f"7_{index}_0_log.err").write_text(log)


def test_the_dead_beside_the_living(home: StudyHome) -> None:
    put(home, BEGAN, NO_PROGRAM.replace("n1", "n2"), NO_PROGRAM.replace("n1", "n2"), BEGAN + ENDED)
    (found,) = dead(home, "7|0|RUNNING|None|1:00|9:00|n1", live=("7_0",))
    assert (found.tasks, found.of, found.node) == (("7_1", "7_2"), 4, "n2")
    assert str(found).startswith("2 of 4 array tasks ended on n2: execve(): /nowhere/python: No such file")


def test_tasks_that_ended_alike_are_one(home: StudyHome) -> None:
    put(home, *(BEGAN + MEMORY.replace("StepId=1", f"StepId={i}") for i in range(4)))
    (found,) = dead(home)
    assert found.why == "the step exceeded memory limit (917405696 > 644874240), being killed"
    assert len(found.tasks) == 4


def test_what_squeue_knows_of_tasks_without_words(home: StudyHome) -> None:
    rows = (
        "7|0|NODE_FAIL|None|1:00|9:00|n1\n7|1|OUT_OF_MEMORY|OutOfMemory|1:00|9:00|n1\n7|2|COMPLETED|None|1:00|9:00|n1\n"
    )
    put(home, BEGAN, BEGAN, BEGAN)
    found = {one.tasks: one.why.split(";")[0] for one in dead(home, rows + "7|3|FAILED|NonZeroExitCode|1:00|9:00|n2")}
    assert found == {("7_0",): "its node failed", ("7_1",): "out of memory", ("7_3",): "FAILED, NonZeroExitCode"}


def test_a_task_that_left_no_log(home: StudyHome) -> None:
    put(home, BEGAN + ENDED, BEGAN + ENDED)
    (found,) = dead(home, "7|2|PENDING|Priority|0:00|9:00|", live=("7_2",))
    assert (found.tasks, found.why) == (("7_3",), NO_LOG)


def test_of_a_requeued_task_the_last_run_counts(home: StudyHome) -> None:
    put(home, BEGAN + LIMIT + BEGAN + ENDED, BEGAN + ENDED + BEGAN + NO_PROGRAM, "", "")
    found = dead(home, workers=2)
    assert [one.tasks for one in found] == [("7_1",)]


def test_nobody_is_told_dead_without_reason(home: StudyHome) -> None:
    put(home, BEGAN)
    assert dead(home, live=("7_0",), workers=1) == ()
    assert dead(home, cancelled=1.0) == ()
    assert dead(home, refused="no") == ()
    submission = Submission(id="abc", kind="slurm", workers=4, walltime_s=60.0, submitted=1.0, job_ids=("7",))
    assert dead_workers(home, [submission], rows={}, job_ids={}, live=(), answered=False) == ()


@pytest.mark.parametrize(
    ("log", "worker", "said"),
    [
        (BEGAN + MEMORY, "7-r0-0", "StepId=1.0 exceeded memory limit"),
        (BEGAN + CGROUP, "7-r0-0", "gpu07: task 0: Out Of Memory"),
        (BEGAN + BATCH, "7-r0-0", "Detected 1 oom-kill event(s)"),
        # a command's own process was killed, and the worker lived on to be cancelled
        (BEGAN + BATCH + LIMIT, "7-r0-0", ""),
        (BEGAN + LIMIT, "7-r0-0", ""),
        (BEGAN, "7-r0-0", ""),
        # another run of the task
        (BEGAN + MEMORY + BEGAN, "7-r1-0", ""),
        (BEGAN + MEMORY + BEGAN, "7-r0-0", "StepId=1.0 exceeded memory limit"),
        (BEGAN + MEMORY, "7-r1-0", ""),
        # several workers in one task: nobody tells whose memory it was
        (BEGAN + MEMORY, "7-r0-0.1", ""),
    ],
)
def test_a_memory_kill_is_known_from_slurms_own_words(home: StudyHome, log: str, worker: str, said: str) -> None:
    put(home, log)
    found = killed_for_memory(home, {"worker": worker, "job": "7_0"})
    assert found.startswith(said)
    assert bool(found) == bool(said)
