"""Does confirming give a better winner than taking the raw best, at equal total trials?

    python -m benchmarks.confirm ../shared/reference/benchmarks --runs 40

Searches of complete tables (benchmarks/studies.py) by Optuna's TPE without repeats. Of the seeds of a table some are
for the search, two for confirming, and the last one, which neither has seen, is the truth; they change roles from run
to run. Compared are the best of N trials as it is (raw), and the best of N - 10 after the first 5 configurations were
run again with two common seeds (confirmed). ``advised`` does what ``hpo-batch confirm`` advises after N - 10 trials:
confirm, or go on searching; with the noise floor unknown, so that the model's remainder stands for it, or known.
Differences are in standard deviations of the noise, greater is better, with 95 % intervals over the runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.studies import STARTUP, Table
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.noise.numbers import Noise, noise_floor
from hpo_batch.next.confirm import advise
from hpo_batch.records import Answer, Estimate
from tests.findings import simulate

TRIALS, TOP, AGAIN = 60, 5, 2
MOST_ASKED = 50
Rows: TypeAlias = list[tuple[Mapping[str, Any], float]]


class Run(NamedTuple):
    """What seeds that nobody has seen give of each winner; greater is better."""

    raw: float
    confirmed: float
    advised: float
    advised_known: float
    yes: bool
    yes_known: bool


def values(table: Table, params: Mapping[str, Any], seeds: Sequence[int]) -> NDArray[np.float64]:
    return np.asarray(table.values[table.place(params)][list(seeds)])


def search(table: Table, *, seed: int, n: int, seeds: Sequence[int]) -> Rows:
    """Distinct configurations and their values under one of the seeds."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=STARTUP)
    study = optuna.create_study(direction=table.direction, sampler=sampler)
    problem, random = table.problem(as_categories=True), np.random.default_rng([seed, 7])
    rows: Rows = []
    for _ in range(MOST_ASKED * n):
        trial = study.ask()
        params = problem.suggest(trial)
        if any(known == params for known, _ in rows):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        rows.append((params, float(values(table, params, seeds)[random.integers(len(seeds))])))
        study.tell(trial, rows[-1][1])
        if len(rows) == n:
            break
    return rows


def run(table: Table, *, seed: int, trials: int, noise_sd: float) -> Run:
    order = np.random.default_rng([seed, 3]).permutation(table.values.shape[-1]).tolist()
    before, new, rest = order[: -AGAIN - 1], order[-AGAIN - 1 : -1], order[-1:]
    sign = 1.0 if table.direction == "maximize" else -1.0

    def truth(params: Mapping[str, Any]) -> float:
        return sign * float(values(table, params, rest).mean())

    rows = search(table, seed=seed, n=trials, seeds=before)
    raw = truth(best(rows, sign)[0])
    short = rows[: trials - TOP * AGAIN]
    winner = max(best(short, sign)[:TOP], key=lambda params: sign * float(values(table, params, new).mean()))
    data = prepare(simulate.table(short, direction=table.direction))
    known = Noise(
        sd=Estimate(value=noise_sd, low=None, high=None, method="of the table", n=len(short)), source="replicates"
    )
    yes = advise(data, noise_floor(data), top=TOP).answer is not Answer.NO
    yes_known = advise(data, known, top=TOP).answer is not Answer.NO
    confirmed = truth(winner)
    return Run(raw, confirmed, confirmed if yes else raw, confirmed if yes_known else raw, yes, yes_known)


def best(rows: Rows, sign: float) -> list[Mapping[str, Any]]:
    return [params for params, _ in sorted(rows, key=lambda row: -sign * row[1])]


def lines(files: Sequence[Path], *, seeds: Sequence[int], trials: int) -> Iterator[str]:
    yield (
        "| table | confirmed - raw | advised - raw | advised, noise known - raw | advised to confirm | noise known |\n"
        "|---|---:|---:|---:|---:|---:|"
    )
    for file in files:
        table = Table(file)
        noise = float(np.sqrt(np.median(table.values.var(axis=-1, ddof=1))))
        found = np.array([run(table, seed=seed, trials=trials, noise_sd=noise) for seed in seeds])
        gains = [difference((found[:, i] - found[:, 0]) / noise) for i in (1, 2, 3)]
        shares = [f"{found[:, i].mean():.0%}" for i in (4, 5)]
        yield f"| {table.name} | {' | '.join(gains)} | {' | '.join(shares)} |"


def difference(gains: NDArray[np.float64]) -> str:
    half = 1.96 * float(gains.std(ddof=1)) / len(gains) ** 0.5
    return f"{gains.mean():+.2f} [{gains.mean() - half:+.2f}, {gains.mean() + half:+.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the tables (.npz)")
    parser.add_argument("--tables", nargs="*", default=[""], help="parts of their names; by default all")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--trials", type=int, default=TRIALS)
    options = parser.parse_args()
    files = [file for file in sorted(options.folder.glob("*.npz")) if any(name in file.stem for name in options.tables)]
    for row in lines(files, seeds=range(options.first, options.first + options.runs), trials=options.trials):
        print(row, flush=True)


if __name__ == "__main__":
    main()
