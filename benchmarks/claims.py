"""How many no-op trials per second can W workers claim, report and tell, and how long does the slowest wait?

The systems take turns on one disk with the same work: 7 parameters drawn at random, 10 reports, tell. hpo-batch runs
`Study.claim`, `report` and `tell`, and writes the attempt's folder and the second copy of the result as in a real
sweep. It is compared with Optuna's journal under both of its file locks, with Optuna on SQLite, and with a bare queue
of files claimed by renaming: a lower bound that syncs one result file per trial and checks nothing.

    .venv/bin/python benchmarks/claims.py --workers 1 8 32 64 --seconds 8
    .venv/bin/python benchmarks/claims.py --workers 64 --train 1    # trials of one second, closer to a real sweep
    .venv/bin/python benchmarks/claims.py --growth 100 1000 10000 100000
    .venv/bin/python benchmarks/claims.py --exactly 1000 --workers 64
    .venv/bin/python benchmarks/claims.py --reading 10000 100000
    .venv/bin/python benchmarks/claims.py --reporting 1000 100000    # whole reports: CPU s and the peak of memory
    .venv/bin/python benchmarks/claims.py --draws 100 1000 10000 100000
    .venv/bin/python benchmarks/claims.py --joining 10000 100000 300000
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from hpo_batch import processes
from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import Journal
from hpo_batch.records import Complete, Idle, Owner, TrialState
from hpo_batch.space.space import Space
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.create import create
from hpo_batch.study.journal_params import JournalParams
from hpo_batch.study.study import Study
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Sweep

REPORTS = 10
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
c = {{ low = 1, high = 100000 }}
d = [1, 2, 3, 4]
e = ["x", "y", "z"]
f = {{ low = 0.0, high = 1.0 }}
g = {{ low = 0.0, high = 1.0, step = 0.01 }}
[sampler]
name = "{sampler}"
"""


@dataclass(kw_only=True)
class Times:
    """Latencies in seconds, one entry per trial."""

    claims: list[float] = field(default_factory=list)
    trials: list[float] = field(default_factory=list)


Body = Callable[[Path, int], AbstractContextManager[Callable[[Times, float], None]]]
"""opens the study in a folder as worker i and returns a function that runs one trial; start-up is not measured"""


def a_sweep(root: Path, sampler: str) -> Sweep:
    path = root / "bench.toml"
    path.write_text(SWEEP.format(sampler=sampler))
    (sweep,) = load(path)
    return sweep


def ours_setup(root: Path) -> None:
    create(home_of(root, "bench"), a_sweep(root, "random"), toml="", now=time.time())


@contextlib.contextmanager
def ours(root: Path, index: int) -> Iterator[Callable[[Times, float], None]]:
    with Study.open(home_of(root, "bench"), owner(index)) as study:

        def trial(times: Times, train_s: float) -> None:
            began = time.perf_counter()
            given = study.claim()
            times.claims.append(time.perf_counter() - began)
            if isinstance(given, Idle):
                raise RuntimeError(given.why.value)
            study.open_attempt(given[0])
            time.sleep(train_s)
            for step in range(REPORTS):
                study.reports.add(given[0], step, {"loss": 1.0 / (step + 1)})
            study.tell(given[0], Complete(values=(0.5,), metrics={"loss": 0.5}))
            times.trials.append(time.perf_counter() - began)

        yield trial


@contextlib.contextmanager
def optunas(make_storage: Callable[[Path], object], root: Path, index: int) -> Iterator[Callable[[Times, float], None]]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=index)
    study = optuna.load_study(study_name="bench", storage=make_storage(root), sampler=sampler)  # type: ignore[arg-type]

    def run(times: Times, train_s: float) -> None:
        began = time.perf_counter()
        trial = study.ask()
        trial.suggest_float("a", 0, 1)
        trial.suggest_float("b", 1e-5, 1e-1, log=True)
        trial.suggest_int("c", 1, 100000)
        trial.suggest_categorical("d", [1, 2, 3, 4])
        trial.suggest_categorical("e", ["x", "y", "z"])
        trial.suggest_float("f", 0, 1)
        trial.suggest_float("g", 0, 1, step=0.01)
        times.claims.append(time.perf_counter() - began)
        time.sleep(train_s)
        for step in range(REPORTS):
            trial.report(1.0 / (step + 1), step)
        study.tell(trial, 0.5)
        times.trials.append(time.perf_counter() - began)

    yield run


