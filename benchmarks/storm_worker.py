"""The processes of a kill storm: real workers and submissions that take notes of what they have done.

They are forked from a process that has everything imported. Each appends to a notes file of its own with one write per
line: whatever stands there was done, no matter what happened next. ``arm`` makes a process kill itself at a named
point.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_points import WRITES, Call, Die, die, install

import hpo_batch
from hpo_batch.journal import locks
from hpo_batch.journal.file import Journal, Transaction
from hpo_batch.launch.carry_out import carry_out
from hpo_batch.launch.plan import Site, Standing, plan
from hpo_batch.processes import identities
from hpo_batch.records import Claim, Complete, Outcome
from hpo_batch.store.home import StudyHome
from hpo_batch.study.endings import Ending
from hpo_batch.study.read import read_state
from hpo_batch.study.study import Study
from hpo_batch.sweep.difference import Change
from hpo_batch.sweep.schema import Sweep
from hpo_batch.worker.entry import run_worker

STEPS = 5
"""steps of a trial that writes checkpoints; other trials have one step"""
STEP_S = 0.006
GRACE_S = 3.0
"""instead of the 30 s after which workers break the lock of another host"""
SUBMISSION = "a submission: its line is written, sbatch is not done"
POINTS = (
    "holding the journal's lock",
    "in an append, at any byte or record",
    "after an append, before its sync",
    "in the write of a checkpoint",
    "between a result's file and its tell",
    "making an attempt's folder",
    "at any change of any file",
    SUBMISSION,
)

_write = os.write  # without faults: the notes are not part of what is tested
_notes = -1


def note(what: str, **facts: Any) -> None:
    _write(_notes, json.dumps({"what": what, **facts}).encode() + b"\n")


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A simulated host and its mount of the studies."""

    name: str
    boot: str
    mount: Path
    at: Path

    def take(self) -> None:
        from tests.network.mount import see

        see(self.mount, self.at)
        os.environ["SLURMD_NODENAME"] = self.name
        identities.boot_id = lambda: self.boot
        locks.FOREIGN_GRACE_S = GRACE_S
        identities._boot.cache_clear()


def work(
    home: StudyHome, index: int, notes: Path, point: str | None, seed: int, seat: Seat | None, is_busy: bool
) -> None:
    """Run a worker as the local launcher starts it; ``is_busy`` adds a busy thread, as a data loader has."""
    _begin(notes)
    _note_tells()
    if seat is not None:
        seat.take()
    if is_busy:
        threading.Thread(target=_spin, daemon=True).start()
    if point is not None:
        arm(point, random.Random(seed))
    sys.exit(run_worker(home, {"HPO_BATCH_SUBMISSION": "storm", "HPO_BATCH_WORKER": str(index), "HPO_BATCH_CPUS": "1"}))


def _spin() -> None:
    while True:
        pass


def submit_once(
    home: StudyHome, sweep: Sweep, toml: str, notes: Path, programs: Path, dies: str, seat: Seat | None
) -> None:
    """Run ``hpo-batch submit`` where sbatch kills its caller ``before`` or ``after`` it has accepted the job."""
    _begin(notes)
    if seat is not None:
        seat.take()
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    os.environ["STORM_SBATCH"] = dies
    note("die", point=SUBMISSION)
    submitted = plan(
        home,
        sweep,
        change=Change(created=True),
        site=Site(has_slurm=True),
        standing=Standing(remaining=2),
        workdir=programs,
    )
    carry_out(submitted, toml=toml, environ=os.environ)


def train(trial: hpo_batch.Trial) -> float:
    """Train steps; the result is right only if each was trained exactly once on top of the ones before."""
    progress = Progress.of(trial)
    while not progress.is_done:
        progress.wait()
        progress.go_on()
    return progress.value


def train_many(trials: hpo_batch.Trials) -> None:
    """The same for several: each step is one of all of them, and a free place goes to the next trial at once."""
    running: list[Progress] = []
    while running := running + [Progress.of(trial) for trial in trials.take()]:
        running[0].wait()
        for progress in running:
            if not progress.is_done:  # as one is whose worker was killed after its last step
                progress.go_on()
            if progress.is_done:
                trials.end(progress.trial, progress.value)
        running = [progress for progress in running if not progress.is_done]


train_many.shape = ("checkpoints",)  # type: ignore[attr-defined]


@dataclass(kw_only=True)
class Progress:
    """How far a trial is."""

    trial: hpo_batch.Trial
    done: int
    value: float

    @classmethod
    def of(cls, trial: hpo_batch.Trial) -> Progress:
        """From its own checkpoint, if it has one."""
        done, value = _load(trial) if trial.resumes else (0, 0.0)
        note("began", number=trial.number, attempt=trial.attempt, done=done)
        return cls(trial=trial, done=done, value=value)

    @property
    def saves(self) -> bool:
        return bool(self.trial.params["checkpoints"])

    @property
    def is_done(self) -> bool:
        return self.done == (STEPS if self.saves else 1)

    def wait(self) -> None:
        if self.saves:
            time.sleep(STEP_S)

    def go_on(self) -> None:
        trial, step = self.trial, self.done
        self.value = after_step(self.value, trial.params["x"], step)
        self.done += 1
        note("step", number=trial.number, step=step)
        if self.saves:
            trial.report(step, loss=self.value)
            _save(trial, self.done, self.value)
            note("saved", number=trial.number, attempt=trial.attempt, done=self.done)


