"""What further trials are said to gain: right as often as said where the truth is known, and bounded as metrics are."""

from __future__ import annotations

import random
import statistics
import time

import pytest

from hpo_batch.monitor.gain import BEYOND, FEWEST, LEVEL, expected_gain, gain_text, how_many, outlook
from hpo_batch.records import Counts


def draws(seed: int, n: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(0.0, 1.0) for _ in range(n)]


def test_intervals_and_chances_are_right_as_often_as_they_say() -> None:
    """Of trials that are all alike: the chance of a gain is k / (n + k), and a tenth passes the upper end."""
    n, k, passed, gained, said = 60, 30, 0, 0, 0.0
    runs = 400
    for seed in range(runs):
        values = draws(seed, n + k)
        told = expected_gain(values[:n], k, maximize=True)
        assert told is not None
        actual = max(0.0, max(values[n:]) - max(values[:n]))
        passed += actual > told.high
        gained += actual > 0
        said += told.chance
    assert gained / runs == pytest.approx(k / (n + k), abs=0.06)
    assert said / runs == pytest.approx(gained / runs, abs=0.08)
    assert passed / runs <= (1 - LEVEL) / 2 + 0.04


def test_the_direction_is_a_mirror() -> None:
    values = draws(1, 40)
    up = expected_gain(values, 20, maximize=True)
    down = expected_gain([-value for value in values], 20, maximize=False)
    assert up is not None
    assert down is not None
    assert (down.expected, down.high, down.chance) == (up.expected, up.high, up.chance)
    assert (down.best_low, down.best, down.best_high) == (-up.best_high, -up.best, -up.best_low)


def test_more_trials_gain_more_and_the_numbers_fit_together() -> None:
    told = [expected_gain(draws(2, 50), more, maximize=True) for more in (1, 10, 100, 1000)]
    means = [one.expected for one in told if one is not None]
    assert means == sorted(means)
    assert len(means) == 4
    for one in told:
        assert one is not None
        assert 0 <= one.low <= one.expected or one.low == 0
        assert one.best_low <= one.best <= one.best_high
        assert 0 <= one.chance <= 1


@pytest.mark.parametrize(("values", "maximize", "end"), [
    ([1 - 0.001 * i for i in range(30)], True, 1.0),
    ([0.0005 * i + 1e-6 for i in range(30)], False, 0.0),
])  # fmt: skip
def test_a_share_stays_below_one_and_a_loss_above_zero(values: list[float], maximize: bool, end: float) -> None:
    told = expected_gain(values, 500, maximize=maximize)
    assert told is not None
    best = max(values) if maximize else min(values)
    assert told.high <= abs(end - best)
    assert told.expected <= abs(end - best)
    assert (told.best_high <= end) if maximize else (told.best_low >= end)


def test_where_the_space_is_wider_the_best_may_lie_there() -> None:
    values = draws(6, 60)
    alike = expected_gain(values, 20, maximize=True)
    wider = [expected_gain(values, 20, maximize=True, beyond=chance) for chance in (0.0, 0.5, 1.0)]
    assert alike is not None
    assert wider[0] == alike
    for one, chance in zip(wider, (0.0, 0.5, 1.0), strict=True):
        assert one is not None
        assert one.chance == pytest.approx(1 - (1 - alike.chance) * (1 - chance))
    highs = [one.best_high for one in wider if one is not None]
    assert highs == sorted(set(highs))
    assert wider[2] is not None
    assert wider[2].best_low > max(values)
    # the mean of the exponential part, and what the other trials find beside it
    down = expected_gain([-value for value in values], 20, maximize=False, beyond=1.0)
    assert down is not None
    assert down.expected == pytest.approx(wider[2].expected)
    gained = BEYOND * (max(values) - statistics.median(values))
    assert gained < wider[2].expected < gained + alike.expected
    share = expected_gain([1 - 0.001 * i for i in range(30)], 50, maximize=True, beyond=0.9)
    assert share is not None
    assert share.best_high <= 1.0


def test_nothing_is_said_of_few_or_equal_values() -> None:
    assert expected_gain(draws(3, FEWEST - 1), 10, maximize=True) is None
    assert expected_gain([0.5] * 40, 10, maximize=True) is None
    assert expected_gain(draws(3, 40), 0, maximize=True) is None


def test_it_speaks_of_the_trials_that_are_left_or_of_half_as_many_again() -> None:
    def counts(target: int, complete: int, running: int = 0) -> Counts:
        return Counts(target=target, waiting=0, running=running, complete=complete, pruned=0, failed=0)

    assert how_many(counts(100, 40)) == (60, True)
    assert how_many(counts(100, 98, running=2)) == (2, True)
    assert how_many(counts(100, 99)) == (50, False)  # one failed: nobody works on it
    assert how_many(counts(20, 20)) == (10, False)
    told = outlook(draws(4, 40), counts(40, 40), maximize=True, used=8.0)
    assert told is not None
    assert told.hours == pytest.approx(4.0)
    assert told.as_json()["trials"] == 20
    assert "20 more trials would improve auc with a chance of" in gain_text(told.gain, "auc", planned=False)


def test_it_takes_no_time_that_status_would_notice() -> None:
    values = draws(5, 100_000)
    started = time.process_time()
    assert expected_gain(values, 1000, maximize=True) is not None
    assert time.process_time() - started < 0.5
