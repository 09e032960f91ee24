"""One study at a glance: how many trials ended how, the moments of the metric, the best configurations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from hpo_batch.findings.model.frame import Data
from hpo_batch.records import Value
from hpo_batch.results.table import candidates, front_of
from hpo_batch.results.top import ranked

TOP: Final = 10


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One study at a glance."""

    n: int
    """complete trials with a finite value"""
    states: Mapping[str, int]
    unique: int
    """distinct configurations among the complete trials"""
    repeats: int
    """complete trials less distinct configurations: trials that repeated another one"""
    repeated: tuple[RepeatedConfiguration, ...]
    mean: float | None
    median: float | None
    std: float | None
    """ddof = 1"""
    best: TopTrial | None
    top: tuple[TopTrial, ...]
    """distinct configurations, best first; ties in value share their rank"""
    skipped: int = 0
    """complete trials without a finite value: left out of everything"""
    replicates: int = 0
    """of the repeats, those with a seed of their own: they measure noise"""
    derived: tuple[str, ...] = ()
    """values that the sweep computes from parameters; a sweep may not set them"""


@dataclass(frozen=True, kw_only=True)
class TopTrial:
    rank: int
    number: int
    value: float
    params: Mapping[str, Value]
    count: int = 1
    """complete trials with this configuration"""
    tied: bool = False
    values: tuple[float, ...] = ()
    """several metrics: all of them, in the study's order; ``value`` is the first"""


@dataclass(frozen=True, kw_only=True)
class RepeatedConfiguration:
    params: Mapping[str, Value]
    count: int
    numbers: tuple[int, ...]
    values: tuple[float, ...]


def is_constant(summary: Summary) -> bool:
    """Whether all of several trials have one value: none of them is the best."""
    return summary.n > 1 and summary.std == 0


def summarise(data: Data) -> Summary:
    """Counts, moments and the best distinct configurations. Moments are over all complete trials, repeats included."""
    repeated = tuple(
        RepeatedConfiguration(
            params=data.configuration(rows[0]),
            count=len(rows),
            numbers=tuple(data.numbers[rows].tolist()),
            values=tuple(data.y[rows].tolist()),
        )
        for rows in sorted(data.repeated, key=len, reverse=True)
    )
    top = top_configurations(data, TOP)
    return Summary(
        n=data.n,
        states=dict(Counter(str(state) for state in data.table.trials["state"].tolist())),
        unique=len(data.configurations),
        repeats=data.n - len(data.configurations),
        repeated=repeated,
        mean=float(np.mean(data.y)) if data.n else None,
        median=float(np.median(data.y)) if data.n else None,
        std=float(np.std(data.y, ddof=1)) if data.n > 1 else None,
        best=top[0] if top else None,
        top=top,
        skipped=data.skipped,
        replicates=sum(len({data.seeds[i] for i in rows}) - 1 for rows in data.repeated),
        derived=tuple(data.space.derived) if data.space is not None else (),
    )


def top_configurations(data: Data, k: int) -> tuple[TopTrial, ...]:
    """The ``k`` best distinct configurations, each by its best trial. Equal values share their rank."""
    ranking = ranked(data.keys, data.y, data.numbers, is_largest_best=data.sign > 0)
    return tuple(
        TopTrial(
            rank=int(ranking.ranks[i]),
            number=int(data.numbers[row]),
            value=float(data.y[row]),
            params=data.configuration(row),
            count=int(ranking.counts[i]),
            tied=bool(ranking.ties[i] > 1),
        )
        for i, row in enumerate(ranking.rows[:k].tolist())
    )


def pareto_front(data: Data) -> tuple[TopTrial, ...]:
    """Trials that no other dominates, by number."""
    table = data.table
    frame = table.trials[candidates(table.trials)]
    columns = [frame[name].astype(float) for name in table.value_columns if name in frame]
    if len(columns) < 2:
        return ()
    points = pd.concat(columns, axis=1).dropna()
    values = points.to_numpy()
    states, directions = ["COMPLETE"] * len(points), table.directions[: len(columns)]
    on_front = np.flatnonzero(front_of(values.T.tolist(), states, directions)).tolist()
    numbers = frame.loc[points.index, "number"].tolist()
    place = {int(number): i for i, number in enumerate(data.numbers.tolist())}
    return tuple(
        TopTrial(
            rank=1,
            number=int(numbers[i]),
            value=float(values[i, 0]),
            params=data.configuration(place[int(numbers[i])]) if int(numbers[i]) in place else {},
            values=tuple(values[i].tolist()),
        )
        for i in on_front
    )


def shortened_history(
    history: tuple[tuple[int, float], ...], *, most: int, better: Callable[[float, float], float]
) -> tuple[tuple[int, float], ...]:
    """At most about ``most`` trials, evenly, and each new best."""
    every = math.ceil(len(history) / most)
    if every < 2:
        return history
    kept, best = [], history[0][1]
    for i, (number, value) in enumerate(history):
        if i % every == 0 or better(value, best) != best:
            kept.append((number, value))
        best = better(value, best)
    return tuple(kept)