def after_step(value: float, x: float, step: int) -> float:
    return value / 2 + x * (step + 1)


def _load(trial: hpo_batch.Trial) -> tuple[int, float]:
    try:
        kept = json.loads((trial.checkpoint / "state.json").read_text())
    except FileNotFoundError:
        return 0, 0.0
    return kept["done"], kept["value"]


def _save(trial: hpo_batch.Trial, done: int, value: float) -> None:
    """Write a checkpoint in two writes, so that a kill can come between them."""
    path, text = trial.checkpoint / "state.tmp", json.dumps({"done": done, "value": value}).encode()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(fd, text[:10])
    os.write(fd, text[10:])
    os.fsync(fd)
    os.close(fd)
    os.replace(path, trial.checkpoint / "state.json")


def arm(point: str, chance: random.Random) -> None:
    """Die at the point, when it is reached for the first time or a little later."""
    left = chance.randrange(3)

    def is_time() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    if point == "holding the journal's lock":
        _in_transactions(lambda: is_time() and _die(point))
    elif point == "making an attempt's folder":
        left = chance.randrange(6)  # roughly the number of calls between two interesting states
        _at_calls(point, lambda call: "/attempts" in call.path and _opening and is_time(), chance)
    elif point == "at any change of any file":
        left = chance.randrange(80)
        _at_calls(point, lambda call: is_time(), chance)
    else:
        where: dict[str, Callable[[Call], bool]] = {
            "in an append, at any byte or record": lambda c: c.name in WRITES and c.path.endswith("journal.jsonl"),
            "after an append, before its sync": lambda c: c.name in SYNCS and c.path.endswith("journal.jsonl"),
            "in the write of a checkpoint": lambda c: "/checkpoint/state" in c.path,
            "between a result's file and its tell": lambda c: c.name in SYNCS and c.path.endswith("result.json"),
        }
        left = chance.randrange(12) if "checkpoint" in point else left
        _at_calls(point, lambda call: where[point](call) and is_time(), chance)


SYNCS = ("fsync", "fdatasync")
_opening = False


def _at_calls(point: str, matches: Callable[[Call], bool], chance: random.Random) -> None:
    def judge(call: Call) -> Die | None:
        if not matches(call):
            return None
        note("die", point=point, call=call.name)
        if call.name in WRITES:
            return Die(written=_cut(call.data, chance))
        return Die(after="result" in point or ("sync" not in point and chance.random() < 0.5))

    install(judge)


def _cut(data: bytes, chance: random.Random) -> int:
    """How many bytes of a write reach the file: any number, or whole records."""
    if chance.random() < 0.5:
        return chance.randint(0, len(data))
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    return chance.choice([0, *ends])


def _die(point: str) -> None:
    note("die", point=point)
    die()


def _begin(notes: Path) -> None:
    global _notes
    _notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    log = os.open(notes.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _note_tells() -> None:
    tell, tell_and_claim, open_attempt = Study.tell, Study.tell_and_claim, Study.open_attempt
    keep, tell_all, claim = Study.keep, Study.tell_all, Study.claim
    kept: dict[Ending, Outcome] = {}

    def noted_tell(self: Study, claim: Claim, outcome: Outcome) -> None:
        tell(self, claim, outcome)
        note_told(claim, outcome)

    def noted_tell_and_claim(self: Study, claim: Claim, outcome: Outcome, **more: Any) -> Any:
        given = tell_and_claim(self, claim, outcome, **more)
        note_told(claim, outcome)
        return given

    def noted_claim(self: Study, *args: Any, **more: Any) -> Any:
        note("asks", at=time.monotonic())
        return claim(self, *args, **more)

    def noted_keep(self: Study, claim: Claim, outcome: Outcome) -> Ending:
        ending = keep(self, claim, outcome)
        kept[ending] = outcome
        return ending

    def noted_tell_all(self: Study, endings: Sequence[Ending]) -> list[Ending]:
        superseded = tell_all(self, endings)
        for ending in endings:
            if ending not in superseded:
                note_told(ending.claim, kept.pop(ending))
        return superseded

    def note_told(claim: Claim, outcome: Outcome) -> None:
        values = outcome.values if isinstance(outcome, Complete) else None
        note("told", number=claim.number, attempt=claim.attempt, values=values)

    def noted_open(self: Study, claim: Claim) -> Path:
        global _opening
        note("claimed", number=claim.number, attempt=claim.attempt)
        _opening = True
        try:
            return open_attempt(self, claim)
        finally:
            _opening = False

    Study.tell, Study.open_attempt = noted_tell, noted_open  # type: ignore[method-assign]
    Study.tell_and_claim = noted_tell_and_claim  # type: ignore[method-assign]
    Study.claim = noted_claim  # type: ignore[method-assign]
    Study.keep, Study.tell_all = noted_keep, noted_tell_all  # type: ignore[method-assign]


def _in_transactions(act: Callable[[], object]) -> None:
    transaction = Journal.transaction

    @contextlib.contextmanager
    def acting(self: Journal, **arguments: Any) -> Iterator[Transaction]:
        with transaction(self, **arguments) as held:
            act()
            yield held

    Journal.transaction = acting  # type: ignore[method-assign,assignment]


def is_finished(home: StudyHome) -> bool:
    return read_state(home).counts().remaining == 0
