"""The measurements of ``scale.py``. Each runs in a process of its own under ``slow.c`` and prints a JSON line per row.

They use what a worker uses: ``Study.open``, ``claim``, ``report``, ``tell``. Workers are forked, 8 on each simulated
host.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import heapq
import json
import logging
import math
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna
from claims import journal_storage, owner, prefilled
from msgspec.structs import replace
from slow import FREE, Control, Look, without

from hpo_batch import processes
from hpo_batch.journal import kernel_lock
from hpo_batch.records import Claim, Complete, Idle, Outcome, Owner
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.create import create
from hpo_batch.study.study import Study
from hpo_batch.sweep.load import load

SWEEP = """
[study]
name = "bench"
metric = "loss"
direction = "minimize"
trials = 10_000_000
[objective]
function = "nothing:called"
[space]
a = {{ low = 0.0, high = 1.0 }}
b = {{ low = 1e-5, high = 1e-1, log = true }}
c = {{ low = 1, high = 100 }}
d = [1, 2, 3, 4]
e = ["x", "y", "z"]
f = {{ low = 0.0, high = 1.0 }}
g = {{ low = 0.0, high = 1.0, step = 0.01 }}
[sampler]
name = "random"
[pruner]
name = "{pruner}"
"""
PER_HOST = 8
"""workers on each simulated host"""
REPORTS = 10
"""reports of each trial, in trials that do nothing else"""
RESULT = Complete(values=(0.5,), metrics={"loss": 0.5})
PROCESSES = 64
"""upper limit of processes that play workers"""
FINISHED, STEPS = 6, 100
"""trials that a pruner finds finished (it wants 5), and their steps"""
FIRST_STEP = 3
"""the step of running trials, from which on a pruner is asked"""
LOOK_PAUSE_S = 1.2
"""seconds after which a claim looks again whether others have died"""
CALLS = 3
"""repeats of each measurement, of which the median is shown"""
LONGEST_SPACING_S, LONGEST_WARM_UP_S = 600.0, 40.0
PATIENCE_S = 1200.0

FORK = multiprocessing.get_context("fork")
Figures = dict[str, float]


def as_network_folder() -> None:
    """Make this process and its forks treat every folder as one that other hosts write to, too."""
    os.environ["HPO_BATCH_SHARED_DISK"] = "1"
    if hasattr(kernel_lock, "LOCAL_DISKS"):  # --against names a checkout from before store.mounts
        kernel_lock.LOCAL_DISKS = frozenset()
        kernel_lock._is_local.cache_clear()


def next_trial(study: Study, claim: Claim, outcome: Outcome) -> tuple[Claim, ...] | Idle:
    """What a worker does between two trials."""
    if hasattr(study, "tell_and_claim"):
        return study.tell_and_claim(claim, outcome)
    study.tell(claim, outcome)  # --against names a checkout without tell_and_claim
    return study.claim()


def on_host(name: str) -> None:
    """Make this process say that it runs on that host, as slurmd does."""
    os.environ["SLURMD_NODENAME"] = name


def a_worker(index: int, host: str) -> Owner:
    return replace(owner(index), host=host)


def a_study(folder: Path, *, pruner: str = "none") -> StudyHome:
    folder.mkdir()
    path = folder / "bench.toml"
    path.write_text(SWEEP.format(pruner=pruner))
    (sweep,) = load(path)
    home = home_of(folder, "bench")
    create(home, sweep, toml="", now=time.time())
    return home


def one(given: tuple[Claim, ...] | Idle) -> Claim:
    if isinstance(given, Idle):
        raise RuntimeError(given.why.value)
    return given[0]


class Busy:
    """How busy the processors are from now on, in total and with some processes. Near 100 %, the row measures the
    processors and not the disk."""

    def __init__(self, crew: Crew | None = None) -> None:
        self._pids = [os.getpid(), *((process.pid for process in crew.processes) if crew else ())]
        self._before = self._read()

    def figures(self) -> Figures:
        idle, total, ours = (now - before for now, before in zip(self._read(), self._before, strict=True))
        return {"cpu": 1 - idle / total, "cpu ours": ours / total} if total else {}

    def _read(self) -> tuple[int, int, int]:
        """Clock ticks: idle, total, and of our processes."""
        times = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        ours = 0
        for pid in self._pids:
            with contextlib.suppress(OSError):  # it has ended
                ours += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        return times[3] + times[4], sum(times), ours


class Crew:
    """Forked processes that do the same thing and wait for each other at ``meet``. Each writes its answer to a file."""

    def __init__(self, count: int, told: Path, body: Callable[[Crew, int], None]) -> None:
        self.over = FORK.RawValue("b", 0)
        self._told = told
        self._barrier = FORK.Barrier(count + 1)
        told.mkdir()
        self.processes = [FORK.Process(target=self._run, args=(body, index)) for index in range(count)]
        for process in self.processes:
            process.start()

    def meet(self) -> None:
        """Wait until all of them and their parent have come here."""
        self._barrier.wait(PATIENCE_S)

    def tell(self, index: int, what: object) -> None:
        path = self._told / f"{index}.tmp"
        path.write_text(json.dumps(what))
        path.rename(path.with_suffix(".json"))

    def hear(self) -> list[Any]:
        """Wait for the answer of each of them."""
        until = time.monotonic() + PATIENCE_S
        paths = [self._told / f"{index}.json" for index in range(len(self.processes))]
        for path, process in zip(paths, self.processes, strict=True):
            while not path.exists():
                if (process.exitcode is not None and not path.exists()) or time.monotonic() > until:
                    raise RuntimeError("a worker ended without a word")
                time.sleep(0.02)
        return [json.loads(path.read_text()) for path in paths]

    def join(self) -> None:
        for process in self.processes:
            process.join()

    def _run(self, body: Callable[[Crew, int], None], index: int) -> None:
        processes.end_with_parent(signal.SIGKILL)
        warnings.simplefilter("ignore")
        try:
            body(self, index)
        except BaseException:
            self.over.value = 1  # ends all of them: without this one the row is meaningless
            self._barrier.abort()
            raise
        finally:
            atexit._run_exitfuncs()  # a worker runs them when it exits; children of multiprocessing do not


def asked(look: Look, *, per: float = 1) -> Figures:
    """Operations by kind, as the figures of a row."""
    return {f"ops.{kind}": count / per for kind, count in look.calls.items() if kind not in FREE}


# --- workers that start at once


def start(control: Control, folder: Path, told: Path, *, workers: int, delays: Sequence[float]) -> Iterator[Row]:
    """How long the workers of an array that start at once wait for their first trial, and which files they leave."""
    for delay in delays:
        home = a_study(folder / f"{delay}")
        made = frozenset(home.path.iterdir())
        crew = Crew(workers, told / f"{delay}", functools.partial(_begin, home))
        crew.meet()
        control.delay_s = delay
        before, busy = control.look(), Busy(crew)
        crew.meet()
        heard = crew.hear()
        look, used = control.look().since(before), busy.figures()
        control.delay_s = 0
        for process in crew.processes[::2]:
            process.kill()
            process.join()
        crew.over.value = 1
        crew.join()
        left = _left_over(home, but=made)
        one_more = Crew(1, told / f"{delay}-more", functools.partial(_come_and_go, home))
        one_more.hear()
        one_more.join()
        later = _left_over(home, but=made)
        waits = sorted(wait for wait, why in heard if not why)
        why = sorted({why for _, why in heard if why})
        yield (
            [1e3 * delay, workers],
            {
                "died": workers - len(waits),
                "median": statistics.median(waits) if waits else math.nan,
                "last": waits[-1] if waits else math.nan,
                "per worker": 1e3 * waits[-1] / workers if waits else math.nan,
                "left locks": left[0],
                "left leases": left[1],
                "later locks": later[0],
                "later leases": later[1],
                **used,
                "lock": look.held_s / look.at,
                **asked(look, per=workers),
            },
        )
        if why:
            print("died of", *why, file=sys.stderr)


def _begin(home: StudyHome, crew: Crew, index: int) -> None:
    host = f"node{index // PER_HOST}"
    on_host(host)
    crew.meet()
    crew.meet()
    began = time.monotonic()
    try:
        with Study.open(home, a_worker(index, host)) as study:
            one(study.claim())
            crew.tell(index, [time.monotonic() - began, ""])
            while not crew.over.value:  # keep the lease while the others start
                time.sleep(0.1)
    except Exception as error:
        crew.tell(index, [time.monotonic() - began, type(error).__name__])


def _come_and_go(home: StudyHome, crew: Crew, index: int) -> None:
    on_host("another")
    with Study.open(home, a_worker(1_000_000, "another")) as study:
        one(study.claim())
    crew.tell(index, None)


def _left_over(home: StudyHome, *, but: Set[Path]) -> tuple[int, int]:
    """Count the lock files that were made for one worker, and the lease files."""
    hidden = set(home.path.glob(".*")) - but
    return len(hidden), sum(path.is_file() for path in home.workers.rglob("*"))


# --- a claim while many others run trials


def claims(control: Control, folder: Path, told: Path, *, workers: int, delays: Sequence[float]) -> Iterator[Row]:
    """The cost of a claim while so many trials run on as many other hosts."""
    home = a_study(folder / "claims")
    on_host("here")
    with _others(home, workers), Study.open(home, a_worker(workers, "here")) as study:
        for _ in range(2):  # a sign of life is a change between two looks
            time.sleep(LOOK_PAUSE_S)
            study.tell(one(study.claim()), RESULT)
            study.is_in_doubt()
        for delay in delays:
            costs, busy = list[tuple[str, Figures]](), Busy()
            for _ in range(CALLS):
                control.delay_s = delay
                time.sleep(LOOK_PAUSE_S)
                first, first_cost = _cost(control, study.claim)
                second, second_cost = _cost(control, study.claim)
                _, doubt_cost = _cost(control, study.is_in_doubt)
                control.delay_s = 0
                study.tell(one(first), RESULT)
                study.tell(one(second), RESULT)
                costs += [("claim, first in a second", first_cost), ("claim right after", second_cost)]
                costs.append(("is_in_doubt", doubt_cost))
            used = busy.figures()
            for what, figures in costs:
                yield [1e3 * delay, workers, what], {**figures, **used}


def _cost(control: Control, call: Callable[[], Any]) -> tuple[Any, Figures]:
    before, cpu = control.look(), time.process_time()
    result = call()
    cpu, look = time.process_time() - cpu, control.look().since(before)
    return result, {"wall": 1e3 * look.at, "cpu ms": 1e3 * cpu, **asked(look)}


@contextlib.contextmanager
def _others(home: StudyHome, workers: int) -> Iterator[None]:
    """Start a process whose workers each hold a lease and a trial. It is neither slowed down nor counted."""
    process = subprocess.Popen(
        [sys.executable, __file__, "hold", json.dumps({"study": str(home.path), "workers": workers})],
        env=without(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise RuntimeError("the others could not start")
        yield
    finally:
        process.stdin.close()
        process.wait()


def hold(study: Path, workers: int) -> None:
    """Act as workers on as many hosts with one running trial each, until stdin is closed."""
    home = home_of(study.parent, study.name)
    with contextlib.ExitStack() as stack:
        studies = []
        for index in range(workers):  # open all studies before the first claim: an empty journal is read quickly
            on_host(f"n{index}")
            studies.append(stack.enter_context(Study.open(home, a_worker(index, f"n{index}"))))
        for index, one_study in enumerate(studies):
            on_host(f"n{index}")
            one(one_study.claim())
        print("ready", flush=True)
        sys.stdin.read()


# --- reports of many workers


class Clock:
    """A worker's clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Tally:
    """The time all workers have waited since the last reset; each process adds up in a slot of its own."""

    def __init__(self, processes: int) -> None:
        self.blocked, self.worst = FORK.RawArray("d", processes), FORK.RawArray("d", processes)
        self.writes = FORK.RawArray("q", processes)
        self.every_s = FORK.RawValue("d", 0.0)
        """seconds of training between two writes of a worker's reports"""

    def reset(self) -> None:
        for array in (self.blocked, self.worst, self.writes):
            array[:] = [0] * len(array)

    def note(self, index: int, seconds: float) -> None:
        self.blocked[index] += seconds
        self.worst[index] = max(self.worst[index], seconds)
        self.writes[index] += 1

    def figures(self) -> Figures:
        blocked_s = sum(self.blocked) / max(1, sum(self.writes))
        return {
            "blocked": blocked_s / (blocked_s + self.every_s.value),
            "blocked ms": 1e3 * blocked_s,
            "worst": max(self.worst),
        }


