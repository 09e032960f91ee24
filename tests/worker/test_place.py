"""A time limit that is moved while a worker is at work: one question to SLURM, and only before a trial is given up."""

from __future__ import annotations

import os
import time

import pytest

from hpo_batch.records import Stopping
from hpo_batch.worker.resources import Place
from hpo_batch.worker.signals import Signals


class Slurm:
    """Tells the seconds that are left, and counts the questions."""

    def __init__(self, *left: float | None) -> None:
        self.left, self.asked = list(left), 0

    def __call__(self, timeout_s: float) -> float | None:
        assert 0 < timeout_s <= 10
        self.asked += 1
        return self.left.pop(0)


def place(slurm: Slurm, *, left: float = 10.0, lead_s: float = 15.0, **more: object) -> Place:
    facts = {"device": "cpu", "cpus": 1, "deadline": time.time() + left, "lead_s": lead_s, "is_killed": True}
    return Place(**{**facts, **more}, ask=slurm)  # type: ignore[arg-type]


def test_nobody_asks_before_it_is_time() -> None:
    here = place(slurm := Slurm(), left=60.0)
    assert not here.is_near(time.time())
    assert slurm.asked == 0


def test_a_limit_that_was_not_moved_is_asked_about_once() -> None:
    here = place(slurm := Slurm(10.0))
    assert all(here.is_near(time.time()) for _ in range(3))
    assert slurm.asked == 1


def test_a_longer_limit_lets_the_trial_go_on_until_that_one_is_near() -> None:
    here = place(slurm := Slurm(250.0, 5.0))
    now = time.time()
    assert not here.is_near(now)
    assert (slurm.asked, here.is_sure) == (1, True)
    late = place(Slurm(30.0))
    assert not late.is_near(time.time())
    assert not late.is_sure  # as much as a worker may come after its task: no other limit
    assert here.deadline == pytest.approx(now + 250, abs=1)
    assert here.limit() == pytest.approx(now + 250 - 15 / 4, abs=1)
    assert here.is_near(now + 240)  # asked again: it is another limit
    assert slurm.asked == 2


def test_no_limit_at_all() -> None:
    here = place(Slurm(float("inf")))
    assert not here.is_near(time.time())
    assert (here.deadline, here.limit()) == (None, float("inf"))


@pytest.mark.parametrize("answer", [None, 10.0, 8.0])
def test_without_an_answer_the_limit_is_the_known_one(answer: float | None) -> None:
    here = place(slurm := Slurm(answer))
    assert here.is_near(time.time())
    assert here.is_near(time.time())
    assert slurm.asked == 1


def test_a_worker_that_finds_no_time_asks_before_it_leaves() -> None:
    assert place(Slurm(3600.0)).has_more_time(time.time())
    assert not place(Slurm(10.0)).has_more_time(time.time())
    assert not place(Slurm(2.0)).has_more_time(time.time())  # shortened
    assert not place(Slurm(None)).has_more_time(time.time())


def test_a_forked_process_asks_nobody() -> None:
    here = place(slurm := Slurm(3600.0))
    if (child := os.fork()) == 0:
        os._exit(0 if here.is_near(time.time()) and slurm.asked == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("known_s", "left", "why", "is_far"),
    [
        (10.0, 10.0, Stopping.TIME_LIMIT, False),  # the limit that is known
        (10.0, 3600.0, None, False),  # lengthened since: forgotten
        (3600.0, 12.0, Stopping.TIME_LIMIT, False),  # shortened: it is no preemption
        (3600.0, 3600.0, Stopping.TIME_LIMIT, True),  # a site that preempts by SIGUSR2
        (3600.0, None, Stopping.TIME_LIMIT, True),
    ],
)
def test_what_a_warning_means(known_s: float, left: float | None, why: Stopping | None, is_far: bool) -> None:
    here = place(slurm := Slurm(left), left=known_s, is_sure=True)
    signals = Signals()
    signals._note(Stopping.TIME_LIMIT)
    warned = signals.warned
    assert warned is not None
    assert [signals.why(here.is_warned) for _ in range(3)] == [why] * 3
    assert slurm.asked == 1
    assert why is None or here.is_far(warned) is is_far
    assert signals.received is why
    if why is None:  # the next warning is a warning again
        slurm.left.append(3590.0)
        signals._note(Stopping.TIME_LIMIT)
        assert signals.why(here.is_warned) is Stopping.TIME_LIMIT


def test_other_signals_ask_nobody() -> None:
    signals, here = Signals(), place(slurm := Slurm())
    signals._note(Stopping.PREEMPTED)
    assert signals.why(here.is_warned) is Stopping.PREEMPTED
    assert slurm.asked == 0
