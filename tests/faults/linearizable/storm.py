"""One run: a study on a simulated network, workers, what befalls them, and the verdict on it all."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hpo_batch.store.home import home_of
from tests.faults.linearizable.check import Verdict, check
from tests.faults.linearizable.history import read_history
from tests.faults.linearizable.model import Model, Rule
from tests.faults.linearizable.workers import (
    GRACE_S,
    AtTheEnd,
    Fate,
    Worker,
    raise_target,
    read_at_the_end,
    run,
)
from tests.simulators.processes import Preloaded, Process, ProcessDied
from tests.study.helpers import make

IMPORTS = ("tests.faults.linearizable.workers",)
LEASE_S = 2.0
STUDY = "trials = {trials}\nlease_s = 2\nmax_attempts = 100"
REST = '[failures]\noom_gpu = "retry"\nstop_after = 1000000\n'


@dataclass(frozen=True, kw_only=True)
class Settings:
    seed: int
    processes: int = 3
    trials_each: int = 10
    """of the target, for each process"""
    is_busy: bool = False
    kills: bool = True
    """and stops"""
    flock: bool = True
    """whether the network has it; without, no stop may last as long as the grace for abandoned locks"""
    stall_permille: int = 200
    stall_s: float = 0.01
    holes: bool = False
    """whether late writes overtake each other: readers may see zeros where a record will be"""
    storm_s: float = 2.5
    """for so long processes are killed and stopped"""
    patience_s: float = 60.0
    """after which the run is given up"""

    @property
    def trials(self) -> int:
        return self.trials_each * self.processes


@dataclass(kw_only=True)
class Run:
    settings: Settings
    folder: Path
    """of the histories"""
    verdict: Verdict
    killed: int = 0
    stopped: int = 0
    died: list[str] = field(default_factory=list)
    """of an error: what it was"""
    undisturbed: int = 0
    """attempts that were taken from a worker which had not been killed or stopped: its lease was too short"""
    seconds: float = 0.0

    @property
    def is_fine(self) -> bool:
        return not self.verdict.violations

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.verdict.operations.items()))
        lines = [
            f"seed {self.settings.seed}, {self.settings.processes} processes, {self.seconds:.1f} s: "
            f"{'linearizable' if self.is_fine else 'NOT linearizable'}; {self.killed} killed, {self.stopped} stopped; "
            f"{len(self.verdict.taken_over)} attempts taken over, {self.undisturbed} of them in peace; {kinds}",
            *(f"  {violation}" for violation in self.verdict.violations),
        ]
        return "\n".join(lines)


def storm(settings: Settings, network: Path, local: Path, preloaded: Preloaded) -> Run:
    """Run and judge. The journal is copied beside the histories in ``local``."""
    return _Storm(settings, network, local, preloaded).run()


class _Storm:
    def __init__(self, settings: Settings, network: Path, local: Path, preloaded: Preloaded) -> None:
        self.settings, self.preloaded, self.local = settings, preloaded, local
        self.rng = random.Random(settings.seed)
        network.mkdir(parents=True, exist_ok=True)
        local.mkdir(parents=True, exist_ok=True)
        self.home = make(network, study=STUDY.format(trials=settings.trials), rest=REST)
        self.started = 0
        self.running: dict[str, tuple[Worker, Process]] = {}
        self.resume_at: dict[str, float] = {}
        self.disturbed: set[str] = set()
        self.result = Run(settings=settings, folder=local, verdict=Verdict())

    def run(self) -> Run:
        began = time.monotonic()
        try:
            for i in range(self.settings.processes):
                self.start(f"node{i}")
            raised = None
            while self.running and time.monotonic() - began < self.settings.patience_s:
                is_storm = self.settings.kills and time.monotonic() - began < self.settings.storm_s
                if raised is None and time.monotonic() - began > self.settings.storm_s / 2:
                    more = self.settings.trials + self.settings.processes
                    raised = self.preloaded.start(raise_target, self.worker("submit"), more, STUDY, REST)
                self.look(is_storm)
                time.sleep(0.004)
            hung = sorted(self.running)
            if raised is not None:
                self.answered(raised)
        finally:
            for _, process in self.running.values():
                process.signal(signal.SIGKILL)
        if not hung and not self.result.died:
            # whoever died holds trials of which nobody knows before a lease has run out
            self.answered(self.preloaded.start(run, self.worker("closer", only_finish=True)))
        self.judge(hung)
        self.result.seconds = time.monotonic() - began
        return self.result

    def worker(self, host: str, **more: object) -> Worker:
        self.started += 1
        seed, clock_s = self.rng.randrange(2**31), self.rng.choice([0.0, 0.0, -7 * 3600.0, 5 * 3600.0])
        return Worker(
            name=f"w{self.started}", host=host, seed=seed, clock_s=clock_s, study=self.home.path, notes=self.local,
            stall_permille=self.settings.stall_permille, stall_s=self.settings.stall_s,
            holes=self.settings.holes, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def start(self, host: str, *, may_die: bool = True) -> None:
        fate = None
        if self.settings.kills and may_die and self.rng.random() < 0.8:
            number = self.rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGRTMIN, signal.SIGSTOP, signal.SIGSTOP])
            fate = Fate(number=number, at=int(self.rng.expovariate(1 / 120)) + 15, after=self.rng.random() < 0.5)
        worker = self.worker(host, fate=fate, is_busy=self.settings.is_busy)
        self.running[worker.name] = worker, self.preloaded.start(run, worker)

    def look(self, is_storm: bool) -> None:
        now = time.monotonic()
        for name, (worker, process) in list(self.running.items()):
            if process.has_ended:
                del self.running[name]
                self.ended(worker, process, is_storm)
            elif name in self.resume_at:
                if now > self.resume_at[name] or not is_storm:
                    process.signal(signal.SIGCONT)
                    del self.resume_at[name]
            elif _is_stopped(process.pid):
                self.resume_at[name] = now + self.stop_s()
                self.result.stopped += 1
                self.disturbed.add(name)
            elif is_storm and self.rng.random() < 0.004:
                process.signal(signal.SIGSTOP)  # wherever it is

    def stop_s(self) -> float:
        if not self.settings.flock:
            return self.rng.uniform(0.01, GRACE_S / 3)
        return self.rng.uniform(LEASE_S, 1.6 * LEASE_S) if self.rng.random() < 0.3 else self.rng.uniform(0.01, 0.4)

    def answered(self, process: Process) -> None:
        try:
            process.answer()
        except (AssertionError, ProcessDied) as error:
            self.result.died.append(str(error).strip().splitlines()[-1])

    def ended(self, worker: Worker, process: Process, is_storm: bool) -> None:
        try:
            process.answer()
        except ProcessDied:
            self.result.killed += 1
            self.disturbed.add(worker.name)
            # another worker comes, on the same host or on another one: the one finds it dead, the other waits
            host = worker.host if self.rng.random() < 0.5 else f"{worker.host}+"
            self.start(host, may_die=is_storm)
        except AssertionError as error:
            self.result.died.append(str(error).strip().splitlines()[-1])

    def judge(self, hung: list[str]) -> None:
        journal = self.home.journal.read_bytes()
        (self.local / "journal.jsonl").write_bytes(journal)
        verdict = self.result.verdict = check(read_history(self.local), journal)
        for error in self.result.died:
            verdict.blame(Rule.ANSWERED, f"a worker died: {error}")
        if hung:
            verdict.blame(Rule.ANSWERED, f"still at work after {self.settings.patience_s:g} s: {hung}")
        self.result.undisturbed = sum(1 for effect in verdict.taken_over if effect.holder not in self.disturbed)
        try:
            end = self.preloaded.call(read_at_the_end, self.worker("reader"))
        except AssertionError as error:
            verdict.blame(Rule.READABLE, str(error).strip().splitlines()[-1])
            return
        judge_end(end, verdict.model, verdict.blame, is_over=not hung and not self.result.died)


def judge_end(end: AtTheEnd, model: Model, blame: Callable[[Rule, str], None], *, is_over: bool) -> None:
    """Whether all readers read what the model has, and the study came to its end."""
    views = [trial.view for trial in model.trials]
    if end.ours != views or end.ours_target != model.target:
        blame(Rule.ALIKE, f"we read {_first_difference(end.ours, views)} of {end.ours_target} trials")
    theirs = [(t.view[0], t.view[3], t.params, t.steps) for t in model.trials]
    for who, seen in (("plain Optuna reads", end.optunas), ("we read", end.ours_again)):
        if [(s, v, dict(p), dict(r)) for s, v, p, r in seen] != theirs:
            blame(Rule.ALIKE, f"{who} {_first_difference(seen, theirs)}")
    if is_over and not model.open == model.finished == model.target:
        blame(Rule.TARGET, f"{model.finished} finished, {model.open} with those under way, {model.target} asked for")


def _first_difference(seen: list[object] | list[tuple], expected: list) -> str:  # type: ignore[type-arg]
    for number, (one, other) in enumerate(zip(seen, expected, strict=False)):
        if one != other:
            return f"trial {number}: {one}, not {other}"
    return f"{len(seen)} trials, not {len(expected)}"


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return False


__all__ = ["IMPORTS", "Run", "Settings", "home_of", "storm"]