@dataclass(kw_only=True)
class Reporter:
    """One of many workers, with a study and a running trial of its own."""

    study: Study
    clock: Clock
    claim: Claim
    next_step: int = FIRST_STEP

    def report(self) -> None:
        self.study.reports.add(self.claim, self.next_step, {"loss": 1.0})  # equal values: no trial is pruned
        self.next_step += 1

    def write(self, steps: int, every_s: float) -> None:
        """Report some steps. The clock stands still until the last one, so that all are written together."""
        for _ in range(steps - 1):
            self.report()
        self.clock.now += 1.001 * every_s
        self.report()


def reports(
    control: Control, folder: Path, told: Path, *, workers: int, delays: Sequence[float], pruner: str, step: float,
    seconds: float,
) -> Iterator[Row]:  # fmt: skip
    """The cost of reports for workers that report every ``step`` seconds and have done so for a long time.

    A thousand processes would overload this machine and measure only that. So each process plays several workers: each
    has a study of its own, trains for as long as a worker does between two writes, and then waits until its reports,
    and those of others in its process, are written. The lock is requested as often, as much is read and written under
    it, and workers wait as long as with a process each. One thing differs: never more than ``PROCESSES`` poll the lock.
    """
    home = a_study(folder / "reports", pruner=pruner)
    _finish(home, FINISHED)
    count = min(workers, PROCESSES)
    tally = Tally(count)
    crew = Crew(count, told / "crew", functools.partial(_report_on, home, workers, control, pruner, step, tally))
    for _ in range(4):
        crew.meet()
    every_s = tally.every_s.value
    for delay in delays:
        control.delay_s = delay
        # until the queue has reached its usual length
        time.sleep(max(seconds / 2, min(1.5 * every_s, LONGEST_WARM_UP_S)))
        tally.reset()
        busy, before = Busy(crew), control.look()
        time.sleep(seconds)
        look, used = control.look().since(before), busy.figures()
        yield (
            [1e3 * delay, workers, pruner],
            {
                "every": every_s,
                "wanted": workers / every_s,
                "got": sum(tally.writes) / look.at,
                "lock": look.held_s / look.at,
                "held ms": 1e3 * look.held_s / max(1, look.locks),
                "flock": look.calls["flock"] / max(1, look.locks),
                **tally.figures(),
                **used,
            },
        )
    control.delay_s = 0
    crew.over.value = 1
    crew.join()


