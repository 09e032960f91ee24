"""Attempts that stand still, and functions that cannot be interrupted: real workers, ended by themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from hpo_batch.records import Failed, Reason, TrialState
from hpo_batch.store.attempt_archive import command_end
from hpo_batch.worker.resources import Place
from hpo_batch.worker.watchdog import Ending, Pulse, watched

from .conftest import Project

Build = Callable[..., Project]
pytestmark = pytest.mark.timeout(600)


def stall(seconds: int, more: str = "") -> dict[str, str]:
    return {"failures": f'stall = "0:00:{seconds:02}"\n{more}'}


def sleepers(pid: int) -> list[str]:
    """Command lines of what the worker ``pid`` has started and left."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"98765.{pid}" in line:
            found.append(line)
    return found


def test_a_function_that_hangs_is_told_and_ends_its_worker_and_no_other(project: Build) -> None:
    here = project("hangs", study="trials = 3", tables=stall(1))
    worker = here.start()
    here.until((here.home.attempt(0, 1) / "hangs").exists)
    assert here.run().process.returncode == 0  # the other worker does the rest meanwhile
    assert worker.wait() == 1
    assert sleepers(worker.process.pid) == []
    record = here.state.trials[0].record()
    assert (record.state, record.reason) == (TrialState.FAIL, "stalled")
    assert str(record.message).startswith(
        "no report after step 1 and no change of the checkpoint within failures.stall; it was in wait ("
    )
    assert dict(record.metrics) == {"loss": 0.75}
    assert "in hangs\n    threading.Event().wait()" in here.file("stderr")
    assert "trial 0: failed after" in worker.said
    assert "the function of trial 0 does not return and cannot be interrupted" in worker.said
    assert list(here.home.workers.iterdir()) == []
    again = here.run()
    assert again.process.returncode == 0
    counts = here.state.counts()
    assert (counts.complete, counts.failed, counts.running) == (3, 1, 0)


def test_a_stalled_trial_may_be_tried_again(project: Build) -> None:
    here = project("hangs", study="trials = 1", tables=stall(1, 'stalled = "retry"'))
    assert here.run().process.returncode == 1
    assert here.state.trials[0].state is TrialState.WAITING
    assert here.run().process.returncode == 0
    record = here.state.trials[0].record()
    assert [attempt.ending for attempt in record.attempts] == ["stalled", "complete"]


def test_reports_and_checkpoints_are_signs_of_progress(project: Build) -> None:
    here = project("steps_slowly", study="trials = 1", tables=stall(2))  # and 2 more to listen
    assert here.run().process.returncode == 0
    assert here.state.counts().complete == 1


def test_a_function_that_listens_ends_its_attempt_and_its_worker_goes_on(project: Build) -> None:
    here = project("listens", study="trials = 10\nmax_failed = 2", tables=stall(1))
    worker = here.run()
    assert worker.process.returncode == 1
    assert here.file("stdout") == "stopping stalled\n"
    records = [trial.record() for trial in here.state.trials]
    assert [(r.reason, r.attempts[0].worker) for r in records] == [("stalled", records[0].attempts[0].worker)] * 2
    assert "worker ends: 0 complete, 0 pruned, 2 failed, 0 given back" in worker.said


@pytest.mark.parametrize("kind", ["silent", "deaf", "crashes", "steps"])
def test_a_command_that_stands_still_is_stopped(project: Build, kind: str) -> None:
    # a shell, not Python: on a busy machine that needs seconds to begin
    for_ever = "while :; do sleep 0.05; done"
    script = {
        "silent": "exec sleep 1000",
        "deaf": f"trap 'exit 75' USR2; {for_ever}",
        "crashes": f"trap 'exit 3' USR2; {for_ever}",
        "steps": 'for step in $(seq 20); do sleep 0.2; report "$step"; done; echo RESULT: 0.5',
    }[kind]
    here = project(objective='command = ["sh", "script.sh"]', study="trials = 1", tables=stall(2))
    (here.path / "script.sh").write_text(
        'report() { echo "{\\"step\\": $1, \\"loss\\": 0.75}" >> "$HPO_BATCH_METRICS_FILE"; }\n'
        f'if [ "$HPO_BATCH_TRIAL" = 1 ]; then echo RESULT: 1; exit; fi\n{script}\n'
    )
    worker = here.run()
    record = here.state.trials[0].record()
    if kind == "steps":
        assert record.state is TrialState.COMPLETE
        return
    assert (record.state, record.reason) == (TrialState.FAIL, "stalled")
    assert worker.process.returncode == 1
    assert command_end(here.home.attempt(0, 1))["stopped"] == "stalled"
    assert not (here.home.attempt(0, 1) / "stop").exists()
    assert here.state.counts().complete == 1  # the worker went on