def journal_storage(lock: type) -> Callable[[Path], object]:
    def make(root: Path) -> object:
        path = str(root / "journal.log")
        backend = optuna.storages.journal.JournalFileBackend(path, lock_obj=lock(path))
        return optuna.storages.JournalStorage(backend)

    return make


def sqlite_storage(root: Path) -> object:
    return optuna.storages.RDBStorage(f"sqlite:///{root / 'study.db'}", engine_kwargs={"connect_args": {"timeout": 60}})


def optuna_body(make: Callable[[Path], object]) -> tuple[Callable[[Path], None], Body]:
    def setup(root: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        optuna.create_study(study_name="bench", storage=make(root))  # type: ignore[arg-type]

    return setup, functools.partial(optunas, make)


def queue_setup(root: Path) -> None:
    for name in ("waiting", "running", "done"):
        (root / name).mkdir()
    for i in range(200_000):
        (root / "waiting" / str(i)).touch()


@contextlib.contextmanager
def rename_queue(root: Path, index: int) -> Iterator[Callable[[Times, float], None]]:
    step = 3001 * (index + 1)
    number = index

    def trial(times: Times, train_s: float) -> None:
        nonlocal number
        began = time.perf_counter()
        while True:
            number = (number + step) % 200_000
            try:
                (root / "waiting" / str(number)).rename(root / "running" / str(number))
                break
            except FileNotFoundError:
                number += 1
        times.claims.append(time.perf_counter() - began)
        time.sleep(train_s)
        with open(root / "running" / str(number), "w") as file:
            json.dump({"steps": [1.0 / (s + 1) for s in range(REPORTS)], "value": 0.5}, file)
            file.flush()
            os.fsync(file.fileno())
        (root / "running" / str(number)).rename(root / "done" / str(number))
        times.trials.append(time.perf_counter() - began)

    yield trial


SYSTEMS: dict[str, tuple[Callable[[Path], None], Body]] = {
    "ours": (ours_setup, ours),
    "Optuna journal, symlink lock": optuna_body(journal_storage(optuna.storages.journal.JournalFileSymlinkLock)),
    "Optuna journal, open lock": optuna_body(journal_storage(optuna.storages.journal.JournalFileOpenLock)),
    "Optuna SQLite": optuna_body(sqlite_storage),
    "rename queue": (queue_setup, rename_queue),
}


def owner(index: int) -> Owner:
    pid = os.getpid()
    return Owner(
        worker=f"bench{pid}-{index}", job="local", host=processes.host_name(), pid=pid,
        start=processes.started_at(pid), boot=processes.boot_id(),
    )  # fmt: skip


def measure(name: str, workers: int, seconds: float, train_s: float, folder: Path) -> str:
    """One row: trials per second, claim latencies, fairness."""
    setup, body = SYSTEMS[name]
    setup(folder)
    context = multiprocessing.get_context("fork")  # forked from this preloaded process: start-up is not measured
    results: multiprocessing.Queue[tuple[list[float], list[float]]] = context.Queue()
    barrier = context.Barrier(workers)

    def child(index: int) -> None:
        warnings.simplefilter("ignore")
        times = Times()
        try:
            with body(folder, index) as trial:
                barrier.wait()
                until = time.monotonic() + seconds
                time.sleep(train_s * index / workers)  # real workers do not all claim at the same moment
                while time.monotonic() < until:
                    trial(times, train_s)
        finally:
            results.put((times.claims, times.trials))

    children = [context.Process(target=child, args=(i,)) for i in range(workers)]
    for process in children:
        process.start()
    collected = [results.get(timeout=seconds * 20 + 120) for _ in children]
    for process in children:
        process.join()
    died = sum(1 for process in children if process.exitcode)
    claims = sorted(latency for one, _ in collected for latency in one)
    counts = [len(trials) for _, trials in collected]
    p99 = claims[int(len(claims) * 0.99)] if claims else float("nan")
    return (
        f"| {name} | {workers} | {sum(counts) / seconds:.0f} | {statistics.median(claims) * 1e3:.1f} "
        f"| {p99 * 1e3:.0f} | {claims[-1] * 1e3:.0f} | {min(counts)}/{max(counts)} | {died or ''} |"
    )


def prefilled(root: Path, sampler: str, trials: int) -> StudyHome:
    """Write a study with finished trials, as our workers would have written them."""
    import random

    sweep = a_sweep(root, sampler)
    home = home_of(root, "bench")
    create(home, sweep, toml="", now=time.time())
    write, rng, records = Writer("prefill"), random.Random(0), []
    space: Space = sweep.space
    stored, journal = JournalParams(space), Journal(home.journal)
    for i in range(trials):
        values = {
            "a": rng.random(), "b": 10 ** rng.uniform(-5, -1), "c": rng.randint(1, 100000), "d": rng.randint(1, 4),
            "e": rng.choice("xyz"), "f": rng.random(), "g": rng.randint(0, 100) / 100,
        }  # fmt: skip
        configuration = space.resolve(values)
        params, distributions = stored(configuration)
        facts = {"key": configuration.key, "seeds": [i], "origin": sampler, "revision": 1, "derived": {}}
        attempt = {"worker": "w-0", "job": "1_0", "host": "n1", "pid": 1, "start": 0, "boot": "", "gpus": ["0"],
                   "submission": "s", "token": "t", "started": 1.0}  # fmt: skip
        attrs = {"hpo:trial": facts, "hpo:attempt:1": attempt}
        records.append(
            write.create_trial(
                now=1.0, state=TrialState.RUNNING, params=params, distributions=distributions, system_attrs=attrs
            )
        )
        records += [write.report(i, step, 1.0 / (step + 1)) for step in range(REPORTS)]
        records.append(write.metric(i, "loss", 0.5))
        records.append(write.trial_attr(i, "hpo:ended:1", {"how": "complete", "time": 2.0}))
        records.append(write.trial_state(i, TrialState.COMPLETE, now=2.0, values=[rng.random()]))
        if (
            len(records) > 100_000 or i + 1 == trials
        ):  # in chunks: the records of a large study take gigabytes of memory
            with journal.transaction() as transaction:
                transaction.append(records, sync=True)
            records.clear()
    return home


def growth(sampler: str, trials: int, folder: Path, *, claims: int = 30) -> str:
    """One row: opening the study, then the median claim and tell of one worker after so many finished trials."""
    home = prefilled(folder, sampler, trials)
    began = time.perf_counter()
    with Study.open(home, owner(0)) as study:
        first = study.claim()
        opened = time.perf_counter() - began
        assert not isinstance(first, Idle)
        claim_times, tell_times = [], []
        for _ in range(claims):
            began = time.perf_counter()
            given = study.claim()
            claim_times.append(time.perf_counter() - began)
            assert not isinstance(given, Idle)
            study.open_attempt(given[0])
            began = time.perf_counter()
            study.tell(given[0], Complete(values=(0.5,), metrics={"loss": 0.5}))
            tell_times.append(time.perf_counter() - began)
    claim, tell = statistics.median(claim_times) * 1e3, statistics.median(tell_times) * 1e3
    return f"| {sampler} | {trials} | {opened * 1e3:.0f} | {claim:.1f} | {tell:.1f} |"


DRAWS = "| sampler | finished trials | first draw CPU ms | draw CPU ms |\n|---|---:|---:|---:|"


def draws(sampler: str, trials: int, folder: Path, *, times: int = 15) -> str:
    """One row: median CPU time of the draw that a claim makes before it takes the lock; the first is left out.

    Between two draws a trial is claimed and told, as in a sweep: a draw from an unchanged history could be cached.
    """
    home = prefilled(folder, sampler, trials)
    with Study.open(home, owner(0)) as study:
        taken = []
        for _ in range(times + 1):
            began = time.process_time()
            study.claims.draw(again=False)
            taken.append((time.process_time() - began) * 1e3)
            given = study.claim()
            assert not isinstance(given, Idle)
            study.tell(given[0], Complete(values=(0.5,), metrics={"loss": 0.5}))
    return f"| {sampler} | {trials} | {taken[0]:.0f} | {statistics.median(taken[1:]):.1f} |"


JOINING = (
    "| sampler | finished trials | imports CPU s | open CPU s | first claim CPU s | whole process CPU s | MB |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)
JOINER = """
import os, sys, time
from hpo_batch import processes
from hpo_batch.records import Complete, Owner
from hpo_batch.store.home import home_of
from hpo_batch.study.study import Study
from pathlib import Path
pid = os.getpid()
owner = Owner(worker=f"bench{{pid}}-0", job="local", host=processes.host_name(), pid=pid,
              start=processes.started_at(pid), boot=processes.boot_id())
times = [time.process_time()]
with Study.open(home_of(Path({root!r}), "bench"), owner) as study:
    times.append(time.process_time())
    given = study.claim()
    times.append(time.process_time())
    study.tell(given[0], Complete(values=(0.5,), metrics={{"loss": 0.5}}))
print(*times)
"""
"""program of a worker up to its first trial; it tells a result, so that the next worker has to draw as well"""


def joining(sampler: str, trials: int, folder: Path, *, runs: int = 3) -> str:
    """One row: median CPU time and memory of a worker that joins a study of so many finished trials."""
    filling = multiprocessing.get_context("spawn").Process(target=prefilled, args=(folder, sampler, trials))
    filling.start()
    filling.join()
    found = []
    for _ in range(runs):
        process = subprocess.Popen(
            [sys.executable, "-c", JOINER.format(root=str(folder))], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        imported, opened, claimed = map(float, process.stdout.read().split())
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"the worker ended with {status}")
        whole = usage.ru_utime + usage.ru_stime
        found.append((imported, opened - imported, claimed - opened, whole, usage.ru_maxrss / 1024))
    *seconds, megabytes = map(statistics.median, zip(*found, strict=True))
    return f"| {sampler} | {trials} | " + " | ".join(f"{s:.2f}" for s in seconds) + f" | {megabytes:.0f} |"


def exactly(wanted: int, workers: int, folder: Path) -> str:
    """One row: how many workers run a sweep of an exact number of trials in a space of choices."""
    path = folder / "exact.toml"
    choices = "\n".join(f"{name} = [1, 2, 3, 4, 5]" for name in "abcdefg")
    head = SWEEP.format(sampler="random").partition("[space]")[0].replace("10_000_000", str(wanted))
    path.write_text(f'{head}[space]\n{choices}\n[sampler]\nname = "random"\n')
    (sweep,) = load(path)
    home = home_of(folder, "bench")
    create(home, sweep, toml="", now=time.time())
    context = multiprocessing.get_context("fork")

    def child(index: int) -> None:
        with Study.open(home, owner(index)) as study:
            while not isinstance(given := study.claim(), Idle):
                study.open_attempt(given[0])
                study.tell(given[0], Complete(values=(0.5,), metrics={"loss": 0.5}))

    began = time.perf_counter()
    children = [context.Process(target=child, args=(i,)) for i in range(workers)]
    for process in children:
        process.start()
    for process in children:
        process.join()
    seconds = time.perf_counter() - began
    died = sum(1 for process in children if process.exitcode)
    study = optuna.load_study(study_name="bench", storage=plain(home.journal))
    states = collections.Counter(trial.state.name for trial in study.get_trials(deepcopy=False))
    different = {tuple(sorted(trial.params.items())) for trial in study.get_trials(deepcopy=False)}
    repeats = sum(states.values()) - len(different)
    return f"| {workers} | {wanted} | {dict(states)} | {repeats} | {died} | {seconds:.1f} |"


def plain(journal: Path) -> optuna.storages.JournalStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))


