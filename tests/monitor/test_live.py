"""Who is counted before workers are added: who will work, and what is done where SLURM does not show who does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpo_batch.monitor.live import Live, live
from hpo_batch.monitor.queue import ask
from hpo_batch.monitor.status import StudyStatus, study_statuses
from hpo_batch.monitor.waiting import LOOKS, Patience
from hpo_batch.store.home import StudyHome
from hpo_batch.store.leases import lease_path
from hpo_batch.store.submissions import Submission, write_submission
from hpo_batch.study.study import Study
from tests.scheduler.conftest import fake_command as fake_command
from tests.study.helpers import claimed, make, owner

Squeue = Callable[..., None]
FUTURE = int(time.time()) + 3600


@pytest.fixture
def home(root: Path) -> StudyHome:
    home = make(root, study="trials = 9\nlease_s = 1.0")
    write_submission(home, submission())
    return home


def submission(**changes: object) -> Submission:
    facts = {"id": "abc", "kind": "slurm", "workers": 3, "walltime_s": 60.0, "submitted": time.time() - 1000}
    return Submission(**{**facts, "job_ids": ("7",), "name": "toy-abc", **changes})  # type: ignore[arg-type]


@pytest.fixture
def squeue(fake_command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Squeue:
    """Rows as `F|K|T|r|M|L|N`; the name is ours unless it is given."""
    (tmp_path / "slurm.conf").write_text("SlurmctldHost=x\nClusterName=west\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))

    def put(*rows: str, ends: int = 0, name: str = "toy-abc", unknown: bool = False) -> None:
        text = "".join(f"{row}|{ends}|{name}\n" for row in rows)
        stderr = "slurm_load_jobs error: Invalid job id specified\n" if unknown else ""
        fake_command("squeue", stdout=text, stderr=stderr, returncode=int(unknown))

    return put


@contextmanager
def at_work(home: StudyHome, *indices: int) -> Iterator[None]:
    """Workers of array tasks on a host far away."""
    with Study.open(
        home, owner(host="far", worker=f"7-r0-{indices[0]}", job=f"7_{indices[0]}", submission="abc")
    ) as one:
        claimed(one)
        if indices[1:]:
            with at_work(home, *indices[1:]):
                yield
        else:
            yield


def the_live(home: StudyHome, said: list[str] | None = None) -> Live:
    return live([home], say=(said if said is not None else []).append)[home.name]


def the_status(home: StudyHome) -> StudyStatus:
    (found,) = study_statuses([home])
    return found


@pytest.mark.parametrize(
    ("row", "workers", "told"),
    [
        ("7|0|PENDING|Priority|0:00|1:00|", 1, ""),
        ("7|0|RUNNING|None|0:10|1:00|n1", 1, ""),
        ("7|0|SUSPENDED|None|0:10|1:00|n1", 1, ""),
        ("7|0|COMPLETING|None|0:10|1:00|n1", 0, "array task 7_0: ending (COMPLETING)"),
        ("7|0|PENDING|JobHeldUser|0:00|1:00|", 1, ""),  # its owner lets it go when he wants to
        ("7|0|PENDING|JobHeldAdmin|0:00|1:00|", 0, "array task 7_0: held until 'scontrol release' (JobHeldAdmin"),
        ("7|0|PENDING|JobHoldMaxRequeue|0:00|1:00|", 0, "array task 7_0: held until 'scontrol release' (JobHold"),
        ("7|0|PENDING|PartitionTimeLimit|0:00|1:00|", 0, "array task 7_0: can never start (PartitionTimeLimit"),
        ("7|0|PENDING|QOSMaxWallDurationPerJobLimit|0:00|1:00|", 0, "array task 7_0: can never start"),
        ("7|0|CANCELLED|None|0:10|1:00|n1", 0, ""),
    ],
)
def test_who_is_counted(home: StudyHome, squeue: Squeue, row: str, workers: int, told: str) -> None:
    squeue(row)
    found = the_live(home)
    assert found.workers == workers
    assert [line.startswith(told) for line in found.not_counted] == ([True] if told else [])
    assert bool(found.stuck) == ("never" in told)


def test_a_task_that_is_requeued_counts_while_it_ends(home: StudyHome, squeue: Squeue) -> None:
    squeue("7|0|COMPLETING|None|0:00|1:00|n1", ends=FUTURE)
    assert the_live(home).workers == 1
    squeue("7|0|COMPLETING|None|0:10|1:00|n1", ends=int(time.time()) - 5)
    assert the_live(home).workers == 0
    home.slurm.mkdir(exist_ok=True)
    (home.slurm / "7_0_0_log.err").write_text(
        "x I worker on n1\nx I requeued: waiting for SLURM to end this run\nsrun: Job step aborted\n"
    )
    assert the_live(home).workers == 1


def test_a_task_whose_worker_has_left_is_not_counted(home: StudyHome, squeue: Squeue) -> None:
    with at_work(home, 0):
        squeue("7|0|RUNNING|None|1:00|9:00|n1")
        assert the_live(home).workers == 1
    # its card is gone: it waits for SLURM's kill, which may take minutes
    found = the_live(home)
    assert found.workers == 0
    assert found.not_counted == ("array task 7_0: ending, its worker has left",)
    squeue("7|0|RUNNING|None|0:00|9:00|n1")  # another run of it, in which nobody has begun
    time.sleep(5.1)
    assert the_live(home).workers == 1


def test_a_strangers_job_of_the_same_number_is_none_of_ours(home: StudyHome, squeue: Squeue) -> None:
    squeue("7|0|RUNNING|None|0:10|1:00|n1", "7|1|PENDING|Priority|0:00|1:00|", name="their-job")
    assert the_live(home).workers == 0
    assert the_status(home).workers == ()


def test_jobs_that_slurm_does_not_show_are_counted_by_their_leases(home: StudyHome, squeue: Squeue) -> None:
    """PrivateData=jobs: another user's squeue says that there is no such job."""
    write_submission(home, submission(user="alice"))
    squeue(unknown=True)
    said: list[str] = []
    with at_work(home, 0, 1):
        lease_path(home.workers, "7-r0-1").unlink()  # given up
        found = the_live(home, said)
        shown = the_status(home)
        assert [(w.worker, w.state, w.will_work) for w in shown.workers] == [("7-r0-0", "running", True)]
        assert "alice submitted it, and a site may hide the jobs of others (PrivateData)" in shown.workers[0].doubt
    assert found.workers == 1
    assert said == [
        "watching the leases of 1 worker of job 7 for up to 1 s: SLURM does not show it "
        "(alice submitted it, and a site may hide the jobs of others (PrivateData))"
    ]
    (doubt,) = found.doubts
    assert "but 1 of its workers refresh their leases and are counted" in doubt


