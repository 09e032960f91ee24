"""How does a study scale to many workers on a slow, shared file system?

The file system is simulated: ``slow.c`` delays each operation on the study's folder that would ask an NFS server by one
round trip, and counts operations by kind. ``scale_rows.py`` holds the measurements, of hpo-batch through ``Study`` and,
where the table says so, of Optuna's journal. All folders count as network folders, even at a delay of 0. *CPU busy* is
the share of all processors in use, in total and by the measured processes: a row near 100 % measures the processors and
not the file system.

    .venv/bin/python benchmarks/scale.py --start 16 64 256         # workers that start at once
    .venv/bin/python benchmarks/scale.py --claims 16 64 1000       # a claim while others run trials
    .venv/bin/python benchmarks/scale.py --reports 100 1000        # what reports cost, with and without a pruner
    .venv/bin/python benchmarks/scale.py --throughput 1 8 32 64    # trials per second, beside Optuna's journal
    .venv/bin/python benchmarks/scale.py --joining 10000 100000    # a worker that joins late
    .venv/bin/python benchmarks/scale.py --worker-start            # what a worker does before its first trial

Compare two checkouts in one run; they take turns, so that the load of the machine affects both alike:

    git worktree add ../before v0.1
    .venv/bin/python benchmarks/scale.py --start 16 64 256 --against ../before --rounds 3
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slow import build, environment, without

HERE = Path(__file__).resolve().parent
MEMORY_DISK = Path("/dev/shm")
LOCK = "journal.jsonl.flock"
SMALL = 0.05
"""kinds with fewer operations per trial or worker than this are not listed"""
OPTUNA_UP_TO = 100_000
"""finished trials up to which Optuna is measured: beyond, it takes minutes"""

OURS = "hpo-batch"
TEXTS = frozenset(
    {"call", "pruner", "system", "what", "code", "of these", "left over: lock + lease files", "after one more"}
)
"""columns that are not numbers"""

Figures = Mapping[str, float]
Key = tuple[object, ...]
"""what identifies a row, apart from the checkout"""
Row = tuple[str, Key, Figures]
"""the checkout, empty for Optuna"""
Column = tuple[str, Callable[[Figures], str]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question: the columns that identify a row, and those that answer."""

    text: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]


def number(name: str, digits: int = 0) -> Callable[[Figures], str]:
    def shown(figures: Figures) -> str:
        value = figures.get(name, math.nan)
        return "" if math.isnan(value) else f"{value:.{digits}f}"

    return shown


def percent(name: str, digits: int = 0) -> Callable[[Figures], str]:
    def shown(figures: Figures) -> str:
        value = figures.get(name, math.nan)
        return "" if math.isnan(value) else f"{100 * value:.{digits}f} %"

    return shown


def pair(template: str, *names: str) -> Callable[[Figures], str]:
    return lambda figures: template.format(*(f"{figures[name]:.0f}" for name in names))


def operations(figures: Figures) -> str:
    return f"{sum(count for name, count in figures.items() if name.startswith('ops.')):.1f}".removesuffix(".0")


def by_kind(figures: Figures) -> str:
    """Most frequent first."""
    kinds = {name.removeprefix("ops."): count for name, count in figures.items() if name.startswith("ops.")}
    told = sorted(((count, kind) for kind, count in kinds.items() if count > SMALL), key=lambda one: -one[0])
    return ", ".join(f"{count:.1f}".removesuffix(".0") + f" {kind}" for count, kind in told)


# --- rows that are measured under slow.c


def cases(section: str, options: argparse.Namespace) -> Iterator[tuple[bool, Mapping[str, object]]]:
    """The measurements, each a process: whether it runs our code, and its arguments for ``scale_rows.py``."""
    delays = [delay / 1e3 for delay in options.delays]
    for workers in getattr(options, section):
        common = {"workers": workers, "delays": delays}
        if section == "reports":
            for pruner in options.pruners:
                yield True, {**common, "pruner": pruner, "step": options.step, "seconds": options.seconds}
        elif section == "throughput":
            for system in options.systems:
                yield system == "ours", {**common, "system": system, "seconds": options.seconds}
        else:
            yield True, common


def slowed_rows(section: str, options: argparse.Namespace, codes: Mapping[str, Path], scratch: Path) -> Iterator[Row]:
    library = build(scratch)
    for _, (is_ours, arguments) in itertools.product(range(options.rounds), list(cases(section, options))):
        for name, code in codes.items() if is_ours else first(codes):
            told = Path(tempfile.mkdtemp(dir=scratch))
            with tempfile.TemporaryDirectory(dir=options.folder) as slow:
                slowed = environment(library, told / "control", Path(slow), lock=LOCK)
                argument = json.dumps({**arguments, "told": str(told)})
                printed = python(["scale_rows.py", section, argument], {**environ_of(code), **slowed})
            for line in printed.splitlines():
                key, figures = json.loads(line)
                yield name if is_ours else "", tuple(key), figures