def _finish(home: StudyHome, trials: int) -> None:
    with Study.open(home, a_worker(2_000_000, "early")) as study:
        for claim in [one(study.claim()) for _ in range(trials)]:
            for step in range(STEPS):
                study.reports.add(claim, step, {"loss": 1.0})
            study.tell(claim, RESULT)


def _report_on(
    home: StudyHome, workers: int, control: Control, pruner: str, step: float, tally: Tally, crew: Crew, index: int
) -> None:
    """The main of one process, which plays every n-th worker."""
    host, rng, team = f"node{index}", random.Random(index), list[Reporter]()
    on_host(host)
    with contextlib.ExitStack() as stack:
        opened = []
        for number in range(index, workers, PROCESSES):  # open all studies while the journal is short
            clock = Clock()
            opened.append((stack.enter_context(Study.open(home, a_worker(number, host), clock=clock)), clock))
        crew.meet()
        team += [Reporter(study=study, clock=clock, claim=one(study.claim())) for study, clock in opened]
        crew.meet()
        if index == 0:
            tally.every_s.value = max(step, _spacing(team[0], control))
        crew.meet()
        every_s = tally.every_s.value
        for reporter in team:
            reporter.write(1, LONGEST_SPACING_S)
        crew.meet()
        # spread evenly, as after a long time
        due = [(time.monotonic() + every_s * rng.random(), number) for number in range(len(team))]
        heapq.heapify(due)
        while not crew.over.value:
            wait_s = due[0][0] - time.monotonic()
            if wait_s > 0:
                time.sleep(min(wait_s, 0.1))
                continue
            since, number = heapq.heappop(due)
            team[number].write(max(1, round(every_s / step)), every_s)
            tally.note(index, time.monotonic() - since)
            heapq.heappush(due, (time.monotonic() + every_s, number))


