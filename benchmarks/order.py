"""Whether a drift is found and nothing else is called one, and how often two searches of one problem are ordered.

    python -m benchmarks.order --tables FOLDER [--studies 100] [--trials 50 100] [--jobs 2] [--choose]

Studies are drawn with Optuna's TPE (multivariate) and at random. FOLDER holds full factorials of trained networks, with
several seeds each (HPOBench's MLP, HPOLib's FCNet): ``NAME.npz`` with ``table`` (an axis for each parameter, the last
one the seed), ``params``, ``space`` (JSON) and ``direction``; losses of HPOLib as log10. A trial sees one seed. The
sampler sees the drift too, and reacts to it. Without FOLDER, the problem of tests/findings/simulate.py alone.

A noise SD is the root mean variance between seeds over all configurations. A step of two of them comes at a random
trial in the middle third; a drift rises by two of them from the first to the last trial. The sign is random.

The method was chosen on hpobench_australian and hpolib_parkinsons_telemonitoring (``--choose``); the others report.
Small versions of the same run in tests/findings/test_order.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from scipy import stats

from hpo_batch.findings.budgets.numbers import budgets
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.noise.numbers import Noise
from hpo_batch.findings.order.numbers import order
from hpo_batch.records import Answer, Estimate
from tests.findings import simulate

CHOSEN_ON = ("hpobench_australian", "hpolib_parkinsons_telemonitoring")
SIZE = 2.0
"""of a drift, in noise SD"""
KINDS = ("none", "step", "drift")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something to search whose noise is known."""

    name: str
    suggest: Callable[[optuna.Trial], dict[str, Any]]
    value: Callable[[Mapping[str, Any], np.random.Generator], float]
    direction: str
    noise: float


def simulated() -> Problem:
    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        params: dict[str, Any] = {
            name: trial.suggest_categorical(name, values) for name, values in simulate.LEVELS.items()
        }
        params["rate"] = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
        params["null_few"] = trial.suggest_categorical("null_few", simulate.NULL_LEVELS)
        params["null_real"] = trial.suggest_float("null_real", 0.0, 1.0)
        return params

    def value(params: Mapping[str, Any], random: np.random.Generator) -> float:
        return simulate.truth(params) + simulate.NOISE * float(random.normal())

    return Problem(name="simulated", suggest=suggest, value=value, direction="maximize", noise=simulate.NOISE)


def tabled(path: Path) -> Problem:
    with np.load(path, allow_pickle=False) as stored:
        table, names = stored["table"].astype(float), [str(name) for name in stored["params"]]
        space, direction = json.loads(str(stored["space"])), str(stored["direction"])
    if path.stem.startswith("hpolib"):
        table = np.log10(np.maximum(table, 1e-12))

    def suggest(trial: optuna.Trial) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for name in names:
            values = space[name]
            if isinstance(values[0], str):
                params[name] = trial.suggest_categorical(name, values)
            else:  # the place among the values, which are spaced by powers
                params[name] = trial.suggest_int(name, 0, len(values) - 1)
        params["idle_few"] = trial.suggest_categorical("idle_few", ["p", "q", "r", "s"])
        params["idle_real"] = trial.suggest_float("idle_real", 0.0, 1.0)
        return params

    def value(params: Mapping[str, Any], random: np.random.Generator) -> float:
        cell = [space[n].index(params[n]) if isinstance(params[n], str) else params[n] for n in names]
        return float(table[tuple(cell)][random.integers(table.shape[-1])])

    noise = float(np.sqrt(table.var(axis=-1, ddof=1).mean()))
    return Problem(name=path.stem, suggest=suggest, value=value, direction=direction, noise=noise)


def moved(kind: str, n: int, seed: int) -> np.ndarray[Any, Any]:
    """What is added to each trial, in noise SD."""
    random = np.random.default_rng([seed, 1])
    sign, at = float(random.choice([-1.0, 1.0])), int(random.integers(n / 3, 2 * n / 3))
    if kind == "none":
        return np.zeros(n)
    return sign * SIZE * (np.arange(n) / (n - 1) if kind == "drift" else (np.arange(n) >= at))


def drawn(problem: Problem, *, sampler: str, kind: str, n: int, seed: int) -> list[tuple[dict[str, Any], float]]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = (
        optuna.samplers.TPESampler(multivariate=True, seed=seed)
        if sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=seed)
    )
    study = optuna.create_study(direction=problem.direction, sampler=made)
    random, rows = np.random.default_rng([seed, 2]), []
    for move in (moved(kind, n, seed) * problem.noise).tolist():
        trial = study.ask()
        params = problem.suggest(trial)
        value = problem.value(params, random) + move
        study.tell(trial, value)
        rows.append((params, value))
    return rows