def test_a_lease_that_does_not_move_is_not_believed(home: StudyHome, squeue: Squeue) -> None:
    squeue(unknown=True)
    left = {}
    with at_work(home, 0):
        for path in (lease_path(home.workers, "7-r0-0"), home.workers / "7-r0-0.json"):
            left[path] = path.read_bytes()
    for path, text in left.items():  # as a worker leaves it that is killed
        path.write_bytes(text)
    began = time.monotonic()
    assert the_live(home).workers == 0
    assert time.monotonic() - began < 5


def test_on_another_cluster_nothing_is_concluded_from_its_queue(home: StudyHome, squeue: Squeue) -> None:
    write_submission(home, submission(cluster="east"))
    squeue(unknown=True)
    found = the_live(home)
    assert found.workers == 0
    (doubt,) = found.doubts
    assert "it is on cluster 'east', and this is cluster 'west'" in doubt
    with at_work(home, 0):
        assert the_live(home).workers == 1


def test_a_job_of_this_cluster_that_slurm_has_forgotten_is_no_doubt(home: StudyHome, squeue: Squeue) -> None:
    squeue(unknown=True)
    assert the_live(home).doubts == ()
    write_submission(home, submission(submitted=time.time()))
    (doubt,) = the_live(home).doubts  # SLURM shows a job for minutes, whatever becomes of it
    assert "SLURM does not show job 7" in doubt


def test_ended_tasks_are_asked_for_too(home: StudyHome, squeue: Squeue) -> None:
    squeue("7|0|FAILED|NonZeroExitCode|0:10|1:00|n1")
    queue = ask([submission()])
    assert [row.word for row in queue.rows.values()] == ["FAILED"]
    assert queue.hidden == {}


def test_one_empty_answer_ends_no_waiting(home: StudyHome, squeue: Squeue) -> None:
    patience = Patience()
    squeue("7|0|RUNNING|None|0:10|1:00|n1")
    assert patience.goes_on([the_status(home)])
    squeue(unknown=True)
    looks = [patience.goes_on([the_status(home)]) for _ in range(LOOKS)]
    assert looks == [True] * (LOOKS - 1) + [False]
    squeue("7|0|RUNNING|None|0:10|1:00|n1")
    assert patience.goes_on([the_status(home)])
    assert patience.empty == 0
    squeue("7|0|FAILED|NonZeroExitCode|0:10|1:00|n1")  # SLURM shows that it has ended: nothing is to be waited for
    assert not patience.goes_on([the_status(home)])


def test_waiting_ends_where_nothing_will_start_and_says_why(home: StudyHome, squeue: Squeue) -> None:
    patience = Patience()
    squeue("7|0|PENDING|PartitionTimeLimit|0:00|1:00|", "7|1|PENDING|PartitionTimeLimit|0:00|1:00|")
    assert not patience.goes_on([the_status(home)])
    (told,) = patience.news([the_status(home)])
    assert told.startswith("s: 2 array tasks will not start: PartitionTimeLimit (asks for more time")
    assert patience.news([the_status(home)]) == []
    squeue("7|0|PENDING|JobHeldUser|0:00|1:00|")  # somebody may release it: waited for, and said
    assert patience.goes_on([the_status(home)])
    assert "JobHeldUser" in patience.news([the_status(home)])[0]


def test_the_collector_watches_nobody_of_those_it_was_started_after(home: StudyHome, squeue: Squeue) -> None:
    squeue(unknown=True)
    with at_work(home, 0):
        said: list[str] = []
        assert live([home], over=["abc"], say=said.append)[home.name].workers == 0
        assert said == []
