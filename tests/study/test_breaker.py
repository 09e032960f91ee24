"""When a sweep is stopped: if it is broken, and not if some of its configurations or one of its nodes are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo_batch.records import Claim, Failed, Idle, IdleWhy, Reason, TrialState
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study

from .helpers import complete, make, owner, revise, state_of, work


def broken(reason: Reason = Reason.EXCEPTION) -> Failed:
    return Failed(reason=reason, message="no")


class Sweep:
    """Workers on nodes, and what each of them has in hand."""

    def __init__(self, home: StudyHome, studies: list[Study]) -> None:
        self.home, self.studies = home, studies
        self.running: dict[int, Claim] = {}
        self.stopped: Idle | None = None

    def begin(self, *workers: int) -> None:
        """Claim for each of these workers (for all that have nothing, if none is named) until the sweep is stopped."""
        for worker in workers or [w for w in range(len(self.studies)) if w not in self.running]:
            given = self.studies[worker].claim()
            if isinstance(given, Idle):
                self.stopped = given
                return
            self.running[worker] = given[0]

    def end(self, worker: int, reason: Reason | None = Reason.EXCEPTION) -> None:
        claim = self.running.pop(worker)
        self.studies[worker].tell(claim, complete(claim) if reason is None else broken(reason))

    @property
    def failed(self) -> int:
        return state_of(self.home).counts().failed


@contextlib.contextmanager
def sweep(root: Path, nodes: str, **text: str) -> Iterator[Sweep]:
    """One worker for each letter: the node that it is on."""
    facts = {"study": "trials = 1000", "space": "n = { low = 1, high = 100000 }", **text}
    home = make(root, **facts)  # type: ignore[arg-type]
    with contextlib.ExitStack() as stack:
        studies = [stack.enter_context(Study.open(home, owner(i, host=f"node-{node}"))) for i, node in enumerate(nodes)]
        yield Sweep(home, studies)


def test_workers_that_all_fail_at_the_same_moment_stop_the_sweep(root: Path) -> None:
    with sweep(root, "abcdefghijklmnop") as here:
        here.begin()
        for _ in range(10):
            for worker in list(here.running):
                here.end(worker)
            here.begin()
            if here.stopped:
                break
        assert here.stopped is not None
        assert here.stopped.why is IdleWhy.TRIPPED
        assert here.failed == 16  # those that ran anyway, and no other
        assert "the last 15 trials all failed for the same reason (exception)" in here.stopped.detail
        assert not here.running


def test_workers_that_fail_one_after_another_are_stopped_before_each_has_failed_twice(root: Path) -> None:
    with sweep(root, "abcdefghijklmnop") as here:
        here.begin()
        for turn in range(100):
            worker = sorted(here.running)[turn % len(here.running)]
            here.end(worker)
            here.begin(worker)
            if here.stopped:
                break
        assert here.stopped is not None
        assert here.failed <= 16 + 5


def test_slow_trials_that_outlive_the_failing_ones_keep_the_sweep_going(root: Path) -> None:
    with sweep(root, "abcdefgh") as here:
        here.begin()  # the first six will take hours; the last two draw what fails at once
        for turn in range(8):
            here.end(6 + turn % 2)
            here.begin(6 + turn % 2)
        assert here.stopped is None
        for turn in range(8):  # but not for ever
            here.end(6 + turn % 2)
            here.begin(6 + turn % 2)
            if here.stopped:
                break
        assert here.failed == 5 + 6
        assert here.stopped is not None


def test_trials_that_were_begun_later_prove_nothing(root: Path) -> None:
    with sweep(root, "abcdefghij", tables={"failures": "stop_after = 3"}) as here:  # type: ignore[arg-type]
        here.begin(0, 1, 2)
        here.begin()
        for worker in (0, 1, 2):
            here.end(worker)
        here.begin(0)
        assert here.stopped is not None


def test_a_finished_trial_in_between_begins_another_row(root: Path) -> None:
    with sweep(root, "a", tables={"failures": "stop_after = 4"}) as here:  # type: ignore[arg-type]
        for turn in range(20):
            here.begin(0)
            here.end(0, None if turn % 4 == 3 else Reason.EXCEPTION)
        assert here.stopped is None


def test_a_trial_that_was_only_answered_is_not_in_between(root: Path) -> None:
    given = {"first": 2, "second": 3, "third": 4, "again": 2}
    rest = "".join(f'[[trial]]\nname = "{name}"\nparams = {{ n = {n} }}\n' for name, n in given.items())
    home = make(root, study="trials = 50", space="n = { low = 1, high = 1000 }", rest=rest)
    done, end = work(home, judge=lambda claim: complete(claim) if claim.name == "first" else broken())
    assert end is not None
    assert end.why is IdleWhy.TRIPPED
    assert done == [0, 1, 2, 4, 5, 6]  # trial 3 was answered between the second and the third failure
    assert state_of(home).trials[3].state is TrialState.COMPLETE


def test_failures_of_all_kinds_stop_a_sweep_in_which_nothing_works(root: Path) -> None:
    kinds = [Reason.EXCEPTION, Reason.NAN, Reason.OOM_GPU]
    with sweep(root, "a") as here:
        for turn in range(100):
            here.begin(0)
            if here.stopped:
                break
            here.end(0, kinds[turn % 3])
        assert here.failed == 15
        assert here.stopped is not None
        assert here.stopped.detail == (
            "no trial has finished, and the last 15 all failed (5 oom_gpu, 5 nan, 5 exception); "
            "see 'hpo-batch logs s 14', then 'hpo-batch resume s'"
        )
        revise(here.home, study="trials = 1000", space="n = { low = 1, high = 100000 }")
        here.stopped = None
        here.begin(0)
        assert here.stopped is None  # armed again


def test_failures_of_all_kinds_do_not_stop_a_sweep_in_which_something_works(root: Path) -> None:
    kinds = [Reason.EXCEPTION, Reason.NAN]
    with sweep(root, "a") as here:
        here.begin(0)
        here.end(0, None)
        for turn in range(40):
            here.begin(0)
            here.end(0, kinds[turn % 2])
        assert here.stopped is None


def test_a_broken_node_does_not_stop_the_others(root: Path) -> None:
    with sweep(root, "xxxxab", tables={"failures": "stop_after = 2"}) as here:  # type: ignore[arg-type]
        here.begin(4, 5)
        here.begin()
        for turn in range(8):
            here.end(turn % 4)
            here.begin(turn % 4)
        assert here.stopped is None
        assert here.failed == 8
        here.end(4)  # it is not that node alone
        here.end(5)
        for turn in range(4):
            here.end(turn)
        here.begin(0)
        assert here.stopped is not None


def test_the_last_node_that_works_is_not_spared(root: Path) -> None:
    with sweep(root, "xa") as here:
        here.begin()
        for _ in range(4):
            here.end(0)
            here.begin(0)
        here.end(1, None)  # finishes, and nobody goes on there
        for _ in range(5):
            here.end(0)
            here.begin(0)
            if here.stopped:
                break
        assert here.stopped is not None


@pytest.mark.parametrize("most", [3, 7])
def test_max_failed_counts_whatever_is_in_between(root: Path, most: int) -> None:
    with sweep(root, "abc", study=f"trials = 1000\nmax_failed = {most}") as here:
        for turn in range(100):
            here.begin(turn % 3)
            if here.stopped:
                break
            here.end(turn % 3, None if turn % 2 else Reason.NAN)
        assert here.failed == most
        assert here.stopped is not None
        assert f"study.max_failed = {most}" in here.stopped.detail


def test_two_trainings_that_report_nothing_stop_a_sweep_that_never_had_a_result(root: Path) -> None:
    with sweep(root, "a") as here:
        for _ in range(10):
            here.begin(0)
            if here.stopped:
                break
            here.end(0, Reason.NO_RESULT)
        assert here.failed == 2
        assert here.stopped is not None
        assert "no trial has reported a result, and 2 ran to their end" in here.stopped.detail


def test_trainings_that_report_nothing_beside_longer_ones_do_not(root: Path) -> None:
    with sweep(root, "abcd") as here:
        here.begin()
        for turn in range(4):
            here.end(2 + turn % 2, Reason.NO_RESULT)
            here.begin(2 + turn % 2)
            assert (here.stopped is not None) == (turn == 3)  # two run that began before the newest failure


@pytest.mark.parametrize("before", [[None], [Reason.EXCEPTION, None]], ids=str)
def test_a_result_shows_that_the_code_reports(root: Path, before: list[Reason | None]) -> None:
    with sweep(root, "a") as here:
        for reason in [*before, *[Reason.NO_RESULT] * 4]:
            here.begin(0)
            here.end(0, reason)
        here.begin(0)
        assert here.stopped is None
        here.end(0, Reason.NO_RESULT)
        here.begin(0)
        assert here.stopped is not None


def test_other_failures_in_between_need_the_usual_number(root: Path) -> None:
    with sweep(root, "a") as here:
        for reason in (Reason.NO_RESULT, Reason.NAN, Reason.NO_RESULT):
            here.begin(0)
            here.end(0, reason)
        here.begin(0)
        assert here.stopped is None


def test_stop_after_one_stops_after_one(root: Path) -> None:
    with sweep(root, "a", tables={"failures": "stop_after = 1"}) as here:  # type: ignore[arg-type]
        here.begin(0)
        here.end(0, Reason.NO_RESULT)
        here.begin(0)
        assert here.failed == 1
        assert here.stopped is not None