READERS = {
    "hpo-batch status": "import sys; sys.argv = ['hpo-batch', 'status', 'bench', '--root', {root!r}]; "
    "from hpo_batch.cli.main import main; main()",
    "Optuna: open, count, best": (
        "import optuna, collections; optuna.logging.set_verbosity(40); from optuna.storages.journal import *;"
        "from optuna.storages import JournalStorage;"
        "study = optuna.load_study(study_name='bench', storage=JournalStorage(JournalFileBackend({journal!r})));"
        "print(collections.Counter(t.state for t in study.get_trials(deepcopy=False)), study.best_value)"
    ),
    "our scan alone": (
        "from pathlib import Path; from hpo_batch.study.read import read_state;"
        "from hpo_batch.store.home import home_of; print(read_state(home_of(Path({root!r}), 'bench')).counts())"
    ),
    "hpo-batch collect --format csv": (
        "import sys; sys.argv = ['hpo-batch', 'collect', 'bench', '--root', {root!r}, '-o', {out!r}]; "
        "from hpo_batch.cli.main import main; main()"
    ),
    "Optuna: trials_dataframe().to_csv()": (
        "import optuna; optuna.logging.set_verbosity(40); from optuna.storages.journal import *;"
        "from optuna.storages import JournalStorage;"
        "study = optuna.load_study(study_name='bench', storage=JournalStorage(JournalFileBackend({journal!r})));"
        "study.trials_dataframe().to_csv({out!r})"
    ),
}
"""whole processes, as a user starts them"""


