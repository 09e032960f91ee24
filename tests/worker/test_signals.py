"""Signals set a flag in the worker, and mean nothing to the processes that the user's code forks."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator

import pytest

from hpo_batch.records import Stopping
from hpo_batch.worker.signals import Signals

OURS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGCONT)


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in OURS}
    signals = Signals()
    signals.install()
    yield signals
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (signal.SIGUSR2, Stopping.TIME_LIMIT),
        (signal.SIGTERM, Stopping.PREEMPTED),
        (signal.SIGINT, Stopping.CANCELLED),
        (signal.SIGCONT, None),
    ],
)
def test_each_signal_has_its_meaning(signals: Signals, number: int, why: Stopping | None) -> None:
    os.kill(os.getpid(), number)
    assert signals.received is why


def test_preemption_is_stronger_than_the_warning_of_the_limit(signals: Signals) -> None:
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert signals.received is Stopping.PREEMPTED


def test_the_second_interrupt_is_one(signals: Signals) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_forked_children_end_by_term_and_do_not_care_for_the_limit(signals: Signals) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        pid = os.fork()
    if pid == 0:  # a data loader, as SLURM signals it with all processes of a step
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert signals.received is None


def test_a_thread_learns_of_sigterm_whatever_handlers_the_user_has(signals: Signals) -> None:
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: None)  # some framework's
    with signals.telling(told.set):
        os.kill(os.getpid(), signal.SIGTERM)
        assert told.wait(30)
    assert signals.received is Stopping.PREEMPTED
    assert signals.warned is not None
    signals.take_over()
    assert signal.getsignal(signal.SIGTERM) == signals._preempted


def test_who_comes_after_sigterm_is_told_at_once_and_once(signals: Signals) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    calls: list[None] = []
    with signals.telling(lambda: calls.append(None)):
        os.kill(os.getpid(), signal.SIGTERM)
        assert calls == [None]
    assert calls == [None]


def test_a_childs_own_handler_tells_its_parent_nothing(signals: Signals) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    with signals.telling(lambda: None):  # whose thread has read what there was
        assert signals.received is None
