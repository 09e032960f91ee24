"""Where the hours went, attempt by attempt."""

from __future__ import annotations

import pytest

from hpo_batch.journal.attempt_intervals import Span
from hpo_batch.monitor.hours import Hours, add_up
from hpo_batch.monitor.workers import WorkerStatus
from hpo_batch.records import TrialState

C, P, F, W, R = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.WAITING, TrialState.RUNNING


def span(
    start: float,
    end: float | None,
    how: str,
    *,
    trial: int = 0,
    worker: str = "w",
    gpus: float = 1,
    moved: bool = False,
    fused: int = 1,
) -> Span:
    """In hours."""
    ended = None if end is None else end * 3600
    return Span(trial, 1, worker, "7_0", "n1", gpus, start * 3600, ended, how, moved, fused)


def total(spans: list[Span], states: list[TrialState], **more: object) -> Hours:
    facts = {"end_of": lambda span: 10 * 3600.0, "workers": (), "task_gpus": 2.0, "work_s": None, **more}
    return add_up(spans, state_of=lambda number: states[number], **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "moved", "state", "kind"),
    [
        ("complete", False, C, "complete"),
        ("preempted", True, C, "complete"),
        ("preempted", False, C, "lost"),
        ("exception", False, C, "lost"),
        ("lost", True, C, "complete"),
        ("pruned", False, P, "pruned"),
        ("time_limit", True, P, "pruned"),
        ("exception", False, F, "failed"),
        ("lost", False, F, "failed"),
        ("time_limit", True, W, "running"),
        ("time_limit", False, W, "lost"),
    ],
)
def test_each_attempt_counts_once(how: str, moved: bool, state: TrialState, kind: str) -> None:
    found = total([span(8, 10, how, moved=moved)], [state])
    assert getattr(found, kind) == pytest.approx(2.0)
    assert found.used == pytest.approx(2.0)


def test_what_is_open_ends_with_its_last_sign() -> None:
    assert total([span(7, None, "")], [R]).running == pytest.approx(3.0)
    # noticed a week later: it did not train for a week
    assert total([span(7, 175, "lost")], [W]).lost == pytest.approx(3.0)


def test_gpus_and_shares_of_them() -> None:
    spans = [span(0, 2, "complete", gpus=4)]
    assert total(spans, [C]).complete == pytest.approx(8.0)
    shared = total([span(0, 2, "complete", gpus=0.5), span(0, 2, "pruned", trial=1, worker="v", gpus=0.5)], [C, P])
    assert (shared.unit, shared.complete, shared.used) == ("GPU", pytest.approx(1.0), pytest.approx(2.0))
    assert total([span(0, 2, "complete", gpus=0.5)], [C], work_s=3600.0).to_come == pytest.approx(0.5)
    assert total(spans, [C], work_s=3600.0).to_come == pytest.approx(4.0)
    alone = total([span(0, 2, "complete", gpus=0)], [C], work_s=3600.0)
    assert (alone.unit, alone.complete, alone.to_come) == ("worker", pytest.approx(2.0), pytest.approx(1.0))


def test_trials_trained_together_share_the_hours_of_their_worker() -> None:
    """Four at once for two hours, of which one ended after one: a quarter of the second hour is idle."""
    for gpus, unit in ((2.0, "GPU"), (0.0, "worker")):
        ends = (2, 2, 1, 2)
        spans = [span(0, end, "complete", trial=i, gpus=gpus / 4, fused=4) for i, end in enumerate(ends)]
        found = total(spans, [C] * 4, work_s=3600.0)
        each = gpus or 1.0
        assert (found.unit, found.complete) == (unit, pytest.approx(1.75 * each))
        assert (found.idle, found.used) == (pytest.approx(0.25 * each), pytest.approx(2 * each))
        assert found.to_come == pytest.approx(each)


def test_time_between_trials_is_idle() -> None:
    spans = [span(0, 2, "complete"), span(3, 4, "complete", trial=1), span(0, 1, "complete", trial=2, worker="v")]
    found = total(spans, [C, C, C])
    assert (found.idle, found.wasted, found.used) == (pytest.approx(1.0), pytest.approx(1.0), pytest.approx(5.0))
    at_work = WorkerStatus(worker="v", job="7_1", state="running", gpus=("0",), gpu_count=1, elapsed_s=3 * 3600)
    assert total(spans, [C, C, C], workers=[at_work]).idle == pytest.approx(3.0)
    empty = WorkerStatus(worker="", job="7_2", state="starting", elapsed_s=3600)
    assert total(spans, [C, C, C], workers=[empty]).idle == pytest.approx(3.0)