def first(codes: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Whether this is the first checkout: what does not run our code is measured once."""
    return list(codes.items())[:1]


def environ_of(code: Path) -> dict[str, str]:
    """The environment for running the code of a checkout, without the user's settings."""
    kept = {n: v for n, v in without(os.environ).items() if not n.startswith(("HPO_BATCH_", "SLURM"))}
    return {**kept, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}


def python(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """Run a Python program in this folder and return what it prints."""
    return subprocess.run(
        [sys.executable, *argv], cwd=HERE, env=dict(environ), stdout=subprocess.PIPE, check=True, text=True
    ).stdout


# --- whole processes, on a disk without delays

JOINING = {
    OURS: (
        "import os; from pathlib import Path; from hpo_batch import processes;"
        "from hpo_batch.records import Idle, Owner;"
        "from hpo_batch.store.home import home_of; from hpo_batch.study.study import Study;"
        "pid = os.getpid();"
        "me = Owner(worker=f'late-{{pid}}', job='local', host=processes.host_name(), pid=pid,"
        " start=processes.started_at(pid), boot=processes.boot_id());\n"
        "with Study.open(home_of(Path({root!r}), 'bench'), me) as study: assert not isinstance(study.claim(), Idle)"
    ),
    "Optuna: load_study, ask": (
        "import optuna; optuna.logging.set_verbosity(40); from optuna.storages.journal import *;"
        "from optuna.storages import JournalStorage;"
        "study = optuna.load_study(study_name='bench', storage=JournalStorage(JournalFileBackend({journal!r})),"
        " sampler=optuna.samplers.TPESampler());"
        "trial = study.ask();"
        "trial.suggest_float('a', 0, 1); trial.suggest_float('b', 1e-5, 1e-1, log=True);"
        "trial.suggest_int('c', 1, 100000); trial.suggest_categorical('d', [1, 2, 3, 4]);"
        "trial.suggest_categorical('e', ['x', 'y', 'z']); trial.suggest_float('f', 0, 1);"
        "trial.suggest_float('g', 0, 1, step=0.01)"
    ),
}
ONE_TRIAL = """
[study]
name = "bench"
metric = "loss"
direction = "minimize"
trials = 1
[objective]
function = "scale_objective:train"
[space]
x = { low = 0.0, high = 1.0 }
[sampler]
name = "random"
"""
MAKE = """
import sys, time
from pathlib import Path
from hpo_batch.store.home import home_of
from hpo_batch.study.create import create
from hpo_batch.sweep.load import load
path = Path(sys.argv[1])
(sweep,) = load(path / "bench.toml")
create(home_of(path, sweep.path), sweep, toml=(path / "bench.toml").read_text(), now=time.time())
"""


STARTS = {
    "bare Python": ("-c", "pass"),
    "`import optuna`": ("-c", "import optuna"),
    "`hpo-batch worker`, one trial that does nothing": ("-m", "hpo_batch", "worker", "bench", "--root", "{root}"),
    "`hpo-batch worker`, nothing left to do": ("-m", "hpo_batch", "worker", "bench", "--root", "{root}"),
}
"""the order matters: the third takes the only trial"""


def joining_rows(section: str, options: argparse.Namespace, codes: Mapping[str, Path], scratch: Path) -> Iterator[Row]:
    for trials in options.joining:
        with tempfile.TemporaryDirectory(dir=options.folder) as root:
            ours = next(iter(codes.values()))
            python(["scale_rows.py", "prefill", json.dumps({"folder": root, "trials": trials})], environ_of(ours))
            texts = {"root": root, "journal": f"{root}/bench/journal.jsonl"}
            for _, (what, program) in itertools.product(range(options.rounds), JOINING.items()):
                is_ours = what == OURS
                if not is_ours and trials > OPTUNA_UP_TO:
                    continue
                for name, code in codes.items() if is_ours else first(codes):
                    figures = cost_of([sys.executable, "-c", program.format(**texts)], environ_of(code))
                    yield name if is_ours else "", (trials, what), figures


def start_rows(section: str, options: argparse.Namespace, codes: Mapping[str, Path], scratch: Path) -> Iterator[Row]:
    strace = shutil.which("strace")
    # one extra run before, which compiles the modules, and one after, in which calls are counted
    for turn in range(-1, options.rounds + bool(strace)):
        for name, code in codes.items():
            with tempfile.TemporaryDirectory(dir=options.folder) as root:
                environ = with_one_trial(Path(root), environ_of(code))
                for what, arguments in STARTS.items():
                    is_ours = "-m" in arguments
                    if not is_ours and (name, code) not in first(codes):
                        continue
                    argv = [sys.executable, *(argument.format(root=root) for argument in arguments)]
                    counted = turn == options.rounds
                    figures = file_calls(argv, environ, Path(root) / "calls") if counted else cost_of(argv, environ)
                    if turn >= 0:
                        yield name if is_ours else "", (what,), figures


def with_one_trial(root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Make a study of one trial and return the environment in which its objective can be imported."""
    (root / "bench.toml").write_text(ONE_TRIAL)
    (root / "scale_objective.py").write_text("def train(trial):\n    return {'loss': 0.5}\n")
    more = {**environ, "PYTHONPATH": f"{environ['PYTHONPATH']}{os.pathsep}{root}"}
    python(["-c", MAKE, str(root)], more)
    return more


def cost_of(argv: Sequence[str], environ: Mapping[str, str]) -> Figures:
    """Time and memory of a whole process. This one is small, so that the fork does not add to its peak memory."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, env=dict(environ), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{shlex.join(argv)} ended with {status}: {said.decode()[-1000:]}")
    wall = time.perf_counter() - began
    return {"cpu": usage.ru_utime + usage.ru_stime, "wall": wall, "megabytes": usage.ru_maxrss / 1024}


def file_calls(argv: Sequence[str], environ: Mapping[str, str], out: Path) -> Figures:
    strace = ["strace", "-f", "-qq", "-c", "-U", "calls,errors,name", "-e", "trace=%file", "-o", str(out)]
    subprocess.run([*strace, *argv], env=dict(environ), stderr=subprocess.DEVNULL, check=True)
    # the last line of strace -c is the total
    calls, *failed = (int(word) for word in out.read_text().splitlines()[-1].split()[:-1])
    return {"calls": calls, "failed": sum(failed)}


# --- tables

Measure = Callable[[str, argparse.Namespace, Mapping[str, Path], Path], Iterator[Row]]


def busy(figures: Figures) -> str:
    return f"{percent('cpu')(figures)} ({percent('cpu ours')(figures)})" if "cpu" in figures else ""


ROUND_TRIP = "round trip ms"
CPU = ("CPU busy (with this)", busy)
SECTIONS: dict[str, tuple[Section, Measure]] = {
    "start": (
        Section(
            text="Workers of an array that start at once: each opens the study, and claims its first trial. Afterwards "
            "half of them are killed and half end in order; then one more, on another host, comes and goes",
            keys=(ROUND_TRIP, "workers"),
            columns=(
                ("died", number("died")),
                ("first trial after s, median", number("median", 2)),
                ("last", number("last", 2)),
                ("last / workers, ms", number("per worker", 1)),
                ("operations per worker", operations),
                ("of these", by_kind),
                ("lock held", percent("lock")),
                ("left over: lock + lease files", pair("{} + {}", "left locks", "left leases")),
                ("after one more", pair("{} + {}", "later locks", "later leases")),
                CPU,
            ),
        ),
        slowed_rows,
    ),
    "claims": (
        Section(
            text="What a worker asks the file system while other workers, each on a host of its own, run a trial each",
            keys=(ROUND_TRIP, "running elsewhere", "call"),
            columns=(
                ("operations", operations),
                ("of these", by_kind),
                ("wall ms", number("wall", 1)),
                ("CPU ms", number("cpu ms", 1)),
                CPU,
            ),
        ),
        slowed_rows,
    ),
    "reports": (
        Section(
            text="What `Study.report` costs workers that train and report once in {step:g} s. Up to 64 processes are "
            "all the workers, each with a study and a running trial of its own; 6 trials have finished",
            keys=(ROUND_TRIP, "workers", "pruner"),
            columns=(
                ("a write every s", number("every")),
                ("writes/s wanted", number("wanted")),
                ("got", number("got")),
                ("blocked per write ms", number("blocked ms")),
                ("at most s", number("worst", 2)),
                ("time blocked", percent("blocked", 1)),
                ("lock held", percent("lock")),
                ("held ms per write", number("held ms", 1)),
                ("flock calls per write", number("flock", 1)),
                CPU,
            ),
        ),
        slowed_rows,
    ),
    "throughput": (
        Section(
            text="Trials per second of workers that train nothing: 10 reports, tell, claim, with the attempt's folder "
            "and the second copy of its result; how long it takes from a result to the next trial; file operations",
            keys=(ROUND_TRIP, "workers", "system"),
            columns=(
                ("trials/s", number("rate", 1)),
                ("next trial p50 ms", number("p50")),
                ("p99 ms", number("p99")),
                ("max ms", number("max")),
                ("fewest/most per worker", pair("{}/{}", "fewest", "most")),
                ("flock calls per trial", number("ops.flock", 1)),
                ("operations per trial", operations),
                ("of these", by_kind),
                ("lock held", percent("lock")),
                CPU,
                ("died", number("died")),
            ),
        ),
        slowed_rows,
    ),
    "joining": (
        Section(
            text="A worker that joins a study of so many finished trials: a new process up to its first trial, by TPE",
            keys=("finished trials", "what"),
            columns=(("CPU s", number("cpu", 2)), ("seconds", number("wall", 2)), ("peak MB", number("megabytes"))),
        ),
        joining_rows,
    ),
    "worker_start": (
        Section(
            text="What a process does to start. File calls: `strace -f -e trace=%file`, those that failed among them",
            keys=("what",),
            columns=(
                ("CPU ms", lambda figures: f"{1e3 * figures['cpu']:.0f}"),
                ("wall ms", lambda figures: f"{1e3 * figures['wall']:.0f}"),
                ("file calls", number("calls")),
                ("of these failed", number("failed")),
            ),
        ),
        start_rows,
    ),
}


def table(section: Section, found: Iterable[Row], *, with_code: bool) -> Iterator[str]:
    """Medians of the rows with one key and one checkout."""
    lists: dict[Key, dict[str, dict[str, list[float]]]] = {}
    for code, key, figures in found:
        for name, value in figures.items():
            lists.setdefault(key, {}).setdefault(code, {}).setdefault(name, []).append(value)
    heads = [*section.keys, *(["code"] if with_code else []), *(name for name, _ in section.columns)]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "|".join("---" if head in TEXTS else "---:" for head in heads) + "|"
    for key in sorted(lists, key=lambda key: [part for part in key if isinstance(part, int | float)]):
        for code, values in lists[key].items():
            medians = {name: statistics.median(several) for name, several in values.items()}
            parts = [f"{part:g}" if isinstance(part, float) else str(part) for part in key]
            cells = [*parts, *([code] if with_code else []), *(show(medians) for _, show in section.columns)]
            yield "| " + " | ".join(cells) + " |"


def machine(folder: Path | None) -> str:
    where = Path(folder or tempfile.gettempdir()).resolve()
    disk = "memory disk" if where.is_relative_to(MEMORY_DISK) else "local disk"
    return f"{len(os.sched_getaffinity(0))} processors, {disk}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, metavar in (
        ("start", [16, 64, 256], "WORKERS"),
        ("claims", [16, 64, 1000], "WORKERS"),
        ("reports", [100, 1000], "WORKERS"),
        ("throughput", [1, 8, 32, 64], "WORKERS"),
        ("joining", [10_000, 100_000, 300_000], "TRIALS"),
    ):
        shown = " ".join(map(str, default))
        parser.add_argument(f"--{name}", type=int, nargs="*", default=None, metavar=metavar, help=f"[alone: {shown}]")
        parser.set_defaults(**{f"{name}_default": default})
    parser.add_argument("--worker-start", action="store_true")
    parser.add_argument("--delays", type=float, nargs="+", default=[0, 0.5, 2], help="round-trip times in ms [0 0.5 2]")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each row, of which medians are shown [1]")
    parser.add_argument(
        "--against", type=Path, default=None, help="another checkout to compare with; the two take turns"
    )
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="seconds for which reports and throughput are measured [15]"
    )
    parser.add_argument("--step", type=float, default=1.0, help="seconds between two reports of a worker [1]")
    parser.add_argument("--pruners", nargs="+", default=["none", "median"])
    parser.add_argument(
        "--systems", nargs="+", default=["ours", "Optuna journal, open lock"],
        help="also: 'Optuna journal, symlink lock'",
    )  # fmt: skip
    disk = MEMORY_DISK if MEMORY_DISK.is_dir() else None
    parser.add_argument("--folder", type=Path, default=disk, help=f"on which disk [{disk or 'the temporary folder'}]")
    options = parser.parse_args()
    wanted = [name for name in SECTIONS if getattr(options, name) not in (None, False)]
    if not wanted:
        parser.error(f"say what is to be measured: {', '.join('--' + name.replace('_', '-') for name in SECTIONS)}")
    codes = {"this": HERE.parent}
    if options.against is not None:
        codes = {options.against.resolve().name: options.against.resolve(), **codes}
    with tempfile.TemporaryDirectory() as scratch:
        for name in wanted:
            if getattr(options, name) == []:
                setattr(options, name, getattr(options, f"{name}_default"))
            section, measure = SECTIONS[name]
            lines = list(table(section, measure(name, options, codes, Path(scratch)), with_code=len(codes) > 1))
            command = f"benchmarks/scale.py {shlex.join(sys.argv[1:])}"
            runs = f", medians of {options.rounds}" if options.rounds > 1 else ""
            print(f"{section.text.format(step=options.step)}. {machine(options.folder)}{runs}; `{command}`:\n")
            print(*lines, "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
