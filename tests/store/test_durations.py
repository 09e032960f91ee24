"""How long trials take: what counts of their attempts, and predictions that a few strange trials do not spoil."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.records import Cause, Failed, Pruned, Reason
from hpo_batch.store import durations
from hpo_batch.store.durations import Took, predict
from hpo_batch.study.study import Study
from tests.study.helpers import checkpoints, claimed, complete, make, owner, state_of


def took(seconds: float, size: int = 1) -> Took:
    return Took(number=0, attempt=1, seconds=seconds, started=0.0, values={"size": size})


def size_of(values: object) -> float:
    return float(values["size"])  # type: ignore[index]


def test_a_prediction_is_the_upper_quartile() -> None:
    prediction = predict([took(seconds) for seconds in (10, 20, 30, 40, 50)], {})
    assert prediction is not None
    assert (prediction.seconds, prediction.of) == (40, 5)
    assert predict([], {}) is None
    only = predict([took(7)], {})
    assert only is not None
    assert only.seconds == 7


def test_a_larger_model_takes_longer_whatever_one_strange_trial_says() -> None:
    known = [took(10.0 * size, size) for size in (1, 2, 4, 8)] + [took(3600, 1)]  # that one waited for its data
    small, large = (predict(known, {"size": size}, size_of=size_of) for size in (1, 16))
    assert small is not None
    assert large is not None
    assert small.seconds == pytest.approx(10)
    assert large.seconds == pytest.approx(160)


def test_a_larger_model_is_never_predicted_to_be_quicker() -> None:
    known = [took(100 - 10 * size, size) for size in (1, 2, 3, 4)]
    found = [predict(known, {"size": size}, size_of=size_of) for size in (1, 4, 100)]
    assert len({prediction.seconds for prediction in found if prediction}) == 1


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (1, 2, 4)])
def test_few_sizes_say_nothing_of_the_slope(sizes: tuple[int, ...]) -> None:
    prediction = predict([took(10, size) for size in sizes], {"size": 100}, size_of=size_of)
    assert prediction is not None
    assert (prediction.seconds, prediction.of) == (10, len(sizes))


def test_only_attempts_whose_work_counted_are_counted(root: Path) -> None:
    home, now = make(root, study="trials = 3"), 1000.0
    with Study.open(home, owner(), clock=lambda: now) as study:
        first = claimed(study)  # 100 s for nothing, 30 s that were saved, 20 s to the end
        now += 100
        study.give_back(first, Cause.PREEMPTED)
        second = claimed(study)
        (checkpoints(study, second) / "epoch").write_text("1")
        now += 30
        study.give_back(second, Cause.PREEMPTED)
        assert durations.has_saved(state_of(home))
        third = claimed(study)
        now += 20
        study.tell(third, complete(third))
        failed = claimed(study)
        now += 500
        study.tell(failed, Failed(reason=Reason.EXCEPTION, message="m"))
        pruned = claimed(study)
        now += 1
        study.tell(pruned, Pruned(step=1, metrics={"loss": 1.0}))
        (one,) = study.newest_durations()
    assert (one.number, one.attempt, one.seconds) == (0, 3, 50)
    assert one.values == third.configuration.values


def test_pruned_trials_tell_something_while_there_are_no_others(root: Path) -> None:
    home, now = make(root), 1000.0
    with Study.open(home, owner(), clock=lambda: now) as study:
        claim = claimed(study)
        study.open_attempt(claim)
        (home.attempt(0, 1) / "metrics.jsonl").write_text('{"step": 1, "time": 1004.0, "metrics": {"loss": 1.0}}\n')
        now += 5
        study.tell(claim, Pruned(step=1, metrics={"loss": 1.0}))
        (one,) = study.newest_durations()
        assert not study.has_saved()
    assert one.seconds == 5
    assert durations.first_report_s(home, one) == 4.0
    (home.attempt(0, 1) / "metrics.jsonl").unlink()
    assert durations.first_report_s(home, one) is None
