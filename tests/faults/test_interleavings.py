"""Random interleavings of claim, report, tell, give back, kill and restart keep the promises of a study.

Several workers in one process, each with a real process behind its name that can be killed; the journal, the leases and
the folders are real. Whatever happens, in the end exactly as many trials are finished as were asked for, none twice,
none is stuck, and no result that was told is lost: not even with the journal.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from hpo_batch import processes
from hpo_batch.errors import Superseded
from hpo_batch.journal.file import Journal
from hpo_batch.journal.state import JournalState
from hpo_batch.records import Cause, Claim, Complete, Failed, Idle, IdleWhy, Owner, Reason, TrialRecord, TrialState
from hpo_batch.store.home import home_of
from hpo_batch.study.create import create
from hpo_batch.study.rebuild import rebuild
from hpo_batch.study.study import Study
from hpo_batch.sweep.load import load

SWEEP = """
[study]
name = "s"
metric = "m"
direction = "minimize"
trials = {target}
max_attempts = 100
max_failed = 1000
[objective]
function = "never:called"
[space]
a = [1, 2, 3, 4, 5, 6]
b = ["x", "y", "z"]
c = {{ low = 1, high = 4, when = "b == 'x'" }}
[space.constraints]
not_all = "a < 6 or b != 'z'"
[sampler]
name = "{sampler}"
[failures]
stop_after = 1000
"""
MOST_WORKERS = 4


@dataclass(kw_only=True)
class SimulatedWorker:
    """A study opened in the name of a process that does nothing but can be killed."""

    study: Study
    process: subprocess.Popen[bytes]
    exit: contextlib.ExitStack
    claims: list[Claim] = field(default_factory=list)


class Interleavings(RuleBasedStateMachine):
    @initialize(wanted=st.integers(1, 9), sampler=st.sampled_from(["random", "tpe", "grid"]))
    def make(self, wanted: int, sampler: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hpo-batch-interleavings-"))
        path = self.folder / "s.toml"
        path.write_text(SWEEP.format(target=wanted, sampler=sampler))
        (self.sweep,) = load(path)
        self.home = home_of(self.folder, "s")
        create(self.home, self.sweep, toml="", now=time.time())
        self.target = wanted
        self.workers: dict[int, SimulatedWorker] = {}
        self.zombies: list[tuple[SimulatedWorker, Claim]] = []
        self.started = 0
        self.told: dict[int, float] = {}
        for _ in range(2):
            self.start_worker()

    @precondition(lambda self: len(self.workers) < MOST_WORKERS)
    @rule()
    def start_worker(self) -> None:
        process = subprocess.Popen(["sleep", "600"])
        self.started += 1
        owner = Owner(
            worker=f"w-{self.started}", job="local", host=processes.host_name(), pid=process.pid,
            start=processes.started_at(process.pid), boot=processes.boot_id(),
        )  # fmt: skip
        exit = contextlib.ExitStack()
        study = exit.enter_context(Study.open(self.home, owner))
        self.workers[self.started] = SimulatedWorker(study=study, process=process, exit=exit)

    @precondition(lambda self: self.idle_workers())
    @rule(data=st.data())
    def claim(self, data: Any) -> None:
        worker = data.draw(st.sampled_from(self.idle_workers()))
        given = worker.study.claim()
        if isinstance(given, Idle):
            assert given.why in (IdleWhy.TARGET_MET, IdleWhy.IN_FLIGHT, IdleWhy.SPACE_USED_UP), given
            return
        (claim,) = given
        assert claim.number not in self.told
        worker.study.open_attempt(claim)
        worker.claims.append(claim)

    @precondition(lambda self: self.busy_workers())
    @rule(data=st.data(), step=st.integers(0, 5))
    def report(self, data: Any, step: int) -> None:
        worker = data.draw(st.sampled_from(self.busy_workers()))
        worker.study.reports.add(worker.claims[0], step, {"m": float(step)})

    @precondition(lambda self: self.busy_workers())
    @rule(data=st.data(), value=st.floats(-10, 10))
    def tell_complete(self, data: Any, value: float) -> None:
        worker = data.draw(st.sampled_from(self.busy_workers()))
        claim = worker.claims.pop()
        worker.study.tell(claim, Complete(values=(value,), metrics={"m": value}))
        self.told[claim.number] = value

    @precondition(lambda self: self.busy_workers())
    @rule(data=st.data())
    def tell_failed(self, data: Any) -> None:
        worker = data.draw(st.sampled_from(self.busy_workers()))
        worker.study.tell(worker.claims.pop(), Failed(reason=Reason.EXCEPTION, message="planned"))

    @precondition(lambda self: self.busy_workers())
    @rule(data=st.data(), cause=st.sampled_from(list(Cause)))
    def give_back(self, data: Any, cause: Cause) -> None:
        worker = data.draw(st.sampled_from(self.busy_workers()))
        worker.study.give_back(worker.claims.pop(), cause)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def kill(self, data: Any) -> None:
        self.kill_worker(data.draw(st.sampled_from(sorted(self.workers))))

    @precondition(lambda self: self.idle_workers())
    @rule(data=st.data())
    def leave_in_order(self, data: Any) -> None:
        name = data.draw(st.sampled_from([n for n, w in sorted(self.workers.items()) if not w.claims]))
        worker = self.workers.pop(name)
        worker.exit.close()
        worker.process.kill()
        worker.process.wait()

    @precondition(lambda self: self.zombies)
    @rule(data=st.data(), value=st.floats(-10, 10))
    def a_zombie_speaks(self, data: Any, value: float) -> None:
        """A worker that was taken for dead comes back: what it says counts only if nobody took its trial."""
        worker, claim = data.draw(st.sampled_from(self.zombies))
        self.zombies.remove((worker, claim))
        trial = self.read().trials[claim.number]
        still_its = trial.state is TrialState.RUNNING and trial.attempt == claim.attempt
        if still_its:
            worker.study.tell(claim, Complete(values=(value,), metrics={}))
            self.told[claim.number] = value
        else:
            before = self.home.journal.read_bytes()
            with pytest.raises(Superseded):
                worker.study.tell(claim, Complete(values=(value,), metrics={}))
            with pytest.raises(Superseded):
                worker.study.give_back(claim, Cause.PREEMPTED)
            assert self.home.journal.read_bytes() == before

    @rule()
    def submit_again(self) -> None:
        create(self.home, self.sweep, toml="", now=time.time())

    @invariant()
    def never_more_than_asked_for(self) -> None:
        if not hasattr(self, "home"):
            return
        state = self.read()
        counts = state.counts()
        assert counts.finished + counts.running + counts.waiting <= self.target
        keys = [trial.key for trial in state.trials]
        assert len(set(keys)) == len(keys)
        complete = {n: state.trials[n].values for n in state.by_state[TrialState.COMPLETE]}
        assert complete == {number: (value,) for number, value in self.told.items()}

    def teardown(self) -> None:
        if not hasattr(self, "home"):
            return
        try:
            for name in list(self.workers):
                self.kill_worker(name)
            self.start_worker()
            last = self.workers[self.started]
            while not isinstance(given := last.study.claim(), Idle):
                last.study.open_attempt(given[0])
                last.study.tell(given[0], Complete(values=(0.0,), metrics={}))
                self.told[given[0].number] = 0.0
            assert given.why in (IdleWhy.TARGET_MET, IdleWhy.SPACE_USED_UP)
            state = self.read()
            assert not state.by_state[TrialState.RUNNING]
            assert not state.by_state[TrialState.WAITING]
            if given.why is IdleWhy.TARGET_MET:
                assert state.counts().finished == self.target
            self.never_more_than_asked_for()
            self.plain_optuna_agrees(state)
            for name in list(self.workers):
                self.kill_worker(name)
            self.home.journal.unlink()
            rebuild(self.home, completed=lambda sweep: lambda metrics: metrics, now=time.time())
            rebuilt = self.read()
            assert [ended(trial.record()) for trial in rebuilt.trials] == [ended(t.record()) for t in state.trials]
            self.plain_optuna_agrees(rebuilt)
        finally:
            for worker in [*self.workers.values(), *(zombie for zombie, _ in self.zombies)]:
                worker.process.kill()
                worker.process.wait()
                worker.exit.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def plain_optuna_agrees(self, state: JournalState) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        backend = optuna.storages.journal.JournalFileBackend(str(self.home.journal))
        study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
        assert [t.state.value for t in study.trials] == [t.state.value for t in state.trials]
        assert [t.value for t in study.trials if t.state.name == "COMPLETE"] == [
            self.told[t.number] for t in study.trials if t.state.name == "COMPLETE"
        ]

    def kill_worker(self, name: int) -> None:
        worker = self.workers.pop(name)
        worker.process.kill()
        worker.process.wait()
        self.zombies += [(worker, claim) for claim in worker.claims]

    def idle_workers(self) -> list[SimulatedWorker]:
        return [worker for _, worker in sorted(self.workers.items()) if not worker.claims]

    def busy_workers(self) -> list[SimulatedWorker]:
        return [worker for _, worker in sorted(self.workers.items()) if worker.claims]

    def read(self) -> JournalState:
        state = JournalState()
        state.apply(Journal(self.home.journal).read_new())
        return state


def ended(record: TrialRecord) -> TrialRecord:
    """What a rebuilt journal says as the first one did: all but moments, and reports that no objective made."""
    attempts = tuple(replace(attempt, ended=None) for attempt in record.attempts)
    return replace(record, attempts=attempts, ended=None, steps={})


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
