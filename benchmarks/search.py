"""How good is the best configuration after 20, 50 and 100 trials, how many were repeated, how much was covered?

Compares hpo-batch and plain Optuna on tables of real training runs (a folder of ``.npz``) and on functions with what
the tables lack: real parameters, a condition, constraints. W workers are simulated in one process: each trial takes a
random time, and a worker that has finished one tells its result and asks for the next. hpo-batch uses ``Study.claim``
and ``tell`` of W workers on one journal in /dev/shm; Optuna ``ask`` and ``tell`` of W studies on one in-memory storage,
each with a sampler and a seed of its own. A trial sees one seed of its configuration; systems are compared by the mean
over the seeds.

    .venv/bin/python benchmarks/search.py --tables TABLES --seeds 20 --keep runs.jsonl
    .venv/bin/python benchmarks/search.py --tables TABLES --seeds 20 --first-seed 100 --ours "startup_trials = 10"
    .venv/bin/python benchmarks/search.py --seeds 4 --systems hpo-batch "Optuna TPE"    # the functions alone
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import heapq
import itertools
import json
import math
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import optuna

from benchmarks.search_problems import Problem, functions, space_of, tables
from hpo_batch import processes
from hpo_batch.records import Claim, Complete, Configuration, Idle, Owner
from hpo_batch.space.cells import expected_distinct, projected_cells, size
from hpo_batch.space.parameters import Choices, Integer, Searched
from hpo_batch.store.home import home_of
from hpo_batch.study.create import create
from hpo_batch.study.study import Study
from hpo_batch.sweep.load import load

AFTER = (20, 50, 100)
OURS = "hpo-batch"
THEIRS = "Optuna TPE"
SPREAD = 0.5
"""standard deviation of the logarithm of a trial's duration"""
RESAMPLES = 10_000
MEMORY = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One trial of a run."""

    configuration: Configuration
    loss: float
    """as the trial saw it; infinite if the configuration violates a constraint and was not trained"""
    true: float


@dataclass(frozen=True, kw_only=True)
class After:
    """The state of a run after some number of trials."""

    best: float
    """regret of the best configuration tried"""
    winner: float
    """regret of the configuration whose trial looked best"""
    repeats: int
    invalid: int
    covered: int


Ask = Callable[[int], Any]
"""called with the worker's index: the next trial, None if there is none"""
Tell = Callable[[int, Any, int], Ended]
"""called with the worker, the trial, and the trial's position in order of starts"""


def simulated(ask: Ask, tell: Tell, *, workers: int, trials: int, seed: int) -> list[Ended]:
    """The trials in the order in which they ended. The n-th one takes equally long in every system."""
    rng = random.Random(seed)
    durations = [rng.lognormvariate(0.0, SPREAD) for _ in range(trials)]
    running: list[tuple[float, int, int, Any]] = []
    ended: list[Ended] = []
    numbers = iter(range(trials))

    def start(worker: int, now: float) -> None:
        number = next(numbers, None)
        trial = None if number is None else ask(worker)
        if number is not None and trial is not None:
            heapq.heappush(running, (now + durations[number], number, worker, trial))

    for worker in range(workers):
        start(worker, 0.0)
    while running:
        now, number, worker, trial = heapq.heappop(running)
        ended.append(tell(worker, trial, number))
        start(worker, now)
    return ended


def trained(problem: Problem, configuration: Configuration, seed: int, number: int) -> Ended:
    """The noise, or the seed of the table, of the n-th trial: the same in every system."""
    values = configuration.values
    loss = problem.noisy(values, random.Random(f"{seed}/{number}"))
    return Ended(configuration=configuration, loss=loss, true=problem.true(values))


def ours(problem: Problem, options: str, *, workers: int, trials: int, seed: int) -> list[Ended]:
    text = (
        f'[study]\nname = "s"\nmetric = "loss"\ndirection = "{problem.direction}"\ntrials = {trials}\n'
        f'[objective]\nfunction = "nothing:called"\n[sampler]\nseed = {seed}\n{options}\n'
    )
    if "coverage_share" in options:
        text += f"coverage = {json.dumps(problem.coverage)}\n"
    root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        (root / "s.toml").write_text(f"{text}[space]\n{problem.space}")
        (sweep,) = load(root / "s.toml")
        home = home_of(root, "s")
        create(home, sweep, toml="", now=time.time())
        with contextlib.ExitStack() as stack:
            studies = [stack.enter_context(Study.open(home, _owner(worker))) for worker in range(workers)]

            def ask(worker: int) -> Claim | None:
                given = studies[worker].claim()
                return None if isinstance(given, Idle) else given[0]

            def tell(worker: int, claim: Claim, number: int) -> Ended:
                ended = trained(problem, claim.configuration, seed, number)
                value = problem.told(ended.loss)
                studies[worker].tell(claim, Complete(values=(value,), metrics={"loss": value}))
                return ended

            return simulated(ask, tell, workers=workers, trials=trials, seed=seed)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _owner(index: int) -> Owner:
    pid = os.getpid()
    return Owner(
        worker=f"bench{pid}-{index}", job="local", host=processes.host_name(), pid=pid,
        start=processes.started_at(pid), boot=processes.boot_id(),
    )  # fmt: skip


