"""A small version of benchmarks/analysis.py: what the tests and intervals promise, on TPE studies of known truth."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.analysis import Tally, study

STUDIES = 30
WITH_FOREST = 3


@pytest.fixture(scope="module")
def tally() -> Tally:
    found = Tally()
    for seed in range(STUDIES):
        study(found, seed=seed, n=50, sampler="tpe", with_importance=seed < WITH_FOREST)
    return found


def test_parameters_that_do_nothing_are_rarely_called_significant(tally: Tally) -> None:
    called = [*itertools.chain(*tally.null_tests.values())]
    assert len(called) == 2 * STUDIES
    # at a rate of 6 % eight or more of 60 have probability 0.03; the plain test is far above it
    assert sum(called) < 8
    assert sum(tally.naive_tests) / STUDIES > 0.10


def test_intervals_of_values_hold_the_truth(tally: Tally) -> None:
    assert len(tally.powered) > 250
    assert 0.92 <= sum(tally.powered) / len(tally.powered) <= 0.98


def test_fanova_names_the_strongest_parameter(tally: Tally) -> None:
    assert tally.top == [True] * WITH_FOREST
