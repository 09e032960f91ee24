"""The loop around real studies, with toy objectives in this process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo_batch.errors import StorageError, Superseded, UserError
from hpo_batch.objective.function import FunctionObjective
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.trial import Trial
from hpo_batch.records import (
    Cause,
    Complete,
    Failed,
    GivenBack,
    Idle,
    IdleWhy,
    Outcome,
    Reason,
    Stopping,
    TrialState,
)
from hpo_batch.store.home import StudyHome
from hpo_batch.store.leases import lease_path
from hpo_batch.study.study import Study
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.gpu_memory import MemoryCheck
from hpo_batch.worker.gpu_readings import GpuMemory, ReadMemory
from hpo_batch.worker.loop import work
from hpo_batch.worker.resources import Place
from hpo_batch.worker.signals import Signals
from hpo_batch.worker.tally import Tally
from tests.study.helpers import checkpoints, claimed, make, owner, state_of

HERE = Place(device="cpu", cpus=1, deadline=None, lead_s=0.0)
ELSEWHERE = {"host": "elsewhere", "pid": 1, "start": 1}
FINE = Complete(values=(0.5,), metrics={"loss": 0.5})


class Toy:
    """An objective that calls a function of the test."""

    def __init__(self, function: Callable[[Trial], Outcome | GivenBack]) -> None:
        self.run = function


@pytest.fixture
def home(root: Path) -> StudyHome:
    return make(root, study="trials = 3")


@pytest.fixture
def study(home: StudyHome) -> Iterator[Study]:
    with Study.open(home, owner()) as study:
        yield study


def loop(study: Study, function: Callable[[Trial], Outcome | GivenBack], **changes: object) -> Tally:
    facts: dict[str, object] = {"place": HERE, "signals": Signals(), "sleep": _no_sleep, **changes}
    return work(WorkerContext(study=study, objective=Toy(function), **facts))  # type: ignore[arg-type]


def _no_sleep(seconds: float) -> None:
    pytest.fail("there was nothing to wait for")


def test_trials_are_run_until_the_target_is_met(study: Study) -> None:
    seen: list[tuple[int, int, bool, str]] = []

    def objective(trial: Trial) -> Outcome:
        assert trial.dir == study.home.attempt(trial.number, trial.attempt)
        assert trial.checkpoint.is_dir()
        seen.append((trial.number, trial.attempt, trial.resumes, trial.device))
        return FINE

    assert loop(study, objective) == Tally(complete=3, idle=Idle(why=IdleWhy.TARGET_MET))
    assert seen == [(0, 1, False, "cpu"), (1, 1, False, "cpu"), (2, 1, False, "cpu")]


def test_a_trial_that_went_on_elsewhere_does_not_end_the_worker(study: Study) -> None:
    def objective(trial: Trial) -> Outcome:
        if trial.number == 0 and trial.attempt == 1:
            claim = study.journal.state.trials[0].attempt_facts(1)
            assert claim
            raise Superseded("the trial has gone on in another attempt")
        return FINE

    tally = loop(study, objective)
    assert (tally.complete, tally.failed) == (2, 0)
    assert tally.idle == Idle(why=IdleWhy.IN_FLIGHT)  # trial 0 is whose it is


def test_an_attempt_that_is_tried_again_is_no_failed_trial(root: Path) -> None:
    home = make(root / "other", study="trials = 1", tables={"failures": 'oom_gpu = "retry"'})

    def objective(trial: Trial) -> Outcome:
        return FINE if trial.attempt == 2 else Failed(reason=Reason.OOM_GPU, message="m")

    with Study.open(home, owner()) as study:
        assert loop(study, objective) == Tally(complete=1, idle=Idle(why=IdleWhy.TARGET_MET))


def test_what_is_checkpointed_goes_on_and_other_causes_end_the_worker(study: Study) -> None:
    attempts: list[tuple[int, bool]] = []

    def objective(trial: Trial) -> Outcome | GivenBack:
        attempts.append((trial.attempt, trial.resumes))
        if trial.attempt < 3:
            (trial.checkpoint / "model").write_text("m")
            return GivenBack(cause=Cause.CHECKPOINTED)
        return GivenBack(cause=Cause.TIME_LIMIT)

    tally = loop(study, objective)
    assert attempts == [(1, False), (2, True), (3, True)]
    assert (tally.given_back, tally.idle) == (3, None)


def test_a_checkpoint_that_has_gone_does_not_resume(study: Study) -> None:
    first = claimed(study)
    (checkpoints(study, first) / "model").write_text("m")
    study.give_back(first, Cause.PREEMPTED)
    open_attempt = study.open_attempt

    def gone(claim):  # type: ignore[no-untyped-def]
        (study.home.attempt(0, 1) / "checkpoint" / "model").unlink(missing_ok=True)
        return open_attempt(claim)

    study.open_attempt = gone  # type: ignore[method-assign]
    seen: list[bool] = []
    loop(study, lambda trial: (seen.append(trial.resumes), FINE)[1])
    assert seen[0] is False


def test_an_interrupt_gives_the_trial_back(study: Study) -> None:
    def objective(trial: Trial) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop(study, objective)
    trial = state_of(study.home).trials[0]
    assert (trial.state, trial.ending(1)["how"]) == (TrialState.WAITING, "cancelled")


def test_a_signal_before_the_next_claim_ends_the_worker(study: Study) -> None:
    signals = Signals()

    def objective(trial: Trial) -> Outcome:
        signals.received = Stopping.TIME_LIMIT
        return FINE

    assert loop(study, objective, signals=signals) == Tally(complete=1)


def test_a_trial_is_told_to_stop_by_signals_deadline_and_marker(study: Study) -> None:
    signals = Signals()
    found: list[Stopping | None] = []

    def objective(trial: Trial) -> Outcome:
        found.append(trial._engine.stopping())
        study.home.marker("CANCELLED").touch()
        trial._engine._looked = 0.0  # type: ignore[attr-defined]  # as two seconds later
        found.append(trial._engine.stopping())
        signals.received = Stopping.PREEMPTED
        found.append(trial._engine.stopping())  # scancel, of which the marker tells
        study.home.marker("CANCELLED").unlink()
        found.append(trial._engine.stopping())
        return FINE

    loop(study, objective, signals=signals)
    assert found == [None, Stopping.CANCELLED, Stopping.CANCELLED, Stopping.PREEMPTED]
    late = Place(device="cpu", cpus=1, deadline=time.time() + 5, lead_s=10.0)
    idle = loop(study, objective, place=late).idle
    assert idle is not None
    assert idle.why is IdleWhy.NO_TIME
    assert idle.detail.endswith("left, and a trial is asked to stop 0:00:10 before")


def test_a_worker_waits_for_a_far_trial_until_it_is_known_to_be_alive(home: StudyHome) -> None:
    with Study.open(home, owner(1, **ELSEWHERE)) as far, Study.open(home, owner()) as study:
        for _ in range(3):
            claimed(far)
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                os.utime(lease_path(home.workers, far.owner.worker), ns=(1, 1))

        tally = loop(study, lambda trial: FINE, sleep=sleep)
        assert len(waits) == 3
        assert (tally.complete, tally.idle) == (0, Idle(why=IdleWhy.IN_FLIGHT))


def test_a_worker_takes_what_a_far_worker_gives_back_while_it_waits(home: StudyHome) -> None:
    with Study.open(home, owner(1, **ELSEWHERE)) as far, Study.open(home, owner()) as study:
        claims = [claimed(far) for _ in range(3)]

        def sleep(seconds: float) -> None:
            if claims:
                far.give_back(claims.pop(), Cause.PREEMPTED)

        assert loop(study, lambda trial: FINE, sleep=sleep) == Tally(complete=3, idle=Idle(why=IdleWhy.TARGET_MET))


def test_a_worker_takes_over_from_a_far_worker_that_died(home: StudyHome, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0
    with Study.open(home, owner(1, **ELSEWHERE)) as far, Study.open(home, owner()) as study:
        monkeypatch.setattr(study.lost_attempts.watch, "_clock", lambda: seconds)
        for _ in range(3):
            claimed(far)

        def sleep(pause: float) -> None:
            nonlocal seconds
            seconds += pause

        attempts: list[int] = []
        tally = loop(study, lambda trial: (attempts.append(trial.attempt), FINE)[1], sleep=sleep)
        assert (tally.complete, attempts) == (3, [2, 2, 2])
        assert 75 <= seconds < 85  # the lease's duration, a quarter of it to be sure, and no longer


def test_a_signal_ends_the_waiting(home: StudyHome) -> None:
    signals = Signals()
    with Study.open(home, owner(1, **ELSEWHERE)) as far, Study.open(home, owner()) as study:
        for _ in range(3):
            claimed(far)

        def sleep(seconds: float) -> None:
            signals.received = Stopping.PREEMPTED

        assert loop(study, lambda trial: FINE, signals=signals, sleep=sleep) == Tally()


def test_a_running_trial_opens_its_private_files_to_the_group(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed attempt can no more: its checkpoint must be readable before."""
    monkeypatch.setattr("hpo_batch.worker.engine.SHARE_EVERY_S", 0.0)
    home = make(root, study="trials = 1\nshared = true")

    def objective(trial: Trial) -> Outcome:
        saved = trial.checkpoint / "private"
        saved.touch(mode=0o600)
        assert saved.stat().st_mode & 0o777 == 0o600
        trial.report(1, loss=0.5)
        assert saved.stat().st_mode & 0o777 == 0o660
        return FINE

    umask = os.umask(0o022)
    try:
        with Study.open(home, owner()) as study:
            assert loop(study, objective).complete == 1
    finally:
        os.umask(umask)