Samplers = Callable[[Problem, int, int], optuna.samplers.BaseSampler]
"""called with problem, seed of the run and worker; QMC and grid need one seed for all workers, as Optuna documents"""

OPTUNA: dict[str, Samplers] = {
    "Optuna TPE": lambda problem, seed, worker: optuna.samplers.TPESampler(seed=1000 * seed + worker),
    "Optuna random": lambda problem, seed, worker: optuna.samplers.RandomSampler(seed=1000 * seed + worker),
    "Optuna QMC": lambda problem, seed, worker: optuna.samplers.QMCSampler(seed=seed, scramble=True),
    "Optuna grid": lambda problem, seed, worker: optuna.samplers.GridSampler(_grid(problem), seed=seed),
}


def _grid(problem: Problem) -> dict[str, Sequence[Any]]:
    return {parameter.name: parameter.cells or () for parameter in space_of(problem.space).searched}


def optunas(problem: Problem, make: Samplers, *, workers: int, trials: int, seed: int) -> list[Ended]:
    """Optuna as used by hand: a configuration that violates a constraint is a pruned trial, which TPE ranks last."""
    space = space_of(problem.space)
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(storage=storage, study_name="s", direction=problem.direction)
    studies = [
        optuna.load_study(storage=storage, study_name="s", sampler=make(problem, seed, worker))
        for worker in range(workers)
    ]

    def ask(worker: int) -> tuple[optuna.Trial, Configuration]:
        trial = studies[worker].ask()
        return trial, space.decide(lambda parameter: _suggest(trial, parameter))

    def tell(worker: int, asked: tuple[optuna.Trial, Configuration], number: int) -> Ended:
        trial, configuration = asked
        if space.why_invalid(configuration) is not None:
            studies[worker].tell(trial, state=optuna.trial.TrialState.PRUNED)
            return Ended(configuration=configuration, loss=math.inf, true=math.inf)
        ended = trained(problem, configuration, seed, number)
        studies[worker].tell(trial, problem.told(ended.loss))
        return ended

    return simulated(ask, tell, workers=workers, trials=trials, seed=seed)


def _suggest(trial: optuna.Trial, parameter: Searched) -> Any:
    if isinstance(parameter, Choices):
        return trial.suggest_categorical(parameter.name, parameter.values)
    name, low, high, log = parameter.name, parameter.low, parameter.high, parameter.log
    if isinstance(parameter, Integer):
        return trial.suggest_int(name, low, high, step=parameter.step, log=log)
    return trial.suggest_float(name, low, high, step=parameter.step, log=log)


def after(problem: Problem, ended: Sequence[Ended]) -> After:
    """The state of a run after those trials; lower regrets are better."""
    keys = [trial.configuration.key for trial in ended]
    valid = [trial for trial in ended if math.isfinite(trial.loss)]
    cells = {tuple(trial.configuration.values.get(name) for name in problem.coverage) for trial in valid}
    winner = min(valid, key=lambda trial: trial.loss)
    return After(
        best=problem.regret(min(trial.true for trial in valid)),
        winner=problem.regret(winner.true),
        repeats=len(keys) - len(set(keys)),
        invalid=len(ended) - len(valid),
        covered=len(cells),
    )


# Figures


