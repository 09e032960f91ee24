"""A matrix of budgets: the configurations of each, trained in all of them with the same new seeds.

Of a sweep that ``hpo-batch transfer`` wrote. What a budget does to all configurations, and what a configuration does in
all budgets, is in the diagonal as often as beside it: their difference, the gap, is only what a configuration owes to
the budget that it was chosen in. Each configuration gives one such difference, with itself and seed by seed; how much
these vary among the configurations of one budget is the gap's uncertainty.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy import stats

from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.planned import ROUNDING, rows_by_name, values_by_seed
from hpo_batch.records import Estimate, Value
from hpo_batch.sweep.factors import factors
from hpo_batch.sweep.schema import Previous, Sweep
from hpo_batch.text.numbers import count

TRANSFER: Final = "transfer"


@dataclass(frozen=True, kw_only=True)
class Varied:
    """What differs between the budgets: a fixed parameter, or a setting of the objective."""

    name: str
    values: Mapping[str, Value | None]
    """by budget; None: not set there"""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One configuration in all budgets."""

    name: str
    budget: str
    """whose search it comes from"""
    before: int | None
    """number of the trial by which it was chosen there"""
    raw: float | None
    """the value by which it was chosen: the best of many, and optimistic"""
    values: Mapping[str, float | None]
    """mean over the new seeds by the budget that it was trained on; None: not complete, or left out"""
    left_out: Mapping[str, str]
    """by budget in which it cannot run: why"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Configurations of one budget, trained on one."""

    trained_on: str
    mean: Estimate | None
    """over configurations and seeds, its interval from the configurations; None if none is complete"""
    n: int
    """configurations that are complete"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Configurations of one budget, trained on all."""

    budget: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What a budget loses if it is trained with configurations of another one instead of its own."""

    trained_on: str
    budget: str
    """that the other configurations come from"""
    difference: Estimate
    """mean of its own less mean of the others there, above 0 where its own are better"""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The best configurations of each budget in all of them."""

    study: str
    budgets: tuple[str, ...]
    varied: tuple[Varied, ...]
    """empty: nothing varies, and the matrix says nothing"""
    seeds: int
    rows: tuple[Row, ...]
    configurations: tuple[Moved, ...]
    compared: tuple[str, ...]
    """the configurations that are complete in all of ``compared_budgets``: means and gap are theirs"""
    compared_budgets: tuple[str, ...]
    diagonal: Estimate | None
    """mean on the budget that the configurations come from"""
    elsewhere: Estimate | None
    """mean on the other budgets"""
    gap: Estimate | None
    """what the budget of its own is worth to a configuration, above 0 where it is better; None if no two budgets can be
    compared"""
    losses: tuple[Loss, ...]
    """of each budget with the configurations of each other one, as far as they are complete"""
    mean_raw: float | None
    """of the values by which the compared configurations were chosen"""
    missing: tuple[str, ...]
    """trials that did not complete with all seeds, as ``name on budget``"""


@dataclass(frozen=True, kw_only=True)
class _Column:
    data: Data
    sweep: Sweep
    previous: Previous
    budget: str


def matrices(studies: Sequence[Data]) -> tuple[Matrix, ...]:
    """One for each sweep of ``hpo-batch transfer`` of which two budgets or more are among the studies."""
    groups: dict[tuple[Path | None, str], list[_Column]] = {}
    for data in studies:
        sweep = data.table.sweep
        if sweep is None or sweep.previous is None or sweep.previous.by != TRANSFER or sweep.budget is None:
            continue
        column = _Column(data=data, sweep=sweep, previous=sweep.previous, budget=sweep.budget)
        home = data.table.home
        groups.setdefault((home.parent if home is not None else None, sweep.study.name), []).append(column)
    return tuple(_matrix(name, columns) for (_, name), columns in groups.items() if len(columns) > 1)


