"""Cards, leases, running trials and the answer of squeue, brought together."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo_batch.monitor.queue import Hidden
from hpo_batch.monitor.workers import Answer, Workers, find_workers
from hpo_batch.scheduler.slurm.queue import parse_squeue
from hpo_batch.scheduler.slurm.reasons import is_held, meaning, outlook, what_to_change
from hpo_batch.scheduler.tasks import Outlook
from hpo_batch.store.home import StudyHome
from hpo_batch.store.leases import lease_path
from hpo_batch.store.submissions import Submission
from hpo_batch.study.study import Study
from tests.processes import dead_process
from tests.study.helpers import claimed, make, owner, state_of

SLURM = Submission(id="abc", kind="slurm", workers=2, walltime_s=60, submitted=0, job_ids=("7",))


@contextlib.contextmanager
def at_work(home: StudyHome, *workers: dict[str, object]) -> Iterator[None]:
    """Workers of another machine, each with a card, a lease and a trial."""
    with contextlib.ExitStack() as stack:
        for i, changes in enumerate(workers):
            study = stack.enter_context(Study.open(home, owner(i, **{"host": "far", **changes})))
            claimed(study)
        yield


def seen(home: StudyHome, squeue: str | None, **more: object) -> Workers:
    now = time.time()
    rows = {} if squeue is None else parse_squeue(squeue)
    queue = Answer(rows=rows, asked=now, unseen="no answer" if squeue is None else "")
    facts = {"lease_s": 30.0, "began": lambda job: None, "now": now, **more}
    return find_workers(home.workers, state_of(home), [SLURM], queue, **facts)  # type: ignore[arg-type]


def told(found: Workers) -> list[tuple[str, str, str, int | None]]:
    return [(w.worker, w.job, w.state, w.trial) for w in found.there]


def age(home: StudyHome, worker: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(lease_path(home.workers, worker), (then, then))


ONE = {"worker": "7-r0-0", "job": "7_0"}
TWO = {"worker": "7-r0-1", "job": "7_1"}


def test_a_task_is_brought_together_with_its_worker(root: Path) -> None:
    home = make(root)
    with at_work(home, {**ONE, "gpus": ("3",)}):
        found = seen(home, "7|0|RUNNING|None|1:00|59:00|n1\n7|1|PENDING|Priority|0:00|1:00:00|")
        assert told(found) == [("7-r0-0", "7_0", "running", 0), ("", "7_1", "pending", None)]
        first, second = found.there
        assert (first.gpus, first.elapsed_s, first.left_s) == (("3",), 60.0, 3540.0)
        assert first.seen_s is not None
        assert first.seen_s < 5
        assert (second.reason, second.gloss) == ("Priority", "other jobs are before it")
        assert found.abandoned == ()


def test_several_workers_of_one_task(root: Path) -> None:
    home = make(root)
    with at_work(home, {"worker": "7-r0-0", "job": "7_0"}, {"worker": "7-r0-0-1", "job": "7_0"}):
        found = seen(home, "7|0|RUNNING|None|1:00|59:00|n1")
        assert told(found) == [("7-r0-0", "7_0", "running", 0), ("7-r0-0-1", "7_0", "running", 1)]


def test_a_task_that_is_gone_or_waits_again_has_left_its_trial(root: Path) -> None:
    home = make(root)
    with at_work(home, ONE, TWO):
        for worker in ("7-r0-0", "7-r0-1"):
            age(home, worker, 20)
        found = seen(home, "7|0|NODE_FAIL|None|1:00|59:00|\n7|1|PENDING|BeginTime|0:00|1:00:00|")
        assert told(found) == [("", "7_1", "pending", None)]
        assert found.there[0].gloss.startswith("requeued")
        assert found.abandoned == (0, 1)  # SLURM shows both, and no process of either
        # its lease was refreshed after SLURM had answered: it has begun since
        fresh = Answer(
            rows=parse_squeue("7|0|NODE_FAIL|None|1:00|59:00|\n7|1|FAILED|None|0:00|1:00|"), asked=time.time() - 30
        )
        age(home, "7-r0-0", 0)
        age(home, "7-r0-1", 60)
        later = find_workers(
            home.workers, state_of(home), [SLURM], fresh, lease_s=30, began=lambda job: None, now=time.time()
        )
        assert told(later) == [("7-r0-0", "7_0", "running", 0)]


def test_that_slurm_shows_nothing_is_doubt_and_not_the_end(root: Path) -> None:
    """Another user's jobs (PrivateData), an answer that lacks some, another cluster's queue."""
    home = make(root)
    with at_work(home, ONE, TWO):
        age(home, "7-r0-1", 45)
        found = seen(home, "")
        # the lease speaks: who was silent for its whole duration, and is in no queue, is gone
        assert told(found) == [("7-r0-0", "7_0", "running", 0)]
        (worker,) = found.there
        assert worker.will_work
        assert "SLURM does not show its job" in worker.doubt
        assert found.abandoned == (1,)


def test_on_another_cluster_absence_says_nothing(root: Path) -> None:
    home, now = make(root), time.time()
    hidden = {"abc": Hidden(why="it is on cluster 'east', and this is cluster 'west'", is_elsewhere=True)}
    with at_work(home, {**ONE, "submission": "abc"}):
        age(home, "7-r0-0", 45)
        queue = Answer(rows={}, asked=now, hidden=hidden)
        found = find_workers(home.workers, state_of(home), [SLURM], queue, lease_s=30, began=lambda job: None, now=now)
        assert told(found) == [("7-r0-0", "7_0", "silent", 0)]
        assert found.abandoned == ()


def test_a_process_of_this_host_is_there_whatever_slurm_shows(root: Path) -> None:
    home = make(root)
    with at_work(home, {**ONE, "host": owner().host}):
        age(home, "7-r0-0", 300)
        assert told(seen(home, "")) == [("7-r0-0", "7_0", "running", 0)]


@pytest.mark.parametrize(
    ("row", "will_work"),
    [
        ("7|0|RUNNING|None|1:00|59:00|n1", True),
        ("7|0|SUSPENDED|None|1:00|59:00|n1", True),
        ("7|0|PENDING|Priority|0:00|1:00:00|", True),
        ("7|0|PENDING|BeginTime|0:00|1:00:00|", True),
        ("7|0|PENDING|JobHeldUser|0:00|1:00:00|", True),
        ("7|0|PENDING|JobHeldAdmin|0:00|1:00:00|", False),
        ("7|0|PENDING|PartitionTimeLimit|0:00|1:00:00|", False),
        ("7|0|PENDING|DependencyNeverSatisfied|0:00|1:00:00|", False),
        ("7|0|COMPLETING|None|1:00|59:00|n1", False),
        ("7|0|NEW_STATE|None|1:00|59:00|n1", True),
    ],
)
def test_who_will_work(root: Path, row: str, will_work: bool) -> None:
    (worker,) = seen(make(root), row).there
    assert worker.will_work == will_work
    assert worker.as_json()["will_work"] == will_work


def test_a_task_that_ends_to_run_again_will_work(root: Path) -> None:
    """Recorded of 22.05: one that was requeued and one that was cancelled, both with processes that ignore SIGTERM."""
    now = int(time.time())
    rows = parse_squeue(
        f"1|1|COMPLETING|None|0:00|5:00|n1|{now + 300}|toy-abc\n1|0|COMPLETING|None|0:01|4:59|n1|{now - 1}|toy-abc\n",
        whole=True,
    )
    assert {str(task): row.comes_back(now) for task, row in rows.items()} == {"1_1": True, "1_0": False}


def test_a_requeued_task_counts_once(root: Path) -> None:
    home = make(root)
    with at_work(home, ONE, {"worker": "7-r1-0", "job": "7_0"}):
        found = seen(home, "7|0|RUNNING|None|1:00|59:00|n1")
        # the task's new run has taken over what the former one held
        assert told(found) == [("7-r1-0", "7_0", "running", 0)]
        assert found.abandoned == ()


def test_without_an_answer_the_lease_speaks(root: Path) -> None:
    home = make(root)
    with at_work(home, ONE, TWO):
        age(home, "7-r0-1", 45)
        found = seen(home, None)
        assert told(found) == [("7-r0-0", "7_0", "running", 0), ("7-r0-1", "7_1", "silent", 1)]
        assert [w.live for w in found.there] == [True, False]
        assert found.abandoned == ()


def test_a_job_that_is_no_array(root: Path) -> None:
    home = make(root)
    with at_work(home, {"worker": "7-r0-0", "job": "7"}):
        assert told(seen(home, "7|N/A|RUNNING|None|1:00|59:00|n1")) == [("7-r0-0", "7", "running", 0)]
    assert told(seen(home, "7|N/A|PENDING|Priority|0:00|59:00|")) == [("", "7", "pending", None)]  # as scancel takes it


def test_a_task_without_a_worker_has_not_begun_or_is_leaving(root: Path) -> None:
    home, now = make(root), time.time()
    row = "7|0|RUNNING|None|1:00|59:00|n1"
    assert told(seen(home, row)) == [("", "7_0", "starting", None)]
    assert told(seen(home, row, began=lambda job: now - 30)) == [("", "7_0", "leaving", None)]
    assert told(seen(home, row, began=lambda job: now - 300)) == [("", "7_0", "starting", None)]


def test_other_jobs_are_none_of_ours(root: Path) -> None:
    assert told(seen(make(root), "8|0|RUNNING|None|1:00|59:00|n1")) == []


def test_local_workers_here_and_elsewhere(root: Path) -> None:
    home = make(root)
    with at_work(home, {"host": owner().host}, {"host": "far"}), dead_process() as pid:
        dead = Study.open(home, owner(2, pid=pid, start=1))
        with dead as study:
            claimed(study)
            found = seen(home, "")
            assert [(w.node, w.state, w.trial) for w in found.there] == [
                (owner().host, "running", 0),
                ("far", "running", 1),
            ]
            assert found.abandoned == (2,)


def test_cards_that_cannot_be_read_are_told(root: Path) -> None:
    home = make(root)
    with at_work(home, ONE):
        pass
    home.workers.rmdir()
    found = seen(home, "7|0|RUNNING|None|1:00|59:00|n1")
    assert "cannot read" in found.unseen[0]
    assert told(found)[0][1] == "7_0"


@pytest.mark.parametrize(
    ("reason", "gloss"),
    [
        ("Resources", "next in line"),
        ("QOSMaxJobsPerUserLimit", "limit on the number of jobs"),
        ("QOSMaxGRESPerUser", "limit of the QOS for each user"),
        ("QOSGrpGRES", "limit of the QOS"),
        ("AssocGrpGRESMinutes", "limit of the account"),
        ("AssocMaxSubmitJobLimit", "limit on the number of jobs"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "nodes that it asks for"),
        ("(launch failed requeued held)", "could not be started"),
        ("job requeued in held state", "held by its owner"),
        ("an administrator's own words", ""),
        ("None", ""),
    ],
)
def test_common_reasons_have_a_gloss(reason: str, gloss: str) -> None:
    found = meaning(reason)
    assert found.startswith(gloss)
    assert bool(found) == bool(gloss)
    assert is_held(reason) == ("held" in reason)
    expected = {"(launch failed requeued held)": Outlook.HELD, "job requeued in held state": Outlook.ON_HOLD}
    assert outlook(reason) is expected.get(reason, Outlook.STARTS)


@pytest.mark.parametrize("reason", ["JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue"])
def test_held_is_what_somebody_has_to_release(reason: str) -> None:
    assert is_held(reason)
    assert outlook(reason) is (Outlook.ON_HOLD if reason == "JobHeldUser" else Outlook.HELD)


@pytest.mark.parametrize(
    "reason",
    [
        *("PartitionTimeLimit", "PartitionNodeLimit", "DependencyNeverSatisfied", "BadConstraints", "DeadLine"),
        *("QOSMaxWallDurationPerJobLimit", "AssocMaxWallDurationPerJobLimit", "QOSMaxCpuPerJobLimit"),
        *("QOSMaxGRESPerJob", "AssocMaxNodePerJobLimit", "QOSMaxGRESPerNode", "QOSMinGRES", "MaxMemPerLimit"),
        *("QOSMaxCpuMinutesPerJobLimit", "InvalidQOS", "InvalidAccount", "ReservationDeleted", "PartitionConfig"),
    ],
)
def test_what_can_never_start(reason: str) -> None:
    assert outlook(reason) is Outlook.NEVER
    assert what_to_change(reason).startswith("job.")


@pytest.mark.parametrize(
    "reason",
    [
        *("Resources", "Priority", "BeginTime", "Dependency", "JobArrayTaskLimit", "Licenses", "PartitionDown"),
        *("QOSMaxJobsPerUserLimit", "QOSMaxCpuPerUserLimit", "QOSGrpCpuLimit", "AssocGrpCPUMinutesLimit"),
        *("AssocMaxJobsLimit", "MaxGRESPerAccount", "ReqNodeNotAvail, UnavailableNodes:n1", "None", "whatever"),
    ],
)
def test_what_starts_when_its_turn_comes(reason: str) -> None:
    assert outlook(reason) is Outlook.STARTS