def _spacing(reporter: Reporter, control: Control) -> float:
    """Seconds between two writes of a worker's reports; found by setting its clock while nobody else writes."""
    reporter.write(1, LONGEST_SPACING_S)
    before, since = control.look().locks, reporter.clock.now
    while reporter.clock.now - since < LONGEST_SPACING_S:
        reporter.report()
        if control.look().locks > before:
            return reporter.clock.now - since
        reporter.clock.now += 0.1
    return LONGEST_SPACING_S


# --- trials per second


class Worker(Protocol):
    def train(self) -> None: ...

    def go_on(self) -> None:
        """Tell a result and get the next trial."""

    def end(self) -> None:
        """End with a result: the others would take a trial that is left running for lost, and fail it in the end."""


class Ours:
    def __init__(self, study: Study) -> None:
        self._study = study
        self._claim = one(study.claim())
        study.open_attempt(self._claim)

    def train(self) -> None:
        for step in range(REPORTS):
            self._study.reports.add(self._claim, step, {"loss": 1.0 / (step + 1)})

    def go_on(self) -> None:
        self._claim = one(next_trial(self._study, self._claim, RESULT))
        self._study.open_attempt(self._claim)

    def end(self) -> None:
        self._study.tell(self._claim, RESULT)


class Optunas:
    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._ask()

    def _ask(self) -> None:
        self._trial = self._study.ask()
        self._trial.suggest_float("a", 0, 1)
        self._trial.suggest_float("b", 1e-5, 1e-1, log=True)
        self._trial.suggest_int("c", 1, 100)
        self._trial.suggest_categorical("d", [1, 2, 3, 4])
        self._trial.suggest_categorical("e", ["x", "y", "z"])
        self._trial.suggest_float("f", 0, 1)
        self._trial.suggest_float("g", 0, 1, step=0.01)

    def train(self) -> None:
        for step in range(REPORTS):
            self._trial.report(1.0 / (step + 1), step)

    def go_on(self) -> None:
        self.end()
        self._ask()

    def end(self) -> None:
        self._study.tell(self._trial, 0.5)