def _matrix(study: str, columns: Sequence[_Column]) -> Matrix:
    seeds = columns[0].sweep.study.seeds_per_trial
    sign = columns[0].data.sign
    sources = _sources(columns)
    order = list(dict.fromkeys(sources.values()))  # that of the command line; the logs directory has another
    columns = sorted(columns, key=lambda one: order.index(one.budget) if one.budget in order else len(order))
    budgets = tuple(column.budget for column in columns)
    found = {column.budget: _complete(column, seeds) for column in columns}
    moved = tuple(_moved(name, source, columns, found) for name, source in sources.items())
    rows = tuple(
        Row(budget=source, cells=tuple(_cell(budget, _of(source, sources, found[budget])) for budget in budgets))
        for source in dict.fromkeys(sources.values())
    )
    kept = _comparable(budgets, sources, found)
    compared = [name for name, source in sources.items() if source in kept and _in_all(name, kept, found)]
    own = [found[sources[name]][name] for name in compared]
    others = [np.mean([found[b][name] for b in kept if b != sources[name]], axis=0) for name in compared]
    gap = _gap(sign, [sources[name] for name in compared], own, others) if kept else None
    raws = [one.raw for one in moved if one.name in compared]
    known = [raw for raw in raws if raw is not None]
    return Matrix(
        study=study,
        budgets=budgets,
        varied=_varied(columns),
        seeds=seeds,
        rows=rows,
        configurations=moved,
        compared=tuple(compared),
        compared_budgets=kept,
        diagonal=_overall(sources, compared, own),
        elsewhere=_overall(sources, compared, others),
        gap=gap,
        losses=tuple(_losses(sign, budgets, sources, found)),
        mean_raw=float(np.mean(known)) if known and len(known) == len(raws) else None,
        missing=tuple(
            f"{trial.name} on {column.budget}"
            for column in columns
            for trial in column.sweep.trial
            if trial.name not in found[column.budget]
        ),
    )


def _varied(columns: Sequence[_Column]) -> tuple[Varied, ...]:
    budgets = [column.budget for column in columns]
    return tuple(
        Varied(name=factor.name, values=dict(zip(budgets, factor.values, strict=True)))
        for factor in factors([column.sweep for column in columns])
    )


def _complete(column: _Column, seeds: int) -> dict[str, Floats]:
    """Values by seed of the trials that are complete with all seeds."""
    values = {name: values_by_seed(column.data, row) for name, row in rows_by_name(column.data).items()}
    return {name: each for name, each in values.items() if len(each) == seeds}


def _sources(columns: Sequence[_Column]) -> dict[str, str]:
    """By name of each configuration: the budget whose search it comes from."""
    return {trial.name: trial.set for column in columns for trial in column.sweep.trial if trial.set is not None}


def _moved(name: str, source: str, columns: Sequence[_Column], found: Mapping[str, Mapping[str, Floats]]) -> Moved:
    previous = columns[0].previous
    return Moved(
        name=name,
        budget=source,
        before=previous.trials.get(name),
        raw=previous.values.get(name),
        values={budget: float(each[name].mean()) if name in each else None for budget, each in found.items()},
        left_out={
            column.budget: column.previous.left_out[name] for column in columns if name in column.previous.left_out
        },
    )


def _of(source: str, sources: Mapping[str, str], found: Mapping[str, Floats]) -> list[Floats]:
    return [found[name] for name, own in sources.items() if own == source and name in found]


def _cell(budget: str, values: Sequence[Floats]) -> Cell:
    n = len(values)
    if not n:
        return Cell(trained_on=budget, mean=None, n=0)
    means = np.array([each.mean() for each in values])
    mean, low, high = float(means.mean()), None, None
    if n > 1:
        half = float(stats.t.ppf(1 - ALPHA / 2, n - 1) * means.std(ddof=1) / math.sqrt(n))
        low, high = mean - half, mean + half
    method = f"mean over {count(n, 'configuration')} and {count(len(values[0]), 'seed')}"
    return Cell(trained_on=budget, mean=Estimate(value=mean, low=low, high=high, method=method, n=n), n=n)


def _losses(
    sign: float, budgets: Sequence[str], sources: Mapping[str, str], found: Mapping[str, Mapping[str, Floats]]
) -> Iterator[Loss]:
    for budget, source in itertools.product(budgets, dict.fromkeys(sources.values())):
        own, others = (_of(each, sources, found[budget]) for each in (budget, source))
        if source != budget and own and others:
            yield Loss(trained_on=budget, budget=source, difference=_loss(sign, own, others))


