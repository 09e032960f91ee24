"""The processes: each is a worker on a host of its own that claims, reports, tells, reads, and notes all of it."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState as OptunaState

from hpo_batch import processes
from hpo_batch.errors import Superseded
from hpo_batch.journal import locks
from hpo_batch.journal.state import JournalState
from hpo_batch.records import Cause, Claim, Complete, Failed, Idle, Outcome, Owner, Pruned, Reason
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study import patience, reports
from hpo_batch.study.read import read_state
from hpo_batch.study.retry import retry
from hpo_batch.study.study import Study
from tests.faults.linearizable.history import Notes
from tests.faults.linearizable.model import View
from tests.journal.helpers import read_state as read_whole
from tests.simulators import control
from tests.study.helpers import plain, revise

GRACE_S = 1.0
"""in place of the half minute after which a lock of a host that crashed is taken for abandoned"""


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What befalls a worker, at a call that it makes on the network."""

    number: int
    """a signal: SIGKILL, SIGSTOP or SIGRTMIN (killed, but its host lives on)"""
    at: int
    """how many calls it makes before"""
    after: bool


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What a process is told."""

    name: str
    host: str
    seed: int
    study: Path
    notes: Path
    fate: Fate | None = None
    clock_s: float = 0.0
    """how far the clock of its host is ahead"""
    is_busy: bool = False
    """a thread that holds the interpreter, as a data loader may"""
    stall_permille: int = 0
    stall_s: float = 0.0
    holes: bool = False
    train_s: float = 0.008
    only_finish: bool = False
    """claim and tell until nothing is left, and nothing else"""

    @property
    def home(self) -> StudyHome:
        return home_of(self.study.parent, self.study.name)


def run(worker: Worker) -> str:
    """A worker's life; why it ended."""
    _begin(worker)
    rng = random.Random(worker.seed)
    notes = Notes(worker.notes / f"{worker.name}.notes")
    if worker.is_busy:
        threading.Thread(target=_spin, daemon=True).start()
    if worker.stall_permille:
        control.stall_writes(
            seed=worker.seed, permille=worker.stall_permille, most_s=worker.stall_s, holes=worker.holes
        )
    if worker.fate is not None:
        control.refuse(nth=worker.fate.at, error=-worker.fate.number, after=worker.fate.after)
    opened = Study.open(worker.home, _owner(worker))
    study = notes.call("open", {}, opened.__enter__, lambda _: {})
    value = 0
    while True:
        if not worker.only_finish:
            _aside(worker.home, rng, notes)
        given = notes.call("claim", {}, study.claim, _told_claim)
        if isinstance(given, Idle):
            if given.why.value != "the rest is running":
                break
            time.sleep(rng.uniform(0.0, 0.05))
            continue
        value += 1
        _train(worker, study, given[0], rng, notes, value=float(f"{worker.name[1:]}.{value:04d}"))
    opened.__exit__(None, None, None)
    return given.why.value


def _begin(worker: Worker) -> None:
    control.as_network()
    control.be_host(worker.host)
    control.set_clock(ahead_s=worker.clock_s)
    _shorten()


def _shorten() -> None:
    """Times that a test cannot wait for. The names are asked for: one that is no more must not be set in vain."""
    assert locks.FOREIGN_GRACE_S
    assert patience.RETRY_PAUSES_S
    assert reports.REPORT_EVERY_S
    locks.FOREIGN_GRACE_S = GRACE_S
    patience.RETRY_PAUSES_S = (0.1, 0.2)
    reports.REPORT_EVERY_S = 0.01  # reports come to the journal by themselves, not only with the end


def _spin() -> None:
    while True:
        pass


def _owner(worker: Worker) -> Owner:
    pid = os.getpid()
    return Owner(
        worker=worker.name, job="local", host=worker.host, pid=pid, start=processes.started_at(pid),
        boot=processes.boot_id(),
    )  # fmt: skip


def _aside(home: StudyHome, rng: random.Random, notes: Notes) -> None:
    """What others do with a study while workers run."""
    if rng.random() < 0.25:
        state = notes.call("read", {}, lambda: read_state(home), _told_read)
        failed = [trial.number for trial in state.trials if trial.state.name == "FAIL"]
        if failed and rng.random() < 0.3:
            numbers = rng.sample(failed, 1)
            notes.call(
                "retry", {"numbers": numbers}, lambda: retry(home, numbers, now=time.time()),
                lambda retried: {"made": retried.made},
            )  # fmt: skip