def test_out_of_memory_is_told_apart(project: Build) -> None:
    rest = "".join(f'[[trial]]\nname = "{kind}_"\nparams = {{ kind = "{kind}" }}\n' for kind in ("gpu", "host"))
    here = project("runs_out", study="", space="", sampler='name = "list"', rest=rest)
    here.run()
    assert [trial.record().reason for trial in here.state.trials] == ["oom_gpu", "oom_host"]


def test_a_function_that_does_not_listen_is_given_back_before_slurm_kills_it(project: Build) -> None:
    job = {"job": 'template = "local"\nwalltime = "0:00:04"\nsignal_lead_s = 10'}  # so that the lead is 1 second
    here = project("deaf", study="trials = 1", tables=job)
    array = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "15", "SLURM_JOB_NAME": "s-abc"}
    seconds, restart = 5.0, 0
    while not here.state.trials or here.state.trials[0].state is TrialState.WAITING:
        deadline = str(time.time() + seconds)
        worker = here.run(**array, SLURM_RESTART_COUNT=str(restart), HPO_BATCH_DEADLINE=deadline)
        assert worker.process.returncode in (0, 1), worker.said
        ended = [trial.ending(n) for trial in here.state.trials for n in range(1, trial.attempt + 1)]
        restart += 1
        if not any(one["whole"] for one in ended[-1:]):
            # on a busy machine the trial began too late to have had all the time
            assert seconds < 100
            seconds *= 2
    # what it saved in its first attempt is progress, that of the later ones is the same
    assert [one["moved"] for one in ended] == [True, *[False] * (len(ended) - 1)]
    assert {one["how"] for one in ended} == {"time_limit"}
    assert sum(one["whole"] and not one["moved"] for one in ended) == 2
    record = here.state.trials[0].record()
    assert (record.state, record.reason) == (TrialState.FAIL, "time_limit")
    assert "saves no newer checkpoint" in str(record.message)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def silent(pulse: Pulse, clock: Clock, seconds: float) -> float:
    """Ask each second for so long."""
    for _ in range(int(seconds)):
        clock.now += 1
        found = pulse.silent_s()
    return found


def test_a_pulse_counts_from_the_last_sign_of_progress(tmp_path: Path) -> None:
    clock = Clock()
    pulse = Pulse(tmp_path / "checkpoint", stall_s=100, clock=clock)
    assert silent(pulse, clock, 40) == 40
    pulse.beat()
    assert silent(pulse, clock, 15) == 15
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "model").write_text("m")
    assert silent(pulse, clock, 30) <= 30
    assert silent(pulse, clock, 30) <= 60


def test_the_time_of_a_suspended_process_does_not_count(tmp_path: Path) -> None:
    clock = Clock()
    pulse = Pulse(tmp_path, stall_s=50, clock=clock)
    assert silent(pulse, clock, 40) == 40
    clock.now += 3600
    assert pulse.silent_s() == 0
    assert silent(pulse, clock, 40) == 40


class Ended(Exception):
    pass


