"""SLURM's commands: recorded answers, and fakes for how they fail. `tests/slurm` asks the real ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_batch.errors import CommandMissing, SlurmRefused, SlurmUnreachable
from hpo_batch.scheduler.slurm import accounts, control, jobs, queue
from hpo_batch.scheduler.tasks import AccountingRow, ArrayTask, QueueRow, TaskState

from .conftest import DATA, FakeCommand

Fake = Callable[..., FakeCommand]

NO_CONTROLLER = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"


def task(text: str) -> ArrayTask:
    return ArrayTask.parse(text)


def test_a_job_is_its_own_task_0() -> None:
    assert task("7") == task("7_0") == task("7_0.batch")
    assert str(task("7")) == "7_0"


@given(job=st.integers(min_value=1), index=st.integers(min_value=0))
def test_a_task_reads_what_it_writes(job: int, index: int) -> None:
    assert task(str(ArrayTask(job=job, index=index))) == ArrayTask(job=job, index=index)


@pytest.mark.parametrize("text", ["", "x", "7_[0-3]", "_3", "-7"])
def test_what_is_no_task_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a SLURM job id"):
        task(text)


def test_squeue_as_recorded() -> None:
    rows = queue.parse_squeue((DATA / "squeue-22.05.txt").read_text())
    assert len(rows) == 13
    assert rows[task("1_9")] == QueueRow(
        task=task("1_9"), state=TaskState.RUNNING, word="RUNNING", reason="None", elapsed_s=4, left_s=1796, node="n1"
    )
    assert rows[task("1_4")] == QueueRow(
        task=task("1_4"), state=TaskState.PENDING, word="PENDING", reason="BeginTime", elapsed_s=0, left_s=1800, node=""
    )
    assert rows[task("4")].reason == "Dependency"
    assert rows[task("4")].left_s == 86_400
    assert rows[task("16")].state is TaskState.SUSPENDED


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        ("UNLIMITED", None),
        ("INVALID", None),
        ("NOT_SET", None),
        ("0:07", 7),
        ("1-02:03:04", 93784),
        ("11:00:00", 39600),
    ],
)
def test_time_left(left: str, seconds: float | None) -> None:
    assert queue.parse_squeue(f"7|N/A|RUNNING|None|0:00|{left}|n1")[task("7")].left_s == seconds


def test_odd_lines_of_squeue(caplog: pytest.LogCaptureFixture) -> None:
    rows = queue.parse_squeue("CLUSTER: test\n7|2|PENDING|held | by admin|0:00|1:00|\n8|N/A|NEW_STATE")
    assert rows[task("7_2")].reason == "held | by admin"
    assert rows[task("7_2")].left_s == 60
    assert rows[task("8")].state is TaskState.UNKNOWN
    assert [row.id for row in rows.values()] == ["7_2", "8"]  # scontrol knows no 8_0
    assert "CLUSTER: test" in caplog.text


def test_sacct_as_recorded() -> None:
    rows = accounts.parse_sacct((DATA / "sacct-22.05.txt").read_text())
    assert rows[task("1_2")] == (
        AccountingRow(
            task=task("1_2"),
            state=TaskState.FAILED,
            word="FAILED",
            exit_code=0,
            signal=9,
            submitted=1795247621,
            started=1795247621,
            ended=1795247622,
            elapsed_s=1,
            gpus=1,
            cpus=1,
            node="n1",
        ),
    )
    assert [row.state for row in rows[task("1_4")]] == [TaskState.PENDING, TaskState.RUNNING]
    assert [row.state for row in rows[task("15")]] == [TaskState.PREEMPTED, TaskState.PENDING]
    assert [row.gpus for row in rows[task("15")]] == [4, 0]
    assert rows[task("1_1")][0].exit_code == 3
    assert rows[task("1_3")][0].word == "CANCELLED by 0"
    assert (rows[task("3")][0].started, rows[task("3")][0].node) == (None, "")


@pytest.mark.parametrize(
    ("job_id", "indices"),
    [("7_[0-2]", [0, 1, 2]), ("7_[3,5-9:2%4]", [3, 5, 7, 9]), ("7_[8%1]", [8]), ("7_[1,3,...]", [1, 3]), ("7_5", [5])],
)
def test_folded_tasks_of_sacct(job_id: str, indices: list[int]) -> None:
    rows = accounts.parse_sacct(f"{job_id}|PENDING|0:0|1|Unknown|Unknown|0|30||None assigned")
    assert list(rows) == [ArrayTask(job=7, index=index) for index in indices]


@pytest.mark.parametrize(
    ("tres", "gpus"),
    [("cpu=8,gres/gpu:a100=2,gres/gpu=2", 2), ("gres/gpu:a100=3,cpu=1", 3), ("cpu=1,gres/gpumem=5", 0), ("", 0)],
)
def test_gpus_of_an_account(tres: str, gpus: int) -> None:
    (rows,) = accounts.parse_sacct(f"7|RUNNING|0:0|1|2|Unknown|0|30|{tres}|n1").values()
    assert rows[0].gpus == gpus


def test_odd_lines_of_sacct(caplog: pytest.LogCaptureFixture) -> None:
    assert accounts.parse_sacct("sacct: warning\n") == {}
    assert "sacct: warning" in caplog.text


def test_config_as_recorded() -> None:
    config = control.parse_config((DATA / "config-22.05.txt").read_text())
    assert config == control.SiteConfig(
        version="22.05.8",
        cluster="test",
        max_array_size=1001,
        max_array_tasks=None,
        accounting=True,
        enforced=(),
        kill_wait_s=2.0,
        preempts=True,
    )
    assert config.array_limit == 1001


def test_a_site_with_other_limits() -> None:
    config = control.parse_config(
        "MaxArraySize = 4001\nJobRequeue = 0\nAccountingStorageType = accounting_storage/none\n"
        "SchedulerParameters = bf_max_job_test=100,max_array_tasks=500,defer\n"
    )
    assert (config.array_limit, config.accounting) == (500, False)


def test_one_call_for_all_jobs(fake_command: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SLURM_CONF", "/etc/other/slurm.conf")
    fake = fake_command("squeue", stdout="7|1|RUNNING|None|0:01|1:00|n1|1764412746|sweep-1\n")
    assert list(queue.squeue(["7", "8", "7"])) == [task("7_1")]
    (call,) = fake.calls
    assert call["argv"] == ["-h", "-r", "-j", "7,8", "-o", "%F|%K|%T|%r|%M|%L|%N|%e|%j\t%o"]
    assert "SQUEUE_STATES" not in call["env"]
    assert call["env"]["SLURM_CONF"] == "/etc/other/slurm.conf"


def test_no_jobs_no_call(no_commands: None) -> None:
    # Without ids, squeue and sacct would answer for every job of the site.
    assert queue.squeue([]) == {}
    assert accounts.sacct([]) == {}
    jobs.scancel([])


def test_a_forgotten_job_has_no_rows(fake_command: Fake) -> None:
    fake_command("squeue", stderr="slurm_load_jobs error: Invalid job id specified\n", returncode=1)
    assert queue.squeue(["7"]) == {}


def test_no_accounting(fake_command: Fake) -> None:
    fake_command("sacct", stderr="Slurm accounting storage is disabled\n", returncode=1)
    assert accounts.sacct(["7"]) is None


def test_no_database(fake_command: Fake) -> None:
    fake_command("sacct", stderr="sacct: error: Problem talking to the database: Connection refused\n", returncode=1)
    with pytest.raises(SlurmUnreachable, match="Problem talking to the database"):
        accounts.sacct(["7"])


def test_times_of_sacct_are_asked_for_in_seconds(fake_command: Fake) -> None:
    fake = fake_command("sacct")
    assert accounts.sacct(["7", "8"]) == {}
    assert fake.calls[0]["env"]["SLURM_TIME_FORMAT"] == "%s"
    assert "7,8" in fake.calls[0]["argv"]


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("squeue", lambda: queue.squeue(["7"], timeout_s=0.3)),
        ("sacct", lambda: accounts.sacct(["7"], timeout_s=0.3)),
        ("scancel", lambda: jobs.scancel(["7"], timeout_s=0.3)),
        ("scontrol", lambda: control.requeue("7_1", timeout_s=0.3)),
        ("scontrol", lambda: control.show_config(timeout_s=0.3)),
    ],
)
def test_a_silent_slurm_is_unreachable(name: str, ask: Callable[[], object], fake_command: Fake) -> None:
    fake_command(name, sleep_s=60)
    with pytest.raises(SlurmUnreachable, match=f"'{name}.*try again later"):
        ask()


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("squeue", lambda: queue.squeue(["7"])),
        ("sacct", lambda: accounts.sacct(["7"])),
        ("scancel", lambda: jobs.scancel(["7"])),
        ("scontrol", lambda: control.requeue("7_1")),
        ("scontrol", control.show_config),
        ("scontrol", control.show_partitions),
        ("sacctmgr", lambda: accounts.show_limits("me", cluster="c")),
        ("sbatch", lambda: jobs.check_script(Path(__file__), env=os.environ)),
    ],
)
class TestFailures:
    def test_no_controller_is_unreachable(self, name: str, ask: Callable[[], object], fake_command: Fake) -> None:
        fake_command(name, stderr=NO_CONTROLLER, returncode=1)
        with pytest.raises(SlurmUnreachable, match="Unable to contact slurm controller"):
            ask()

    def test_anything_else_is_refused_with_its_words(
        self, name: str, ask: Callable[[], object], fake_command: Fake
    ) -> None:
        fake_command(name, stderr="error: Access/permission denied\n", returncode=1)
        with pytest.raises(SlurmRefused, match="Access/permission denied"):
            ask()

    def test_no_slurm_at_all(self, name: str, ask: Callable[[], object], no_commands: None) -> None:
        with pytest.raises(CommandMissing, match=name):
            ask()


def test_cancelling_what_is_gone_is_no_mistake(fake_command: Fake) -> None:
    said = (
        "scancel: error: Kill job error on job id 8: Invalid job id specified\n"
        "scancel: error: Kill job error on job id 7_1: Job/step already completing or completed\n"
    )
    fake = fake_command("scancel", stderr=said, returncode=1)
    jobs.scancel(["7_1", "8", "8"])
    assert [call["argv"] for call in fake.calls] == [["7_1", "8"]]


@pytest.mark.parametrize("said", ["", "scancel: error: Kill job error on job id 9: Access/permission denied\n"])
def test_a_cancel_that_fails_is_told(said: str, fake_command: Fake) -> None:
    gone = "scancel: error: Kill job error on job id 8: Invalid job id specified\n" if said else ""
    fake_command("scancel", stderr=gone + said, returncode=1)
    with pytest.raises(SlurmRefused, match="'scancel' failed with exit code 1"):
        jobs.scancel(["8", "9"])


def test_requeue_names_the_task(fake_command: Fake) -> None:
    fake = fake_command("scontrol")
    control.requeue("7_1")
    assert [call["argv"] for call in fake.calls] == [["requeue", "7_1"]]


def test_jobs_are_found_by_their_names(fake_command: Fake) -> None:
    fake_command("squeue", stdout="7|toy-aa\t/s/aa|.sh\n7|toy-aa\t/s/aa|.sh\n9|toy-bb-collect\n8|toy-a\t/s/a.sh\n")
    found = queue.find_jobs(["toy-aa", "toy-bb-collect"])
    assert {id: (job.name, job.script) for id, job in found.items()} == {
        "7": ("toy-aa", "/s/aa|.sh"),
        "9": ("toy-bb-collect", ""),
    }
    assert queue.find_jobs([]) == {}


def test_tasks_are_let_go_in_one_call(fake_command: Fake) -> None:
    fake = fake_command("scontrol")
    control.start_now(["7_1", "7_2"])
    control.start_now([])
    assert [call["argv"] for call in fake.calls] == [["update", "JobId=7_1,7_2", "StartTime=now"]]


def test_only_waiting_tasks_are_cancelled_when_asked(fake_command: Fake) -> None:
    fake = fake_command("scancel")
    jobs.scancel(["7"], only_pending=True)
    assert [call["argv"] for call in fake.calls] == [["--state=PENDING", "7"]]
