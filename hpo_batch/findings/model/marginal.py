"""Means of the metric as one column of a process moves, over settings of the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpo_batch.findings.model.arrays import Floats, Ints
from hpo_batch.findings.model.process import Process, kernel
from hpo_batch.findings.model.scores import Scores


@dataclass(frozen=True, kw_only=True)
class Means:
    """Means of the metric at some values of a parameter, over settings of the others."""

    mean: Floats
    """shape (values,)"""
    covariance: Floats
    """shape (values, values)"""

    @property
    def errors(self) -> Floats:
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    def samples(self, n: int, *, seed: int = 0) -> Floats:
        """Drawn from the normal distribution with this mean and covariance: shape (n, values)."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(self.mean + np.random.default_rng(seed).standard_normal((n, len(self.mean))) @ root.T)

    def difference(self, a: int, b: int) -> tuple[float, float]:
        """Between the means at two places, and its standard error."""
        variance = self.covariance[a, a] + self.covariance[b, b] - 2 * self.covariance[a, b]
        return float(self.mean[a] - self.mean[b]), float(np.sqrt(max(variance, 0.0)))


def mixed(each: list[Means]) -> Means:
    """Of several processes that are equally likely."""
    middles = np.array([means.mean for means in each])
    away = middles - middles.mean(axis=0)
    within = np.mean([means.covariance for means in each], axis=0)
    return Means(mean=middles.mean(axis=0), covariance=within + away.T @ away / len(each))


def marginal(process: Process, column: int, places: Floats, settings: Ints, scores: Scores) -> Means:
    """Means at places of a column, over the settings of the others in some trials.

    The metric is a curved function of the score; the slopes of its means carry the covariance of the scores over (the
    delta method).

    Args:
        places: shape (m,).
        settings: rows of the process, shape (k,).
    """
    problem, moving = process.problem, process.problem.columns[column]
    main, lengths, joint, noise = process.scales
    n, k = problem.n, len(settings)
    rest, product, prior = np.zeros((k, n)), np.full((k, n), joint), np.full(k, joint)
    known = process.kernels
    for i, other in enumerate(known):
        if i != column:
            own = main[i] * other.own[settings]
            rest += own
            prior += own[np.arange(k), settings]
            product *= other.values[settings]
    length, among = float(lengths[column]), known[column].values
    to_trials = kernel(moving.distances(places), length, ordered=moving.ordered)[0]
    to_places = kernel(moving.distances(places, places), length, ordered=moving.ordered)[0]
    own_trials = main[column] * moving.centered(to_trials, among) * moving.active
    own_places = main[column] * moving.centered(to_places, among, to_trials)
    means, weights, crosses = np.zeros(len(places)), np.zeros((len(places), k)), np.zeros((len(places), n))
    for a, values in enumerate(to_trials):
        cross = own_trials[a] + rest + values * product
        score, variance = process.posterior(cross, prior + own_places[a, a])
        # of a row as it was observed, which may be the mean of several trials
        value, slope = scores.expected(score, variance + noise / problem.repeats.mean())
        means[a], weights[a] = value.mean(), slope / k
        crosses[a] = weights[a] @ cross
    sums = weights.sum(axis=1)
    before = (
        own_places * np.outer(sums, sums)
        + weights @ rest[:, settings] @ weights.T
        + to_places * (weights @ product[:, settings] @ weights.T)
    )
    left = sums - crosses @ process.ones
    covariance = before - crosses @ process.inverse @ crosses.T + np.outer(left, left) / process.ones.sum()
    return Means(mean=means, covariance=covariance)