def _loss(sign: float, own: Sequence[Floats], others: Sequence[Floats]) -> Estimate:
    """Welch's interval over the configurations; with one of each, the t interval over the seeds, which are paired."""
    by_seed = sign * (np.mean(own, axis=0) - np.mean(others, axis=0))
    value, n = float(by_seed.mean()), len(own) + len(others)
    sampled = [np.mean(each, axis=1) for each in (own, others)]
    if min(map(len, sampled)) > 1:
        parts = [float(each.var(ddof=1)) / len(each) for each in sampled]
        variance, method = sum(parts), "Welch's interval over the configurations"
        shares = [(part / variance) ** 2 / (len(each) - 1) for part, each in zip(parts, sampled, strict=True) if part]
        df = 1 / sum(shares) if shares else 0.0
    elif n == 2 and len(by_seed) > 1:
        variance, method = (
            float(by_seed.var(ddof=1)) / len(by_seed),
            f"t interval over {count(len(by_seed), 'seed')}, paired",
        )
        df = len(by_seed) - 1
    else:
        variance, df, method = 0.0, 0.0, ""
    if math.sqrt(variance) <= ROUNDING * max(float(np.abs(each).max()) for each in (*own, *others)):
        return Estimate(value=value, low=None, high=None, method="no interval: too few, or they agree exactly", n=n)
    half = float(stats.t.ppf(1 - ALPHA / 2, df)) * math.sqrt(variance)
    return Estimate(value=value, low=value - half, high=value + half, method=method, n=n)


def _in_all(name: str, budgets: Sequence[str], found: Mapping[str, Mapping[str, Floats]]) -> bool:
    return all(name in found[budget] for budget in budgets)


def _comparable(
    budgets: Sequence[str], sources: Mapping[str, str], found: Mapping[str, Mapping[str, Floats]]
) -> tuple[str, ...]:
    """Budgets of which each has a configuration that is complete in all of them; the one with the most gaps is left
    out first. Fewer than two: none."""
    kept = list(budgets)
    while len(kept) > 1:
        if all(any(_in_all(name, kept, found) for name, own in sources.items() if own == budget) for budget in kept):
            return tuple(kept)

        def gaps(budget: str) -> int:
            pairs = itertools.product([n for n, own in sources.items() if own in kept], kept)
            missing = [(sources[name], on) for name, on in pairs if name not in found[on]]
            alone = not any(own == budget for own in sources.values())
            return sum(budget in each for each in missing) + alone * len(sources)

        kept.remove(max(kept, key=gaps))
    return ()


def _by_source(owners: Sequence[str], each: Sequence[float]) -> list[Floats]:
    """Numbers of the configurations, budget by budget."""
    return [
        np.array([value for owner, value in zip(owners, each, strict=True) if owner == source], dtype=np.float64)
        for source in dict.fromkeys(owners)
    ]


def _overall(sources: Mapping[str, str], names: Sequence[str], values: Sequence[Floats]) -> Estimate | None:
    """Mean of the budgets' means, so that each counts alike."""
    if not names:
        return None
    groups = _by_source([sources[name] for name in names], [float(each.mean()) for each in values])
    mean = float(np.mean([group.mean() for group in groups]))
    method = f"mean over {count(len(groups), 'budget')} and their {count(len(names), 'configuration')}"
    return Estimate(value=mean, low=None, high=None, method=method, n=len(names))


def _gap(sign: float, owners: Sequence[str], own: Sequence[Floats], others: Sequence[Floats]) -> Estimate | None:
    """Mean difference of a configuration on its own budget and on the others, each budget counting alike.

    Its interval is that of a stratified sample: the configurations of a budget vary about their own mean, as what a
    budget adds for all is in their differences too, and cancels in the mean alone. With one configuration of each, the
    seeds take their place, and the interval is about these configurations.
    """
    if not owners:
        return None
    differences = [sign * (a - b) for a, b in zip(own, others, strict=True)]
    groups = _by_source(owners, [float(each.mean()) for each in differences])
    value = float(np.mean([group.mean() for group in groups]))
    df = sum(len(group) - 1 for group in groups)
    n, seeds = len(owners), len(differences[0])
    paired = f"paired over {count(n, 'configuration')} and {count(seeds, 'seed')}"
    if df:
        variance = sum(float(((group - group.mean()) ** 2).sum()) for group in groups) / df
        error = math.sqrt(sum(variance / len(group) for group in groups)) / len(groups)
        method = f"{paired}; t interval, configurations within budgets ({df} degrees of freedom)"
    elif seeds > 1:
        df = seeds - 1
        error = float(np.mean(differences, axis=0).std(ddof=1)) / math.sqrt(seeds)
        method = f"{paired}; t interval over the seeds ({df} degrees of freedom)"
    else:
        error, method = 0.0, paired
    if error <= ROUNDING * max(float(np.abs(each).max()) for each in (*own, *others)):
        why = "one configuration of each budget and one seed" if not df else "all differences agree exactly"
        return Estimate(value=value, low=None, high=None, method=f"{paired}; no interval: {why}", n=n)
    half = float(stats.t.ppf(1 - ALPHA / 2, df)) * error
    return Estimate(value=value, low=value - half, high=value + half, method=method, n=n)