@contextlib.contextmanager
def ours(folder: Path, index: int) -> Iterator[Worker]:
    host = f"node{index // PER_HOST}"
    on_host(host)
    with Study.open(home_of(folder, "bench"), a_worker(index, host)) as study:
        yield Ours(study)


@contextlib.contextmanager
def optunas(lock: type, folder: Path, index: int) -> Iterator[Worker]:
    sampler = optuna.samplers.RandomSampler(seed=index)
    storage = journal_storage(lock)(folder)
    yield Optunas(optuna.load_study(study_name="bench", storage=storage, sampler=sampler))  # type: ignore[arg-type]


def optuna_study(lock: type, folder: Path) -> None:
    folder.mkdir()
    optuna.create_study(study_name="bench", storage=journal_storage(lock)(folder))  # type: ignore[arg-type]


LOCKS = {
    "Optuna journal, open lock": optuna.storages.journal.JournalFileOpenLock,
    "Optuna journal, symlink lock": optuna.storages.journal.JournalFileSymlinkLock,
}
SYSTEMS: Mapping[str, tuple[Callable[[Path], object], Callable[[Path, int], AbstractContextManager[Worker]]]] = {
    "ours": (a_study, ours),
    **{name: (functools.partial(optuna_study, lock), functools.partial(optunas, lock)) for name, lock in LOCKS.items()},
}