READING = "| finished trials | what | CPU s | seconds | peak MB |\n|---:|---|---:|---:|---:|"
REPORTERS = {
    "hpo-batch report": "import sys; "
    "sys.argv = ['hpo-batch', 'report', 'bench', '--root', {root!r}, '-o', {root!r} + '/report']; "
    "from hpo_batch.cli.main import main; main()",
}


def reading(trials: int, folder: Path, readers: dict[str, str], *, runs: int = 3) -> Iterator[str]:
    """Rows: median time and memory of each reader of a study of so many finished trials; the readers take turns."""
    # in a process of its own: ru_maxrss of children is a maximum over all that this process has waited for
    filling = multiprocessing.get_context("spawn").Process(target=prefilled, args=(folder, "random", trials))
    filling.start()
    filling.join()
    home = home_of(folder, "bench")
    texts = {"root": str(folder), "journal": str(home.journal), "out": str(folder / "out.csv")}
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    cpu: dict[str, list[float]] = {name: [] for name in readers}
    megabytes: dict[str, float] = {}
    for _ in range(runs):
        for name, code in readers.items():
            began = time.perf_counter()
            process = subprocess.Popen([sys.executable, "-c", code.format(**texts)], stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                raise RuntimeError(f"{name} ended with {status}")
            seconds[name].append(time.perf_counter() - began)
            cpu[name].append(usage.ru_utime + usage.ru_stime)
            megabytes[name] = max(megabytes.get(name, 0.0), usage.ru_maxrss / 1024)
    for name in readers:
        middle = f"{statistics.median(cpu[name]):.2f} | {statistics.median(seconds[name]):.2f}"
        yield f"| {trials} | {name} | {middle} | {megabytes[name]:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 8, 32, 64])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--train", type=float, default=0.0, help="seconds between claim and reports [default: 0]")
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument(
        "--growth",
        type=int,
        nargs="*",
        default=None,
        help="numbers of finished trials at which to measure claim and tell",
    )
    parser.add_argument("--samplers", nargs="*", default=["random", "tpe"])
    parser.add_argument("--exactly", type=int, default=None, help="number of trials of a sweep that the workers share")
    parser.add_argument(
        "--reading", type=int, nargs="*", default=None, help="numbers of finished trials at which to measure readers"
    )
    parser.add_argument(
        "--reporting", type=int, nargs="*", default=None, help="numbers of finished trials at which to measure reports"
    )
    parser.add_argument(
        "--draws", type=int, nargs="*", default=None, help="numbers of finished trials at which to measure draws"
    )
    parser.add_argument(
        "--joining", type=int, nargs="*", default=None, help="numbers of finished trials at which to measure joining"
    )
    parser.add_argument(
        "--folder", type=Path, default=None, help="folder for the studies [default: the temporary folder]"
    )
    options = parser.parse_args()
    # remove them only at the end: after many removals, ext4 creates files more slowly for a while
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for row in rows(options, map(Path, iter(lambda: tempfile.mkdtemp(dir=folder), None))):
            print(row, flush=True)


