"""What versions of SLURM write into the logs of jobs that end, as ``tests/scheduler/record.py`` has recorded it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpo_batch.launch.task_exits import last_word
from hpo_batch.monitor.ends import SILENT_DEATH, dead_workers, true_reason
from hpo_batch.scheduler.tasks import TaskState
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission
from tests.scheduler.conftest import DATA

VERSIONS = sorted(path.parent.name for path in DATA.glob("*/last-words.txt"))
BEGUN = "2026-11-30 00:30:29,916 I worker on n1, pid 1, study toy"


@pytest.fixture(params=VERSIONS)
def written(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """How the job ended -> the lines of its log."""
    text = (DATA / request.param / "last-words.txt").read_text()
    parts = re.split(r"^\[(\w+)\]\n", text, flags=re.MULTILINE)[1:]
    return {name: lines.splitlines() for name, lines in zip(parts[::2], parts[1::2], strict=True)}


def test_the_newest_is_recorded() -> None:
    assert {"22.05", "24.11", "26.05"} <= set(VERSIONS)


def test_scancel_and_preemption_are_told_from_other_ends(written: dict[str, list[str]]) -> None:
    """In the grace time of a preemption the step's line comes first, as of scancel; collectors resume after neither."""
    assert {name: last_word([BEGUN, *lines]) for name, lines in written.items()} == {
        "cancelled": TaskState.CANCELLED,
        "preempted": TaskState.CANCELLED,
        "limit": None,
        "missing": None,
        "folder": None,
        "failed": None,
        "killed": None,
    }


def test_a_job_that_is_preempted_without_a_step_says_so(written: dict[str, list[str]]) -> None:
    assert last_word([BEGUN, *(line for line in written["preempted"] if "*** STEP" not in line)]) is TaskState.PREEMPTED


def test_the_reason_is_slurms_without_who_wrote_it_and_when(written: dict[str, list[str]]) -> None:
    reasons = {name: true_reason([BEGUN, *lines]) for name, lines in written.items()}
    assert reasons["missing"] == "execve(): /nowhere/python: No such file or directory"
    assert reasons["folder"] == "couldn't chdir to `/nowhere': No such file or directory: going to /tmp instead"
    assert re.fullmatch(r"\*\*\* (?:JOB|STEP) \S+ ON n\d CANCELLED AT \S+ DUE TO TIME LIMIT \*\*\*", reasons["limit"])
    assert reasons["cancelled"].startswith("*** ")
    assert (reasons["failed"], reasons["killed"]) == (SILENT_DEATH, SILENT_DEATH)


def test_tasks_that_ended_alike_at_other_times_are_one(written: dict[str, list[str]], tmp_path: Path) -> None:
    home = StudyHome(path=tmp_path / "toy", name="toy")
    home.slurm.mkdir(parents=True)
    for task in range(3):
        lines = [re.sub(r"(\d\d)\.\d\d\d\]", rf"\1.00{task}]", line) for line in written["missing"]]
        (home.slurm / f"7_{task}_0_log.err").write_text("\n".join(lines))
    submission = Submission(id="abc", kind="slurm", workers=3, walltime_s=60.0, submitted=1.0, job_ids=("7",))
    (found,) = dead_workers(home, [submission], rows={}, job_ids={"abc": ("7",)}, live=(), answered=True)
    assert len(found.tasks) == 3
    assert found.node.startswith("n")
