"""What the trials of a study say about the metric at any setting: one model for tests, directions, sizes and intervals.

The Gaussian process of ``process`` on the normal scores of the metric. Ranks make it indifferent to the metric's scale
and to a few diverged trials, and make good and bad regions of a search alike in spread. Means come back to the metric's
scale through the same ranks, so that none lies beyond what was observed.

One row stands for a configuration, however often it ran: seeds of one configuration are not independent trials.
Parameters that always change together are one column, and values derived from others are none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.model.linear import curve as line_and_curve
from hpo_batch.findings.model.linear import dummies
from hpo_batch.findings.model.marginal import Means, marginal, mixed
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.process import Column, Problem, Process, Test, drawn, fitted, kernel, tested
from hpo_batch.findings.model.scores import Scores, drawn_in, scores
from hpo_batch.records import Value

FEWEST: Final = 6
"""configurations, or trials of fewer ones, below which nothing is modelled"""
MOST: Final = 200
"""configurations a process is fitted to; its cost grows with their cube"""
MOST_TESTED: Final = 300
"""configurations in a test, for which nothing but three variances is fitted anew"""
SETTINGS: Final = 100
"""settings of the other parameters that a mean is taken over"""
MOST_DUMMIES: Final = 12
"""of a category with more values than this the rarer ones share a column in a test"""
PER_NAME: Final = 5
"""configurations for each of several whole numbers from which they are tested one by one"""
Z: Final = 1.959964


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoder:
    """Places of a parameter's values in its column."""

    param: ParamInfo
    low: float
    high: float
    typical: float
    """place of a trial in which it is not active: its own effect is none there, and the product's must not tell more
    about the condition than its parent does"""

    def places(self, values: Sequence[Value | float]) -> Floats:
        return np.array([self._place(self.param.position(value)) for value in values], dtype=np.float64)

    def column(self, rows: Ints) -> Column:
        active = self.param.active[rows]
        positions = self._place(self.param.positions[rows])
        return Column(at=np.where(active, positions, self.typical), active=active, ordered=self.param.ordered)

    def _place(self, position: Floats | float) -> Floats | float:
        return (position - self.low) / (self.high - self.low) if self.param.ordered else position


@dataclass(frozen=True, kw_only=True, eq=False)
class Surrogate:
    """The model of one set of trials."""

    encoders: tuple[Encoder, ...]
    """one for each column"""
    together: tuple[tuple[str, ...], ...]
    """names of the parameters that each column stands for"""
    rows: Ints
    """of ``Data``: one for each configuration that the process was fitted to"""
    best: Process
    """with the most likely variances and lengths"""
    draws: tuple[Process, ...]
    """with others that are likely, too"""
    scores: Scores
    tested_rows: Ints
    tested: Problem
    """of ``best``, over more configurations, if there are more"""
    plain: Problem
    """of ``best``, with the metric itself instead of its scores"""
    _tests: dict[tuple[str, ...], Test | None] = field(default_factory=dict)
    """those that were asked for, by the names of their parameters"""

    @cached_property
    def _process_of_tested(self) -> Process:
        is_best = self.tested is self.best.problem
        return self.best if is_best else Process(problem=self.tested, theta=self.best.theta)

    @cached_property
    def _process_of_plain(self) -> Process:
        return Process(problem=self.plain, theta=self.best.theta)

    def place(self, param: ParamInfo) -> int | None:
        """Which column a parameter has; None for one that does not vary, or is derived from others."""
        return next((i for i, names in enumerate(self.together) if param.name in names), None)

    def means(self, param: ParamInfo, values: Sequence[Value | float], settings: Ints | None = None) -> Means | None:
        """Means at values of a parameter, over the settings of the others that were tried where it is active.

        Args:
            param: one with a column; None comes back for any other.
            values: none that was not tried, if it is a category.
            settings: places in ``rows`` to average over instead.
        """
        column = self.place(param)
        if column is None:
            return None
        if settings is None:
            active = np.flatnonzero(self.best.problem.columns[column].active)
            settings = active[:: math.ceil(len(active) / SETTINGS)]
        places = self.encoders[column].places([self._as_first(param, column, value) for value in values])
        return mixed([marginal(process, column, places, settings, self.scores) for process in self.draws])

    def _as_first(self, param: ParamInfo, column: int, value: Value | float) -> Value | float:
        """The value of the column's own parameter that always went with a value of ``param``, or with the nearest."""
        own = self.encoders[column].param
        if param.name == own.name:
            return value
        away = np.abs(param.positions[self.rows] - param.position(value))
        found = own.value(int(self.rows[int(np.nanargmin(away))]))
        assert found is not None
        return found

    def curve(self, param: ParamInfo, values: Sequence[Value | float]) -> list[tuple[float, float]]:
        """``means`` as pairs of a mean and its standard error."""
        means = self.means(param, values)
        return [] if means is None else list(zip(means.mean.tolist(), means.errors.tolist(), strict=True))

    def at(self, row: int) -> tuple[float, float]:
        """Mean and standard error of what the configuration of a trial of ``Data`` gives."""
        places = [encoder.column(np.array([row])) for encoder in self.encoders]
        return _at(self.draws, places, self.scores)

    def test(self, *params: ParamInfo) -> Test | None:
        """Whether one parameter matters, or whether what two of them do depends on each other.

        An interaction must show on both scales. On ranks effects that add up do so no more (in 46 of 60 simulations of
        two lines with little noise); on the metric's own scale a search's few bad trials make interactions (with an
        idle parameter in 30 % of searches of real tables; on ranks in none).

        Returns:
            None if one has no column, or nothing is left to test with.
        """
        names = tuple(param.name for param in params)
        if names not in self._tests:
            self._tests[names] = self._test(params)
        return self._tests[names]

    def _test(self, params: Sequence[ParamInfo]) -> Test | None:
        places = [place for param in params if (place := self.place(param)) is not None]
        if len(places) < len(params):
            return None
        rows = self.tested_rows if len(params) == 1 else self.rows
        columns = [own_columns(self.encoders[place].param, rows) for place in places]
        if len(columns) == 1:
            return tested(self._process_of_tested, places, columns[0])
        own = products(columns[0], columns[1])
        both = [tested(process, places, own) for process in (self.best, self._process_of_plain)]
        return max((test for test in both if test is not None), key=lambda test: test.p, default=None)