def data_of(problem: Problem, rows: Sequence[tuple[Mapping[str, Any], float]]) -> Data:
    return prepare(simulate.table(rows, direction=problem.direction))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the order test said of one study."""

    yes: bool
    kind: str
    off: int
    """trials between the step and where it was seen"""
    covers: bool
    """whether the interval of the size holds the truth"""


def judged(problem: Problem, *, sampler: str, kind: str, n: int, seed: int) -> Seen:
    found = order(data_of(problem, drawn(problem, sampler=sampler, kind=kind, n=n, seed=seed)))
    assert found is not None
    moves = moved(kind, n, seed)
    size, since, covers = float(moves[-1] - moves[0]) * problem.noise, found.since, False
    if found.size is not None and found.size.low is not None and found.size.high is not None:
        covers = found.size.low <= size <= found.size.high
    off = abs(since - int(np.argmax(moves != 0))) if since is not None and kind == "step" else -1
    return Seen(yes=found.answer is Answer.YES, kind=found.kind, off=off, covers=covers)


def ordered(problem: Problem, studies: Sequence[Data], *, noise_known: bool) -> list[bool]:
    """Of all pairs of searches of one problem: whether their bests are put in an order."""
    sd = Estimate(value=problem.noise, low=None, high=None, method="", n=1) if noise_known else None
    noise = Noise(sd=sd, source="replicates" if noise_known else "unknown")
    results = []
    for a, b in itertools.combinations(studies, 2):
        beside = budgets([a, b], ["a", "b"], [noise, noise], [(), ()])
        assert beside is not None
        results.append(beside.order is Answer.YES)
    return results


def share(held: Sequence[bool], *, studies: int = 0) -> str:
    """A share with its Wilson interval; ``studies``: how many independent ones are behind it, if not as many."""
    if not held:
        return "-"
    test = stats.binomtest(round(np.mean(held) * (studies or len(held))), studies or len(held))
    low, high = test.proportion_ci(method="wilson")
    return f"{np.mean(held):.3f} [{low:.3f}, {high:.3f}]"


def _one(arguments: tuple[str, str, str, str, int, int]) -> Seen:
    name, folder, sampler, kind, n, seed = arguments
    return judged(problem_of(name, folder), sampler=sampler, kind=kind, n=n, seed=seed)


def _search(arguments: tuple[str, str, str, int, int]) -> list[tuple[dict[str, Any], float]]:
    name, folder, sampler, n, seed = arguments
    return drawn(problem_of(name, folder), sampler=sampler, kind="none", n=n, seed=seed)


def problem_of(name: str, folder: str) -> Problem:
    return simulated() if name == "simulated" else tabled(Path(folder) / f"{name}.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder of the tables")
    parser.add_argument("--studies", type=int, default=100, help="of each kind")
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random"], choices=("tpe", "random"))
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--choose", action="store_true", help="on the tables that the method was chosen on")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    stems = sorted(path.stem for path in given.tables.glob("*.npz")) if given.tables is not None else []
    names = [stem for stem in stems if (stem in CHOSEN_ON) == given.choose] + ([] if given.choose else ["simulated"])
    seeds = range(given.first_seed, given.first_seed + given.studies)
    print(
        "problem | sampler | n | false alarms | step found | drift found | step off by (median) | size's interval holds"
    )
    with multiprocessing.Pool(given.jobs) as pool:
        for name, sampler, n in itertools.product(names, given.samplers, given.trials):
            found = {
                kind: pool.map(_one, [(name, str(given.tables), sampler, kind, n, seed) for seed in seeds])
                for kind in KINDS
            }
            yes = {kind: share([seen.yes for seen in found[kind]]) for kind in KINDS}
            off = [seen.off for seen in found["step"] if seen.yes and seen.off >= 0]
            covered = share([s.covers for kind in KINDS[1:] for s in found[kind] if s.yes and s.kind == kind])
            print(
                f"{name} | {sampler} | {n} | {yes['none']} | {yes['step']} | {yes['drift']} | "
                f"{np.median(off) if off else float('nan'):g} | {covered}",
                flush=True,
            )
        print("\nbests of two searches of one problem put in an order: problem | sampler | n | noise known | unknown")
        for name, sampler, n in itertools.product(names, given.samplers, given.trials):
            problem = problem_of(name, str(given.tables))
            rows = pool.map(_search, [(name, str(given.tables), sampler, n, seed) for seed in seeds])
            studies = [data_of(problem, each) for each in rows]
            known, unknown = (
                share(ordered(problem, studies, noise_known=is_known), studies=len(studies))
                for is_known in (True, False)
            )
            print(f"{name} | {sampler} | {n} | {known} | {unknown}", flush=True)


if __name__ == "__main__":
    main()