def test_a_report_that_comes_while_the_watchdog_waits_is_in_time() -> None:
    lock = threading.Lock()
    late = Failed(reason=Reason.STALLED, message="m")
    answers: list[Ending | None] = [None]
    told_late, told_no = threading.Semaphore(0), threading.Semaphore(0)
    said: list[Ending] = []

    def due() -> Ending | None:
        answer = answers[0]
        (told_no if answer is None else told_late).release()
        return answer

    def last_words(ending: Ending) -> NoReturn:
        said.append(ending)
        raise Ended

    with watched(due, last_words, lock=lock, every_s=0.01):
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "watchdog"]
        with lock:
            answers[0] = late
            assert told_late.acquire(timeout=60)  # the watchdog wants the lock now
            answers[0] = None
            while told_no.acquire(blocking=False):
                pass
        for _ in range(3):
            assert told_no.acquire(timeout=60)
        assert thread.is_alive()
    answers[0] = late
    while told_late.acquire(timeout=0.1):
        pass
    assert said == []
    with watched(lambda: None, last_words, lock=lock, every_s=1.0):
        assert threads() == [thread]  # one for all attempts


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "watchdog"]


class Asked:
    """An attempt that may go on, and how often the watchdog wanted to know."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.times = threading.Semaphore(0)

    def __call__(self) -> None:
        self.times.release()
        if self.error is not None:
            raise self.error

    def told(self, times: int) -> bool:
        return all(self.times.acquire(timeout=60) for _ in range(times))


def never(ending: Ending) -> NoReturn:
    raise AssertionError(ending)


def test_each_attempt_is_watched_by_its_own_question_and_interval() -> None:
    first, second, third = Asked(), Asked(), Asked()
    with watched(first, never, lock=threading.Lock(), every_s=0.02):
        assert first.told(3)
    with watched(second, never, lock=threading.Lock(), every_s=3600.0):
        time.sleep(0.1)  # so that it waits for an hour now
        while second.times.acquire(blocking=False):
            pass
    with watched(third, never, lock=threading.Lock(), every_s=0.02):
        assert third.told(3)
    while first.times.acquire(blocking=False):
        pass
    with watched(third, never, lock=threading.Lock(), every_s=0.02):
        assert third.told(3)
    assert not first.times.acquire(blocking=False)
    assert not second.times.acquire(blocking=False)


def test_a_question_that_fails_is_told_once_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("ERROR"):
        for _ in range(2):
            stale = Asked(OSError("stale file handle"))
            with watched(stale, never, lock=threading.Lock(), every_s=0.02):
                assert stale.told(5)
    assert [record.name for record in caplog.records] == ["hpo_batch.worker.watchdog"] * 2
    assert "stale file handle" in caplog.text


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_is_watched_by_nobody_and_ends() -> None:
    lock = threading.Lock()
    asked = Asked()
    with watched(asked, never, lock=lock, every_s=0.02):
        for _ in range(20):
            child = os.fork()
            if child == 0:
                # a data loader: os._exit as multiprocessing does; and what it leaves behind on the way, if it raises
                with contextlib.suppress(BaseException):
                    signal.alarm(60)
                    with watched(lambda: None, never, lock=threading.Lock(), every_s=1.0):
                        mine = threads()
                    os._exit(len(mine))
                os._exit(99)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 1  # its own, since it has begun one: none came with the fork
        assert asked.told(3)


@pytest.mark.parametrize(
    ("started", "ended", "whole"),
    [(5, 3400, True), (600, 3420, True), (900, 3420, False), (5, 1800, False), (2000, 3420, False)],
)
def test_an_attempt_that_had_about_all_the_time_was_whole(started: float, ended: float, whole: bool) -> None:
    place = Place(device="cpu", cpus=1, deadline=3600.0, lead_s=180.0, began=0.0)
    assert place.was_whole(started, ended) is whole
    assert not Place(device="cpu", cpus=1, deadline=None, lead_s=0.0, began=0.0).was_whole(started, ended)


def test_only_slurm_ends_a_worker_at_its_deadline() -> None:
    here = Place(device="cpu", cpus=1, deadline=3600.0, lead_s=180.0)
    assert here.limit() == float("inf")
    assert Place(device="cpu", cpus=1, deadline=3600.0, lead_s=180.0, is_killed=True).limit() == 3590.0