def _at(draws: Sequence[Process], places: Sequence[Column], scores: Scores) -> tuple[float, float]:
    each = []
    for process in draws:
        main, lengths, joint, noise = process.scales
        own, product = np.zeros((1, process.problem.n)), np.full((1, process.problem.n), joint)
        prior = joint
        for i, (place, other) in enumerate(zip(places, process.kernels, strict=True)):
            column = other.column
            values = kernel(column.distances(place.at), float(lengths[i]), ordered=column.ordered)[0]
            product *= values
            if place.active[0]:
                own += main[i] * column.centered(values, other.values) * column.active
                prior += float(main[i] * column.centered(np.ones((1, 1)), other.values, values)[0, 0])
        score, variance = process.posterior(own + product, np.array([prior]))
        value, slope = scores.expected(score, variance + noise / process.problem.repeats.mean())
        each.append(Means(mean=value, covariance=(slope**2 * variance)[None]))
    means = mixed(each)
    return float(means.mean[0]), float(means.errors[0])


def own_columns(param: ParamInfo, rows: Ints) -> Floats:
    """What a parameter is tested by: line and curve of a number with many values, else a column for each value.

    Zero where it is not active, and centered where it is: whether it is active is its parent's effect.
    """
    active = param.active[rows]
    inside = rows[active]
    if not len(inside):
        return np.zeros((len(rows), 0))
    if not is_tested_by_value(param, inside):
        columns = line_and_curve(param, inside)
    else:
        counts = np.bincount(param.codes[inside], minlength=len(param.levels))
        by_count = np.argsort(-counts, kind="stable")
        code_of = np.minimum(np.argsort(by_count), MOST_DUMMIES)
        columns = dummies(code_of[param.codes[inside]], min(int(np.count_nonzero(counts)), MOST_DUMMIES + 1))
    result = np.zeros((len(rows), columns.shape[1]))
    result[active] = columns - columns.mean(axis=0)
    return result


def is_tested_by_value(param: ParamInfo, rows: Ints) -> bool:
    """Whether a parameter, active in these trials, is tested by a column for each value, not by a line and a curve.

    Few whole numbers that are evenly apart may be names (of a fold, of a template), for which no curve is expected.
    """
    if param.kind == "levels":
        return True
    are_whole = all(isinstance(value, int) for value in param.levels)
    return (
        are_whole and not param.log and len(param.levels) <= MOST_DUMMIES and len(rows) >= PER_NAME * len(param.levels)
    )