def interval(values: Sequence[float]) -> tuple[float, float]:
    """A bootstrap 95 % interval of the mean."""
    numbers = np.asarray(values, dtype=float)
    picks = np.random.default_rng(0).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    low, high = np.percentile(numbers[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def p_value(differences: Sequence[float]) -> float:
    """Two-sided sign-flip p value for a mean of 0."""
    numbers = np.asarray(differences, dtype=float)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(RESAMPLES, len(numbers)))
    as_large = np.abs((signs * numbers).mean(axis=1)) >= abs(numbers.mean()) - 1e-12
    return float((1 + as_large.sum()) / (1 + RESAMPLES))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for the number of comparisons (Holm)."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        corrected[i] = highest
    return corrected


@dataclass(frozen=True, kw_only=True)
class Run:
    problem: str
    system: str
    workers: int
    seed: int


Runs = dict[Run, dict[int, After]]


def one(run: Run, trials: int) -> tuple[Run, dict[int, After], float]:
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem = PROBLEMS[run.problem]
    began = time.perf_counter()
    settings = {"workers": run.workers, "trials": trials, "seed": run.seed}
    if run.system in OPTUNA:
        ended = optunas(problem, OPTUNA[run.system], **settings)
    else:
        ended = ours(problem, run.system.removeprefix(OURS).strip(" ,").replace("; ", "\n"), **settings)
    marks = [n for n in AFTER if n < trials] + [trials]
    return run, {n: after(problem, ended[:n]) for n in marks}, time.perf_counter() - began


PROBLEMS: dict[str, Problem] = {}
"""by name; a global, because forked processes inherit it"""


def measure(wanted: Sequence[Run], trials: int, processes_at_once: int, keep: Path | None) -> Runs:
    """Make the runs that are not in the file yet."""
    done: Runs = {}
    if keep is not None and keep.exists():
        for line in keep.read_text().splitlines():
            kept = json.loads(line)
            done[Run(**kept["run"])] = {int(n): After(**figures) for n, figures in kept["after"].items()}
    missing = [run for run in wanted if run not in done]
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore", DeprecationWarning)  # "fork with threads": the children use none of them
        pool = stack.enter_context(multiprocessing.get_context("fork").Pool(processes_at_once, maxtasksperchild=50))
        for i, (run, figures, seconds) in enumerate(
            pool.imap_unordered(functools.partial(one, trials=trials), missing)
        ):
            done[run] = figures
            if keep is not None:
                with open(keep, "a") as file:
                    after_n = {n: asdict(figure) for n, figure in figures.items()}
                    file.write(json.dumps({"run": asdict(run), "after": after_n, "seconds": round(seconds, 2)}) + "\n")
            if sys.stderr.isatty() or i % 50 == 49:
                print(f"{i + 1} of {len(missing)} runs", file=sys.stderr)
    return {run: done[run] for run in wanted}


class Results:
    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.problems = list(dict.fromkeys(run.problem for run in runs))
        self.systems = list(dict.fromkeys(run.system for run in runs))
        self.workers = list(dict.fromkeys(run.workers for run in runs))
        self.seeds = list(dict.fromkeys(run.seed for run in runs))
        self.marks = list(next(iter(runs.values())))

    def of(self, figure: str, problem: str, system: str, workers: int, n: int) -> list[float]:
        """Regrets by seed; empty if the system cannot search the problem."""
        runs = [Run(problem=problem, system=system, workers=workers, seed=seed) for seed in self.seeds]
        return [float(getattr(self._runs[run][n], figure)) for run in runs if run in self._runs]

    def differences(self, figure: str, problem: str, system: str, other: str, workers: int, n: int) -> list[float]:
        pairs = (self.of(figure, problem, s, workers, n) for s in (system, other))
        return [mine - theirs for mine, theirs in zip(*pairs, strict=True)]

    def groups(self) -> dict[str, list[str]]:
        """The groups of problems for which a mean is printed."""
        tables = [name for name in self.problems if PROBLEMS[name].is_table]
        named = {"the tables": tables, "the functions": [p for p in self.problems if p not in tables]}
        return {**{name: problems for name, problems in named.items() if problems}, "all": self.problems}

    def of_all(self, figure: str, problems: Sequence[str], system: str, workers: int, n: int) -> list[float]:
        """Regrets by problem; empty if the system cannot search one of them."""
        each = [self.of(figure, problem, system, workers, n) for problem in problems]
        return [value for values in each for value in values] if all(each) else []

    def mean_differences(
        self, figure: str, problems: Sequence[str], system: str, other: str, workers: int, n: int
    ) -> list[float]:
        """Regrets by seed, each the mean over the problems."""
        each = [self.differences(figure, problem, system, other, workers, n) for problem in problems]
        return [fmean(column) for column in zip(*each, strict=True)]


def report(results: Results, figure: str, system: str, other: str, marks: Sequence[int]) -> Iterator[str]:
    """Mean regrets, and the difference of ``system`` to ``other``: below 0 is better."""
    others = [s for s in results.systems if s not in (system, other)]
    yield _row("workers", "problem", "trials", system, other, "difference [95 %]", "p (Holm)", *others)
    yield "|---:|---|---:|---:|---:|---|---:|" + "---:|" * len(others)
    cases = list(itertools.product(results.workers, results.problems, marks))
    each = [results.differences(figure, problem, system, other, w, n) for w, problem, n in cases]
    p_values = [p_value(differences) for differences in each]
    told = [f"{_p(p)} ({corrected:.2f})" for p, corrected in zip(p_values, holm(p_values), strict=True)]
    for (w, problem, n), differences, p in zip(cases, each, told, strict=True):
        first, second, *rest = (_mean(results.of(figure, problem, s, w, n)) for s in (system, other, *others))
        yield _row(w, problem, n, first, second, _change(differences), p, *rest)
    for w, (group, problems), n in itertools.product(results.workers, results.groups().items(), marks):
        differences = results.mean_differences(figure, problems, system, other, w, n)
        first, second, *rest = (_mean(results.of_all(figure, problems, s, w, n)) for s in (system, other, *others))
        yield _row(w, f"*{group}*", n, first, second, _change(differences), _p(p_value(differences)), *rest)


def report_waste(results: Results) -> Iterator[str]:
    """Shares of a run: repeats, trials that violate a constraint, cells covered."""
    n = results.marks[-1]
    yield f"| workers | problem | cells | random expects | {' | '.join(results.systems)} |"
    yield "|---:|---|---:|---:|" + "---|" * len(results.systems)
    for w, problem in itertools.product(results.workers, results.problems):
        cells = sum(1 for _ in projected_cells(space_of(PROBLEMS[problem].space), PROBLEMS[problem].coverage))
        row = []
        for system in results.systems:
            repeats, invalid, covered = (
                results.of(figure, problem, system, w, n) for figure in ("repeats", "invalid", "covered")
            )
            told = f"{fmean(covered):.1f}; {100 * fmean(repeats) / n:.1f} %" if covered else ""
            row.append(told + (f" + {100 * fmean(invalid) / n:.1f} %" if any(invalid) else ""))
        yield f"| {w} | {problem} | {cells} | {expected_distinct(n, cells):.1f} | {' | '.join(row)} |"


def report_values(results: Results, system: str, other: str) -> Iterator[str]:
    """The best true value found, in the problem's unit, beside the best possible one and the median."""
    columns = [f"{s}, {w} {'worker' if w == 1 else 'workers'}" for w in results.workers for s in (system, other)]
    yield f"| problem | trials | best there is | {' | '.join(columns)} | median |"
    yield "|---|---:|---:|" + "---:|" * (len(columns) + 1)
    for name, n in itertools.product(results.problems, results.marks):
        problem = PROBLEMS[name]
        means = [
            f"{problem.value(fmean(results.of('best', name, s, w, n))):.4g}"
            for w in results.workers
            for s in (system, other)
        ]
        yield f"| {name} | {n} | {problem.value(0):.4g} | {' | '.join(means)} | {problem.value(1):.4g} |"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _mean(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f}" if values else ""


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _change(differences: Sequence[float]) -> str:
    low, high = interval(differences)
    told = f"{fmean(differences):+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"**{told}**" if low > 0 or high < 0 else told


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    arguments.add_argument("--tables", type=Path, help="folder of .npz tables [default: only the functions]")
    arguments.add_argument("--seeds", type=int, default=20)
    arguments.add_argument("--first-seed", type=int, default=0)
    arguments.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    arguments.add_argument("--trials", type=int, default=max(AFTER))
    arguments.add_argument("--systems", nargs="*", default=[OURS, *OPTUNA], help="names as in the tables")
    arguments.add_argument("--ours", nargs="*", default=[], help='ours with other keys of [sampler]: "a = 1; b = 2"')
    arguments.add_argument("--problems", nargs="*", help="names as in the tables [default: all]")
    arguments.add_argument("--compare", nargs=2, default=[OURS, THEIRS], metavar="SYSTEM")
    arguments.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    arguments.add_argument(
        "--keep", type=Path, help="file of finished runs, which are not repeated; new ones are added"
    )
    options = arguments.parse_args()
    found = tables(options.tables)
    if not found:
        print("the tables are left out: --tables names no folder with .npz files", file=sys.stderr)
    PROBLEMS.update({problem.name: problem for problem in [*found, *functions()]})
    problems = [name for name in PROBLEMS if not options.problems or name in options.problems]
    systems = [*options.systems, *(f"{OURS}, {keys}" for keys in options.ours)]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    wanted = [
        Run(problem=problem, system=system, workers=workers, seed=seed)
        for seed, problem, workers, system in itertools.product(seeds, problems, options.workers, systems)
        if system != "Optuna grid" or size(space_of(PROBLEMS[problem].space)).all is not None
    ]
    began = time.monotonic()
    results = Results(measure(wanted, options.trials, options.processes, options.keep))
    system, other = options.compare
    print(f"{len(wanted)} runs of {options.trials} trials, seeds {seeds[0]} to {seeds[-1]}\n")
    print("Regret of the best configuration tried\n", *report(results, "best", system, other, results.marks), sep="\n")
    print(
        "\nRegret of the configuration that looks best\n",
        *report(results, "winner", system, other, results.marks[-1:]),
        sep="\n",
    )
    print("\nBest true value\n", *report_values(results, system, other), sep="\n")
    print("\nCells covered; repeats, and trials that break a constraint\n", *report_waste(results), sep="\n")
    print(f"{time.monotonic() - began:.0f} seconds", file=sys.stderr)


if __name__ == "__main__":
    main()
