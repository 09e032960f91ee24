"""How long a study will take still: right on average for workers that take the next trial when they are free."""

from __future__ import annotations

import heapq
import random

import pytest

from hpo_batch.monitor.eta import LEAST, estimate


def test_equal_trials_give_a_narrow_range() -> None:
    eta = estimate([60.0] * 20, finished=20, remaining=12, running=[30.0] * 4, left=[None] * 4)
    assert eta.work_s == 12 * 60 - 4 * 30
    assert eta.low_s == eta.work_s / 4
    assert eta.high_s == eta.work_s / 4 + 0.75 * 60
    assert (eta.per_trial_s, eta.based_on, eta.workers, eta.why_unknown) == (60.0, 20, 4, "")


def test_failures_cost_time_too() -> None:
    fine = estimate([60.0] * 20, finished=20, remaining=10, running=[], left=[None])
    half = estimate([60.0] * 20, finished=10, remaining=10, running=[], left=[None])
    assert fine.work_s == 600.0
    assert half.work_s == 1200.0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"durations": [1.0] * (LEAST - 1), "finished": LEAST - 1}, "3 trials must have ended to tell, only 2 have"),
        ({"durations": [], "finished": 0}, "3 trials must have ended to tell, none has"),
        ({"finished": 0}, "none of the last 5 trials has finished"),
        ({"left": []}, "no worker is running"),
    ],
)
def test_it_says_when_it_does_not_know(changes: dict[str, object], why: str) -> None:
    facts = {"durations": [1.0] * 5, "finished": 5, "remaining": 3, "running": [], "left": [None], **changes}
    eta = estimate(**facts)  # type: ignore[arg-type]
    assert (eta.low_s, eta.high_s, eta.why_unknown) == (None, None, why)


def test_nothing_left_takes_no_time() -> None:
    eta = estimate([], finished=0, remaining=0, running=[], left=[])
    assert (eta.low_s, eta.high_s) == (0.0, 0.0)


def test_workers_whose_limits_end_before() -> None:
    facts = {"durations": [60.0] * 5, "finished": 5, "remaining": 10, "running": []}
    assert estimate(**facts, left=[200.0, 200.0]).ends_before
    assert not estimate(**facts, left=[400.0, 400.0]).ends_before
    assert not estimate(**facts, left=[200.0, None]).ends_before


@pytest.mark.parametrize(("workers", "remaining"), [(1, 8), (4, 40), (16, 20)])
def test_most_ranges_hold(workers: int, remaining: int) -> None:
    """Against workers that take random trials one after the other, the time of which varies by a factor of ten."""
    rng = random.Random(1)
    held = 0
    for _ in range(300):
        durations = [rng.uniform(10, 100) for _ in range(25)]
        free = [0.0] * workers
        for _ in range(remaining):
            heapq.heapreplace(free, free[0] + rng.uniform(10, 100))
        eta = estimate(durations, finished=25, remaining=remaining, running=[], left=[None] * workers)
        assert eta.low_s is not None
        assert eta.high_s is not None
        held += eta.low_s <= max(free) <= eta.high_s
    assert held / 300 > 0.75