def throughput(
    control: Control, folder: Path, told: Path, *, workers: int, delays: Sequence[float], system: str, seconds: float
) -> Iterator[Row]:
    """Trials per second of workers that do not train, and how long each waits between two trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    setup, opened = SYSTEMS[system]
    for delay in delays:
        here = folder / f"{delay}"
        setup(here)
        crew = Crew(workers, told / f"{delay}", functools.partial(_keep_going, opened, here))
        crew.meet()  # each has its first trial
        control.delay_s = delay
        crew.meet()
        time.sleep(seconds / 3)  # until they no longer all want the lock at the same moment
        before, busy = control.look(), Busy(crew)
        time.sleep(seconds)
        end, used = control.look(), busy.figures()
        look = end.since(before)
        crew.over.value = 1
        control.delay_s = 0
        heard = crew.hear()
        crew.join()
        ended = [[(a, b) for a, b in times if before.at < b <= end.at] for times in heard]
        counts = [len(times) for times in ended]
        # trials that run at the end count with the time so far: without them the longest waits would be missing
        under_way = [end.at - a for times in heard for a, b in times if a < end.at < b]
        waits = sorted([b - a for times in ended for a, b in times] + under_way)
        trials = sum(counts)
        yield (
            [1e3 * delay, workers, system],
            {
                "rate": trials / look.at,
                "p50": 1e3 * statistics.median(waits),
                "p99": 1e3 * waits[int(len(waits) * 0.99)],
                "max": 1e3 * waits[-1],
                "fewest": min(counts),
                "most": max(counts),
                "died": sum(process.exitcode != 0 for process in crew.processes),
                "lock": look.held_s / look.at if look.locks else math.nan,
                **used,
                **asked(look, per=max(1, trials)),
            },
        )


def _keep_going(
    opened: Callable[[Path, int], AbstractContextManager[Worker]], folder: Path, crew: Crew, index: int
) -> None:
    times: list[tuple[float, float]] = []
    with opened(folder, index) as worker:
        crew.meet()
        crew.meet()
        while not crew.over.value:
            worker.train()
            began = time.monotonic()
            worker.go_on()
            times.append((began, time.monotonic()))
        worker.end()
    crew.tell(index, times)


Row = tuple[list[float | int | str], Figures]
SECTIONS: Mapping[str, Callable[..., Iterator[Row]]] = {
    "start": start,
    "claims": claims,
    "reports": reports,
    "throughput": throughput,
}


def main() -> None:
    what, arguments = sys.argv[1], json.loads(sys.argv[2])
    processes.end_with_parent(signal.SIGKILL)
    warnings.simplefilter("ignore")  # "fork with threads": those of numeric libraries, which the children do not use
    logging.disable(logging.WARNING)  # a thousand warnings that the lock is busy; the rows show that
    if what == "prefill":
        prefilled(Path(arguments["folder"]), "tpe", arguments["trials"])
        return
    as_network_folder()
    if what == "hold":
        hold(Path(arguments["study"]), arguments["workers"])
        return
    control = Control()
    folder, told = Path(os.environ["SLOW_ROOT"]), Path(arguments.pop("told"))
    for key, figures in SECTIONS[what](control, folder, told, **arguments):
        print(json.dumps([key, figures]), flush=True)


if __name__ == "__main__":
    main()