def products(a: Floats, b: Floats) -> Floats:
    """Each column of one parameter times each of another."""
    return np.asarray((a[:, :, None] * b[:, None, :]).reshape(len(a), -1), dtype=np.float64)


_fitted: WeakKeyDictionary[Data, dict[bytes, Surrogate | None]] = WeakKeyDictionary()


def surrogate(data: Data, rows: Ints) -> Surrogate | None:
    """The model of these trials; None if they are too few, or nothing varies."""
    known = _fitted.setdefault(data, {})
    key = rows.tobytes()
    if key not in known:
        known[key] = _fit(data, rows)
    return known[key]


def _fit(data: Data, rows: Ints) -> Surrogate | None:
    first, y, repeats = configurations(data, rows)
    if len(first) < FEWEST or hangs_on_one(y):
        return None
    groups = alike(data, first)
    if not groups:
        return None
    encoders = tuple(_encoder(group[0], first) for group in groups)
    chosen, more = _spread(y, MOST), _spread(y, MOST_TESTED)
    found = scores(y[chosen])
    problem = _problem(encoders, first[chosen], found.z, repeats[chosen])
    theta = fitted(problem)
    return Surrogate(
        encoders=encoders,
        together=tuple(tuple(param.name for param in group) for group in groups),
        rows=first[chosen],
        best=Process(problem=problem, theta=theta),
        draws=tuple(Process(problem=problem, theta=draw) for draw in drawn(problem, theta)),
        scores=found,
        tested_rows=first[more],
        tested=problem
        if len(more) == len(chosen)
        else _problem(encoders, first[more], scores(y[more]).z, repeats[more]),
        plain=replace(problem, z=drawn_in(y[chosen])),
    )


def hangs_on_one(y: Floats) -> bool:
    """Whether these values are all alike, or all but one: then that one would decide whatever is said."""
    return bool(np.unique(y, return_counts=True)[1].max(initial=0) >= len(y) - 1)


def _problem(encoders: Sequence[Encoder], rows: Ints, z: Floats, repeats: Floats) -> Problem:
    return Problem(columns=[encoder.column(rows) for encoder in encoders], z=z, repeats=repeats)


def configurations(data: Data, rows: Ints) -> tuple[Ints, Floats, Floats]:
    """The first of these trials of each configuration, the mean of all, and how many there are.

    Fewer than ``FEWEST`` configurations that ran several times are a designed comparison, not a search: there every
    trial stands for itself.
    """
    _, first, group = np.unique(data.keys[rows], return_index=True, return_inverse=True)
    if len(first) < FEWEST:
        return rows, data.y[rows], np.ones(len(rows))
    repeats = np.bincount(group)
    return rows[first], np.bincount(group, weights=data.y[rows]) / repeats, repeats.astype(np.float64)


def alike(data: Data, rows: Ints) -> list[list[ParamInfo]]:
    """The parameters that vary in these trials, but for derived ones; those that always change together in a group."""
    derived = data.space.derived if data.space is not None else {}
    groups: dict[tuple[int, ...], list[ParamInfo]] = {}
    for param in data.params:
        codes = param.codes[rows]
        if param.name not in derived and len(np.unique(codes[codes >= 0])) > 1:
            groups.setdefault(_partition(param, codes), []).append(param)
    return list(groups.values())


def _partition(param: ParamInfo, codes: Ints) -> tuple[int, ...]:
    """What two parameters have in common that always change together.

    Which trials have equal values; of a number that hardly ever has the same value twice, the order of the trials by
    it, upwards or downwards: any two such numbers divide the trials alike.
    """
    if param.ordered and 2 * len(np.unique(codes)) > len(codes):
        return max(tuple(codes.tolist()), tuple((codes.max() - codes).tolist()))
    met: dict[int, int] = {}
    return tuple(met.setdefault(code, len(met)) for code in codes.tolist())


def _encoder(param: ParamInfo, rows: Ints) -> Encoder:
    at = param.positions[rows][param.active[rows]]
    if param.ordered:
        return Encoder(param=param, low=float(at.min()), high=float(at.max()), typical=0.5)
    return Encoder(param=param, low=0.0, high=1.0, typical=float(np.bincount(at.astype(np.int64)).argmax()))


def _spread(y: Floats, most: int) -> Ints:
    """At most so many places, evenly over the ranks of the metric, both ends among them."""
    if len(y) <= most:
        return np.arange(len(y))
    by_value = np.argsort(y, kind="stable")
    return np.sort(by_value[np.linspace(0, len(y) - 1, most).round().astype(int)])