def rows(options: argparse.Namespace, folders: Iterator[Path]) -> Iterator[str]:
    if options.growth is not None:
        yield "| sampler | finished trials | open + first claim ms | claim ms | tell ms |\n|---|---:|---:|---:|---:|"
        for sampler in options.samplers:
            for trials in options.growth:
                yield growth(sampler, trials, next(folders))
    elif options.draws is not None:
        yield DRAWS
        for sampler in options.samplers:
            for trials in options.draws:
                yield draws(sampler, trials, next(folders))
    elif options.joining is not None:
        yield JOINING
        for sampler in options.samplers:
            for trials in options.joining:
                yield joining(sampler, trials, next(folders))
    elif options.reading is not None:
        yield READING
        for trials in options.reading:
            yield from reading(trials, next(folders), READERS)
    elif options.reporting is not None:
        yield READING
        for trials in options.reporting:
            yield from reading(trials, next(folders), REPORTERS)
    elif options.exactly is not None:
        yield "| workers | asked for | in the journal | repeats | died | seconds |\n|---:|---:|---|---:|---:|---:|"
        for workers in options.workers:
            yield exactly(options.exactly, workers, next(folders))
    else:
        yield "| system | workers | trials/s | claim p50 ms | p99 ms | max ms | fewest/most per worker | died |"
        yield "|---|---:|---:|---:|---:|---:|---:|---:|"
        for workers in options.workers:
            for name in options.systems:
                yield measure(name, workers, options.seconds, options.train, next(folders))


if __name__ == "__main__":
    main()
