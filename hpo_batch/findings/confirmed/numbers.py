"""What finalists gave with seeds that took no part in their selection, compared seed by seed.

Of a sweep that ``hpo-batch confirm`` wrote. Every finalist was trained with the same seeds: a difference between two
is the mean of their differences under each seed, and what a seed does to both is not in it. The spread of these
differences is estimated from all finalists together, as two or three seeds of one pair say next to nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.planned import BASELINE, ROUNDING, mean_over_seeds, rows_by_name, values_by_seed
from hpo_batch.records import Estimate
from hpo_batch.sweep.planned import planned_trials


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """One configuration that was trained again."""

    name: str
    number: int
    """of its trial in this study"""
    before: int | None
    """number of the trial by which it was chosen"""
    raw: float | None
    """the value by which it was chosen: the best of many, and optimistic"""
    held_out: Estimate
    """mean over the new seeds"""
    over_baseline: Estimate | None
    """paired difference, above 0 where the finalist is better; None without a baseline"""
    over_raw_best: Estimate | None
    """the same against the finalist that was best before; None for that one itself"""


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """Finalists, the best one by its new seeds first."""

    finalists: tuple[Finalist, ...]
    raw_best: str
    """the finalist that was best before"""
    seeds: int
    mean: Estimate
    """of all finalists over the new seeds: no selection is in it"""
    mean_raw: float | None
    """of the values by which they were chosen"""
    baseline: Estimate | None
    seeds_agree: bool
    """each trial gave the same under all its seeds: they change nothing, or never reach the training"""
    differences_agree: bool
    """differences between trials are the same under every seed, so that they have no interval"""
    missing: tuple[str, ...]
    """trials that did not complete with all seeds"""


def confirmed(data: Data) -> Confirmed | None:
    """The comparison; None if the sweep is not one that confirms, or fewer than two of its trials are complete."""
    sweep = data.table.sweep
    if sweep is None or sweep.previous is None or sweep.previous.by != "confirm":
        return None
    seeds, previous = sweep.study.seeds_per_trial, sweep.previous
    rows = rows_by_name(data)
    values = {name: values_by_seed(data, row) for name, row in rows.items()}
    done = {name: each for name, each in values.items() if len(each) == seeds}
    planned = planned_trials(sweep)
    names = [trial.name for trial in sweep.trial if trial.name in done]
    if len(names) < 2:
        return None
    spread = _Spread.of([done[name] for name in done])
    raw_best = max(names, key=lambda name: data.sign * previous.values.get(name, -data.sign * math.inf))
    finalists = tuple(
        Finalist(
            name=name,
            number=int(data.numbers[rows[name]]),
            before=previous.trials.get(name),
            raw=previous.values.get(name),
            held_out=mean_over_seeds(done[name]),
            over_baseline=spread.difference(data.sign, done[name], done.get(BASELINE)),
            over_raw_best=spread.difference(data.sign, done[name], done[raw_best]) if name != raw_best else None,
        )
        for name in sorted(names, key=lambda name: -data.sign * float(done[name].mean()))
    )
    raws = [one.raw for one in finalists if one.raw is not None]
    return Confirmed(
        finalists=finalists,
        raw_best=raw_best,
        seeds=seeds,
        mean=mean_over_seeds(np.mean([done[name] for name in names], axis=0), of=f"of {len(names)} finalists "),
        mean_raw=float(np.mean(raws)) if len(raws) == len(finalists) else None,
        baseline=mean_over_seeds(done[BASELINE]) if BASELINE in done else None,
        seeds_agree=seeds > 1 and all(np.ptp(each) <= ROUNDING * float(np.abs(each).max()) for each in done.values()),
        differences_agree=spread.sd is None and spread.df > 0,
        missing=tuple(name for one in planned if (name := one.name or BASELINE) not in done),
    )


@dataclass(frozen=True, kw_only=True)
class _Spread:
    """What is left of the values when the means of trials and of seeds are taken out."""

    sd: float | None
    df: int

    @classmethod
    def of(cls, trials: Sequence[Floats]) -> _Spread:
        values = np.array(trials)
        df = (values.shape[0] - 1) * (values.shape[1] - 1)
        if not df:
            return cls(sd=None, df=0)
        left = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
        sd = math.sqrt(float((left**2).sum()) / df)
        return cls(sd=sd if sd > ROUNDING * float(np.abs(values).max()) else None, df=df)

    def difference(self, sign: float, a: Floats, b: Floats | None) -> Estimate | None:
        if b is None:
            return None
        size, n = sign * float((a - b).mean()), len(a)
        if self.sd is None:
            return Estimate(
                value=size, low=None, high=None, method="no interval: one seed, or all seeds agree exactly", n=n
            )
        half = float(stats.t.ppf(1 - ALPHA / 2, self.df)) * self.sd * math.sqrt(2 / n)
        method = f"paired over {n} seeds, spread of all trials ({self.df} degrees of freedom)"
        return Estimate(value=size, low=size - half, high=size + half, method=method, n=n)