def _train(worker: Worker, study: Study, claim: Claim, rng: random.Random, notes: Notes, *, value: float) -> None:
    attempt = {"number": claim.number, "attempt": claim.attempt, "token": claim.token}
    study.open_attempt(claim)
    reports: dict[int, float] = {}
    for step in range(rng.randint(0, 3)):
        time.sleep(rng.uniform(0, worker.train_s))
        reports[step] = value + step / 100_000
        asked = {**attempt, "step": step, "value": reports[step]}
        told = notes.call(
            "report", asked, lambda: study.reports.add(claim, asked["step"], {"loss": asked["value"]}),  # noqa: B023
            lambda verdict: {"verdict": verdict.value},
        )  # fmt: skip
        if told.value == "superseded":
            break  # its end is told all the same: it must be refused
    time.sleep(rng.uniform(0, worker.train_s))
    asked = {**attempt, "reports": reports}
    chance = rng.random() if not worker.only_finish else 0.0
    if chance < 0.75 or (chance < 0.82 and not reports):
        outcome: Outcome = Complete(values=(value,), metrics={"loss": value})
        asked |= {"how": "complete", "value": value}
    elif chance < 0.82:
        step = max(reports)
        outcome, value = Pruned(step=step, metrics={"loss": reports[step]}), reports[step]
        asked |= {"how": "pruned", "value": value}
    elif chance < 0.94:
        reason = rng.choice([Reason.EXCEPTION, Reason.OOM_GPU])
        outcome = Failed(reason=reason, message="planned")
        asked |= {"how": reason.value}
    else:
        asked |= {"how": "preempted"}
        notes.call("give_back", asked, lambda: _fenced(lambda: study.give_back(claim, Cause.PREEMPTED)), _told_outcome)
        return
    notes.call("tell", asked, lambda: _fenced(lambda: study.tell(claim, outcome)), _told_outcome)


def _fenced(function: Callable[[], None]) -> str:
    try:
        function()
    except Superseded:
        return "superseded"
    return "done"


def _told_outcome(outcome: str) -> dict[str, str]:
    return {"outcome": outcome}


def _told_claim(given: tuple[Claim, ...] | Idle) -> dict[str, Any]:
    if isinstance(given, Idle):
        return {"idle": given.why.value}
    (claim,) = given
    return {
        "number": claim.number, "attempt": claim.attempt, "token": claim.token, "seeds": claim.seeds,
        "params": {**claim.configuration.fixed, **claim.configuration.searched},
    }  # fmt: skip


def views(state: JournalState) -> list[View]:
    """What a reader of ours knows of the trials."""
    return [
        (
            trial.state.name,
            trial.attempt,
            str(trial.attempt_facts(trial.attempt).get("token", "")),
            trial.values[0] if trial.values else None,
        )
        for trial in state.trials
    ]


def _told_read(state: JournalState) -> dict[str, Any]:
    return {"view": views(state), "target": state.target}


def raise_target(worker: Worker, target: int, study: str, rest: str) -> None:
    """As somebody does who submits the sweep again with more trials."""
    _begin(worker)
    notes = Notes(worker.notes / f"{worker.name}.notes")
    notes.call(
        "raise",
        {"target": target},
        lambda: revise(worker.home, study=study.format(trials=target), rest=rest),
        lambda _: {},
    )


@dataclass(frozen=True, kw_only=True)
class AtTheEnd:
    """What is read of a study when all is done."""

    ours: list[View]
    ours_target: int
    optunas: list[tuple[str, float | None, dict[str, Any], dict[int, float]]]
    """state, value, parameters and reports of each trial"""
    ours_again: list[tuple[str, float | None, dict[str, Any], dict[int, float]]]
    """the same as our reader has it"""


def read_at_the_end(worker: Worker) -> AtTheEnd:
    """In a process that has read nothing before."""
    _begin(worker)
    state = read_whole(worker.home.journal)
    optunas = plain(worker.home).get_trials(deepcopy=False)
    return AtTheEnd(
        ours=views(state),
        ours_target=state.target,
        optunas=[(t.state.name, t.values[0] if t.values else None, t.params, t.intermediate_values) for t in optunas],
        ours_again=[(t.state.name, t.values[0] if t.values else None, t.params, t.steps) for t in state.trials],
    )


assert [state.name for state in OptunaState] == ["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"]
