"""Is what `status` and `report` say of further trials right as often as it says? Searches of complete tables.

    python -m benchmarks.stop ../shared/reference/benchmarks --runs 40 --choose
    python -m benchmarks.stop ../shared/reference/benchmarks --runs 40

After the first n trials of a search, ``monitor.gain`` says what k more would gain: an expected gain, an interval that
should hold in 8 of 10 cases, and the chance of any gain. The search went on, so the truth is known. ``--choose``
compares settings of the method on two tables; without it, the chosen setting is judged on the two others, which had no
part in the choice. Gains are in standard deviations of the noise. Beside it stand two ways that need no method: the
gain of the last k trials, and the chance k / (n + k) of trials that are all alike.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.studies import STARTUP, Table
from hpo_batch.monitor import gain

CHOSEN_ON: Final = ("hpobench_australian", "hpolib_parkinsons_telemonitoring")
LENGTH: Final = 110
TRIES: Final = 5
AFTER: Final = (20, 40, 60, 100)
MORE: Final = (10, 25, 50)


class Case(NamedTuple):
    """One statement and what came of it; in standard deviations of the noise."""

    told: gain.Gain
    actual: float
    before: float
    """gain of the last k trials"""
    by_chance: float
    """chance of any gain among trials that are all alike"""
    scale: float


class Searched(NamedTuple):
    """The searches of one table."""

    values: NDArray[np.float64]
    """in the order of the trials, greater is better; shape (runs, LENGTH)"""
    noise: float
    maximize: bool


def trace(table: Table, *, seed: int, sampler: str, cache: Path) -> NDArray[np.float64]:
    """Values in the order of the trials, greater is better, shape (LENGTH,); kept in ``cache``."""
    kept = cache / f"{table.name}-{sampler}-{seed}.npy"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        sign = 1.0 if table.direction == "maximize" else -1.0
        np.save(kept, sign * np.array(searched(table, seed=seed, is_random=sampler == "random")))
    return np.asarray(np.load(kept))


def searched(table: Table, *, seed: int, is_random: bool) -> list[float]:
    """Values of distinct configurations, each under one of the table's seeds.

    A configuration that TPE draws again is drawn at random instead after some tries, as hpo-batch's sampler takes
    another candidate.
    """
    random = np.random.default_rng([seed, 13])
    sizes = table.values.shape[:-1]
    names = [f"p{i}" for i in range(len(sizes))]
    distributions = {n: optuna.distributions.IntDistribution(0, size - 1) for n, size in zip(names, sizes, strict=True)}
    sampler = optuna.samplers.TPESampler(multivariate=True, seed=seed, n_startup_trials=STARTUP)
    study = optuna.create_study(direction=table.direction, sampler=sampler)
    values: dict[tuple[int, ...], float] = {}
    while len(values) < LENGTH:
        for _ in range(0 if is_random else TRIES):
            trial = study.ask(distributions)
            place = tuple(trial.params[name] for name in names)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if place not in values:
                break
        else:
            place = tuple(int(random.integers(size)) for size in sizes)
        if place in values:
            continue
        values[place] = float(table.values[place][random.integers(table.values.shape[-1])])
        if not is_random:
            params = dict(zip(names, place, strict=True))
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=values[place]))
    return list(values.values())


def cases(table: Searched, setting: gain.Setting) -> Iterator[Case]:
    values, noise, maximize = table.values, table.noise, table.maximize
    for row, n, k in itertools.product(values, AFTER, MORE):
        if n + k > len(row):
            continue
        told = gain.expected_gain((row[:n] if maximize else -row[:n]).tolist(), k, maximize=maximize, setting=setting)
        if told is None:
            continue
        best = row[:n].max()
        before = best - row[: n - k].max() if n > k else best - row[0]
        yield Case(told, max(0.0, row[n : n + k].max() - best), before, k / (n + k), noise)


def judged(found: Sequence[Case]) -> str:
    actual, scale = np.array([c.actual for c in found]), np.array([c.scale for c in found])
    high = np.array([c.told.high for c in found])
    low = np.array([c.told.low for c in found])
    expected = np.array([c.told.expected for c in found])
    before = np.array([c.before for c in found])
    chance, alike = np.array([c.told.chance for c in found]), np.array([c.by_chance for c in found])
    any_gain = actual > 0
    error = np.abs(expected - actual) / scale
    naive = np.abs(before - actual) / scale
    return (
        f"n = {len(found)}; inside {np.mean((low <= actual) & (actual <= high)):.2f} "
        f"(above {np.mean(actual > high):.2f}, below {np.mean(actual < low):.2f}); pinball {pinball(found):.3f}; "
        f"expected {np.mean(expected / scale):.2f}, came {np.mean(actual / scale):.2f}; error {error.mean():.2f} "
        f"(last k: {naive.mean():.2f}); gained {any_gain.mean():.2f}, said {chance.mean():.2f}, Brier "
        f"{np.mean((chance - any_gain) ** 2):.3f} (k/(n+k): {np.mean((alike - any_gain) ** 2):.3f}, share: "
        f"{any_gain.mean() * (1 - any_gain.mean()):.3f})"
    )


def pinball(found: Sequence[Case]) -> float:
    """Mean loss of both ends of the interval, in standard deviations of the noise: smaller is better."""
    losses = []
    for case in found:
        for level, at in ((0.1, case.told.low), (0.9, case.told.high)):
            away = case.actual - at
            losses.append(max(level * away, (level - 1) * away) / case.scale)
    return float(np.mean(losses))


def tenths(found: Sequence[Case]) -> Iterator[str]:
    chance = np.array([c.told.chance for c in found])
    came = np.array([c.actual > 0 for c in found])
    for i in range(10):
        here = (chance >= i / 10) & (chance < (i + 1) / 10 if i < 9 else chance <= 1)
        if here.any():
            yield f"  said {chance[here].mean():.2f}, came {came[here].mean():.2f} (n = {here.sum()})"


def loaded(folder: Path, cache: Path, *, runs: int) -> dict[tuple[str, str], Searched]:
    found = {}
    for file, sampler in itertools.product(sorted(folder.glob("*.npz")), ("tpe", "random")):
        table = Table(file)
        noise = float(np.sqrt(np.median(table.values.var(axis=-1, ddof=1))))
        values = np.array([trace(table, seed=seed, sampler=sampler, cache=cache) for seed in range(runs)])
        found[table.name, sampler] = Searched(values, noise, table.direction == "maximize")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the tables (.npz)")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--cache", type=Path, default=Path(".cache/stop"), help="where searches are kept")
    parser.add_argument("--choose", action="store_true", help="compare settings, on two of the tables")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    every = loaded(given.folder, given.cache, runs=given.runs)
    mine = {key: one for key, one in every.items() if (key[0] in CHOSEN_ON) == given.choose}
    if given.choose:
        choose(mine)
        return
    found = {key: list(cases(table, gain.SETTING)) for key, table in mine.items()}
    together = list(itertools.chain.from_iterable(found.values()))
    print(gain.SETTING, judged(together), flush=True)
    for key, each in found.items():
        print(" ".join(key), judged(each))
    for line in tenths(together):
        print(line)


def choose(tables: Mapping[tuple[str, str], Searched]) -> None:
    """The smallest loss of the interval among the settings whose upper end is passed in at most a tenth of cases."""
    allowed: list[tuple[float, gain.Setting]] = []
    for setting in gain.SETTINGS:
        found = [case for table in tables.values() for case in cases(table, setting)]
        print(setting, judged(found), flush=True)
        if np.mean([case.actual > case.told.high for case in found]) <= (1 - gain.LEVEL) / 2:
            allowed.append((pinball(found), setting))
    print("chosen:", min(allowed, key=lambda one: one[0])[1])


if __name__ == "__main__":
    main()
