"""A worker that was stopped for longer than its lease, and comes back: nothing of what it says counts."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from benchmarks.fault_points import WRITES, Call, install
from hpo_batch.errors import Superseded
from hpo_batch.journal import locks
from hpo_batch.records import Cause, Claim, Idle, IdleWhy, Verdict
from hpo_batch.store.home import StudyHome
from hpo_batch.study import patience
from hpo_batch.study.study import Study
from tests.helpers import until
from tests.journal.helpers import assert_read_as_optuna_reads
from tests.processes import answer, start
from tests.study.helpers import claimed, complete, make, owner, state_of

ELSEWHERE = {"host": "elsewhere", "boot": "another"}
"""so that only its lease tells whether the worker lives"""
LEASE_S = 1.0


def refuse_kernel_locks() -> None:
    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = flock  # type: ignore[assignment]
    locks.FOREIGN_GRACE_S = 0.5


def trains(home: StudyHome, ready: Path, stops: str) -> list[str]:
    """Claim, stop (as on a node that hangs), come back, and do all that a worker may do."""
    patience.RETRY_PAUSES_S = (0.0, 0.0)
    said = []
    if stops == "holding the lock":
        refuse_kernel_locks()  # with them nobody else gets in: below
    with Study.open(home, owner(7, **ELSEWHERE)) as study:
        claim = claimed(study)
        (study.open_attempt(claim) / "checkpoint").mkdir()
        home.attempt(0, 1).joinpath("checkpoint", "state").write_text("1")
        study.reports.add(claim, 1, {"loss": 0.9})
        ready.touch()
        if stops == "while it trains":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            stopped: list[bool] = []

            def judge(call: Call) -> None:
                opens = call.name == "open" and call.path == str(home.journal) and not stopped
                if opens and Path(f"{home.journal}.lock").exists():
                    stopped.append(True)
                    os.kill(os.getpid(), signal.SIGSTOP)

            install(judge)
        said.append(study.reports.add(claim, 2, {"loss": 0.1}).value)
        for does in (study.tell, study.give_back):
            try:
                does(claim, complete(claim, 0.001) if does == study.tell else Cause.PREEMPTED)  # type: ignore[arg-type]
                said.append("taken")
            except Superseded as error:
                said.append(str(error))
        said.append(study.reports.add(claim, 3, {"loss": 0.1}).value)
    return said


@contextlib.contextmanager
def stopped_worker(home: StudyHome, tmp_path: Path, stops: str) -> Iterator[tuple[BaseProcess, Connection]]:
    ready = tmp_path / "ready"
    process, pipe = start(trains, home, ready, stops)
    until(lambda: (ready.exists() and _state(process) == "T") or not process.is_alive())
    assert process.is_alive()
    try:
        yield process, pipe
    finally:
        process.kill()


def _state(process: BaseProcess) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def take_over(study: Study) -> Claim:
    """Wait as the worker's loop waits."""
    end = time.monotonic() + 20
    while isinstance(given := study.claim(), Idle):
        assert given.why is IdleWhy.IN_FLIGHT
        assert study.is_in_doubt()
        assert time.monotonic() < end
        time.sleep(0.1)
    return given[0]


@pytest.mark.parametrize("then", ["runs", "has ended"])
@pytest.mark.parametrize("stops", ["while it trains", "holding the lock"])
def test_a_worker_stopped_for_longer_than_its_lease_writes_nothing_that_counts(
    root: Path, tmp_path: Path, stops: str, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruner = 'name = "median"\nfirst_rung = 2'
    home = make(root, study=f"trials = 1\nlease_s = {LEASE_S}", tables={"pruner": pruner})
    if stops == "holding the lock":
        monkeypatch.setattr(fcntl, "flock", fcntl.flock)
        monkeypatch.setattr(locks, "FOREIGN_GRACE_S", locks.FOREIGN_GRACE_S)
        refuse_kernel_locks()
    with stopped_worker(home, tmp_path, stops) as (process, pipe), Study.open(home, owner()) as study:
        mine = take_over(study)
        assert (mine.number, mine.attempt, mine.resumes) == (0, 2, 1)
        folder = study.open_attempt(mine)
        if then == "has ended":
            study.tell(mine, complete(mine, 0.5))
        before = home.journal.read_bytes()
        assert process.pid is not None
        os.kill(process.pid, signal.SIGCONT)
        reported, told, given_back, verdict = answer(process, pipe)
        assert home.journal.read_bytes() == before
        assert told == given_back == "trial 0: attempt 1 was superseded"
        assert reported == verdict == Verdict.SUPERSEDED.value
        if then == "runs":
            assert not (folder / "result.json").exists()  # its own result lies in its own folder
            study.tell(mine, complete(mine, 0.5))
        assert json.loads((home.attempt(0, 1) / "result.json").read_text())["values"] == [0.001]
    trial = state_of(home).trials[0]
    assert trial.values == (0.5,)
    assert [a.ending for a in trial.record().attempts] == ["lost", "complete"]
    assert not Path(f"{home.journal}.lock").exists()
    assert_read_as_optuna_reads(home.journal)


def test_a_worker_stopped_within_an_append_lets_nobody_in_where_there_are_kernel_locks(
    root: Path, tmp_path: Path
) -> None:
    home = make(root, study="trials = 2")

    def stops_while_it_writes(ready: Path) -> str:
        with Study.open(home, owner(7)) as study:
            claim = claimed(study)
            stopped: list[bool] = []

            def judge(call: Call) -> None:
                if call.name in WRITES and call.path == str(home.journal) and not stopped:
                    stopped.append(True)
                    ready.touch()
                    os.kill(os.getpid(), signal.SIGSTOP)

            install(judge)
            study.tell(claim, complete(claim, 0.25))
        return "told"

    process, pipe = start(stops_while_it_writes, tmp_path / "ready")
    until(lambda: (tmp_path / "ready").exists() and _state(process) == "T")
    other, other_pipe = start(lambda: claimed_by(home))
    assert not other_pipe.poll(0.5)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    assert answer(process, pipe) == "told"
    assert answer(other, other_pipe) == 1
    assert state_of(home).trials[0].values == (0.25,)


def claimed_by(home: StudyHome) -> int:
    with Study.open(home, owner(8)) as study:
        return claimed(study).number