class Gpu:
    """A GPU whose free memory is given for each look, in GB."""

    def __init__(self, *free_gb: float | None, ours_gb: float | None = None) -> None:
        self.left, self.ours_gb = list(free_gb), ours_gb

    def __call__(self) -> list[GpuMemory]:
        free = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        ours_mb = None if self.ours_gb is None else 1000 * self.ours_gb
        return [GpuMemory(gpu="0", free_mb=None if free is None else 1000 * free, total_mb=80_000.0, ours_mb=ours_mb)]


def test_a_trial_waits_for_the_gpu_memory_that_it_needs(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    slept: list[float] = []
    gpu = MemoryCheck(10, Gpu(3.0, 3.0, 12.0))
    assert loop(study, lambda trial: FINE, gpu_memory=gpu, sleep=slept.append).complete == 3
    assert slept == [2.0, 2.0]
    waiting = "waiting up to 60 s: 3.0 of 80.0 GB are free on GPU 0, and [job] gpu_mem_gb is 10"
    assert caplog.messages.count(waiting) == 1


def test_a_worker_whose_gpu_stays_full_leaves_before_a_trial_runs_out_of_memory(study: Study) -> None:
    ran: list[int] = []

    def train(trial: Trial) -> Outcome:
        ran.append(trial.number)
        return FINE

    tally = loop(study, train, gpu_memory=MemoryCheck(10, Gpu(12.0, 3.0)), sleep=lambda seconds: None)
    assert ran == [0]  # somebody else came while it ran
    assert tally.idle == Idle(
        why=IdleWhy.GPU_MEMORY, detail="3.0 of 80.0 GB are free on GPU 0, and [job] gpu_mem_gb is 10"
    )
    assert [trial.state for trial in state_of(study.home).trials] == [TrialState.COMPLETE]


def test_a_worker_whose_gpu_is_full_from_the_start_ends_with_an_error(study: Study) -> None:
    gpu = MemoryCheck(10, Gpu(3.0))
    with pytest.raises(UserError, match=r"3\.0 of 80\.0 GB are free on GPU 0, .* is 10; no trial was started"):
        loop(study, lambda trial: FINE, gpu_memory=gpu, sleep=lambda seconds: None)
    assert len(state_of(study.home).trials) == 0


def test_what_this_process_holds_is_free_for_its_next_trial(study: Study) -> None:
    function = FunctionObjective(function=lambda trial: 0.5, wanted=Wanted.parse(("loss",), {}))
    context = WorkerContext(
        study=study, objective=function, place=HERE, signals=Signals(), gpu_memory=MemoryCheck(10, Gpu(4.0, ours_gb=7))
    )
    assert work(context).complete == 3


@pytest.mark.parametrize(
    ("read", "has_run", "why"),
    [
        ("pip install 'hpo-batch[gpu]'", False, "pip install 'hpo-batch[gpu]'"),
        (Gpu(None), False, "NVML does not tell the memory of GPU 0"),
        (Gpu(3.0), True, "NVML does not tell how much of the memory of GPU 0 this process holds"),
    ],
)
def test_unknown_memory_is_told_once_and_is_no_yes(
    read: ReadMemory | str, has_run: bool, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    check = MemoryCheck(10, read)
    assert [check.lacks(has_run=has_run) for _ in range(2)] == ["", ""]
    assert caplog.messages == [f"whether the GPU has 10 GB free is not known, trials start anyway: {why}"]


def test_an_attempt_whose_files_cannot_be_written_is_measured_no_longer(study: Study) -> None:
    def train(trial: object) -> float:
        if not failed:
            failed.append(True)
            raise StorageError("disk full")
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return 0.5

    failed: list[bool] = []
    function = FunctionObjective(function=train, wanted=Wanted.parse(("loss",), {}))
    work(WorkerContext(study=study, objective=function, place=HERE, signals=Signals(), sleep=lambda seconds: None))
    used = [trial.ending(trial.attempt)["usage"]["cpu_s"] for trial in state_of(study.home).trials]
    assert len(used) == 3
    assert min(used) >= 0.2  # all of it, and no share for the one that is over
