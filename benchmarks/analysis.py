"""Whether the numbers of a report keep their word, on simulated TPE studies whose truth is known.

    python -m benchmarks.analysis [--studies 200] [--trials 50]

Small versions of the same run in tests/findings/test_simulations.py.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from hpo_batch.findings.effects.numbers import effects
from hpo_batch.findings.importance.numbers import importance
from hpo_batch.findings.model.frame import Data, prepare
from tests.findings import simulate

NULLS = ("null_few", "null_real")


@dataclass
class Tally:
    """Counts over studies."""

    null_tests: dict[str, list[bool]] = field(default_factory=dict)
    """parameter: whether p < .05"""
    naive_tests: list[bool] = field(default_factory=list)
    """one-way analysis of variance of the four-valued null"""
    powered: list[bool] = field(default_factory=list)
    """whether a value's interval holds the truth, where at least five distinct trials have it"""
    thin: list[bool] = field(default_factory=list)
    """the same of values with fewer"""
    naive: list[bool] = field(default_factory=list)
    """the same of mean and t-interval of the trials as they are"""
    curves: list[bool] = field(default_factory=list)
    """whether the band of the continuous parameter holds the truth, at each of its points within the tried middle"""
    top: list[bool] = field(default_factory=list)
    """whether the largest share is the strongest parameter's"""
    nulls_above: list[bool] = field(default_factory=list)
    """whether a null's share is above the null line"""


def study(tally: Tally, *, seed: int, n: int, sampler: str, with_importance: bool) -> None:
    rows = simulate.trials(seed=seed, n=n, sampler=sampler)
    data = prepare(simulate.table(rows))
    for effect in effects(data):
        if effect.parameter in NULLS:
            tally.null_tests.setdefault(effect.parameter, []).append(effect.p is not None and effect.p < 0.05)
        if effect.parameter == "null_few":
            groups = [data.y[data.by_name["null_few"].codes == i] for i in range(4)]
            p = stats.f_oneway(*[group for group in groups if len(group) > 1]).pvalue
            tally.naive_tests.append(bool(p < 0.05))
        for row in effect.rows:
            if row.adjusted is not None and effect.kind == "levels" and row.value is not None:
                real = _mean_truth(data, effect.parameter, row.value)
                assert row.adjusted.low is not None
                assert row.adjusted.high is not None
                held = row.adjusted.low <= real <= row.adjusted.high
                (tally.thin if row.underpowered else tally.powered).append(held)
                if not row.underpowered and row.mean is not None and row.std is not None:
                    wide = stats.t.ppf(0.975, row.n - 1) * row.std / row.n**0.5
                    tally.naive.append(bool(abs(row.mean - real) <= wide))
        middle = np.quantile([row["rate"] for row, _ in rows], [0.1, 0.9])
        for at, band in effect.curve if effect.parameter == simulate.STRONGEST else ():
            if middle[0] <= at <= middle[1] and band.low is not None and band.high is not None:
                tally.curves.append(band.low <= _mean_truth(data, effect.parameter, at) <= band.high)
    if with_importance:
        found = importance(data, seed=seed)
        assert found is not None
        tally.top.append(found.rows[0].parameter == simulate.STRONGEST)
        tally.nulls_above += [row.above_null for row in found.rows if row.parameter in NULLS]


def _mean_truth(data: Data, name: str, value: object) -> float:
    """The true mean with one parameter set to a value, over the settings of the others that were tried."""
    return float(np.mean([simulate.truth({**data.configuration(i), name: value}) for i in data.distinct.tolist()]))


def share(held: list[bool]) -> str:
    if not held:
        return "-"
    n, p = len(held), sum(held) / len(held)
    return f"{p:.3f}  (n = {n}, +- {1.96 * (p * (1 - p) / n) ** 0.5:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--no-importance", action="store_true", help="leave out fANOVA, which takes most of the time")
    given = parser.parse_args()
    tally = Tally()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(given.first_seed, given.first_seed + given.studies):
            study(tally, seed=seed, n=given.trials, sampler=given.sampler, with_importance=not given.no_importance)
    print(f"{given.studies} studies of {given.trials} trials, {given.sampler}")
    for name, called in sorted(tally.null_tests.items()):
        print(f"  '{name}' does nothing and is called significant    {share(called)}")
    print(
        f"  both together                                       {share([*itertools.chain(*tally.null_tests.values())])}"
    )
    print(f"  the same by a plain analysis of variance            {share(tally.naive_tests)}")
    print(f"  95 % intervals of values hold the truth             {share(tally.powered)}")
    print(f"  of values with fewer than five trials               {share(tally.thin)}")
    print(f"  plain means and t-intervals                         {share(tally.naive)}")
    print(f"  bands of the continuous parameter (approximate)     {share(tally.curves)}")
    print(f"  fANOVA names the strongest parameter                {share(tally.top)}")
    print(f"  a null parameter is above the null line             {share(tally.nulls_above)}")


if __name__ == "__main__":
    main()
