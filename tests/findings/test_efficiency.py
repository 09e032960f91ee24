from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hpo_batch.findings.hours.numbers import bad_node, efficiency
from tests.findings.tables import table


def attempt(number: int, how: str, node: str = "a", hours: float | None = 1.0, gpus: str = "") -> dict[str, Any]:
    seconds = None if hours is None else hours * 3600
    return {"number": number, "attempt": 1, "how": how, "seconds": seconds, "node": node, "gpus": gpus}


def used(*attempts: dict[str, Any]) -> Any:
    rows = [{"x": a["number"], "value": 0.5} for a in attempts]
    return efficiency(table(rows, params=["x"], attempts=attempts))


def test_hours_by_outcome_node_and_cause() -> None:
    found = used(
        attempt(0, "complete", "a", 2.0),
        attempt(1, "complete", "b"),
        attempt(2, "oom_gpu", "b", 0.5),
        attempt(2, "preempted", "a", 0.25),
        attempt(3, "running", "a", None),
    )
    assert found.hours == 3.75
    assert found.gpu_hours is None
    assert "which GPUs" in found.why
    assert found.by_outcome == (("complete", 3.0, 2), ("oom_gpu", 0.5, 1), ("preempted", 0.25, 1))
    assert found.by_node == (("a", 2.25, 2, 0), ("b", 1.5, 2, 1))
    assert found.failures == (("oom_gpu", "b", 1),)


def test_gpu_hours_count_every_gpu() -> None:
    found = used(attempt(0, "complete", gpus="GPU-1,GPU-2"), attempt(1, "complete", gpus="GPU-1"))
    assert (found.hours, found.gpu_hours) == (2.0, 3.0)
    assert "3 GPU hours" in found.text


def test_trials_trained_together_share_the_hours_of_their_worker() -> None:
    attempts = [{**attempt(i, "complete", gpus="GPU-1"), "fused": 4, "gpu_count": 0.25} for i in range(4)]
    found = used(*attempts)
    assert (found.hours, found.gpu_hours) == (1.0, 1.0)


def test_what_slurm_knows_better() -> None:
    one = attempt(0, "complete") | {"job": "7_0", "elapsed_s": 3600.0, "gpu_hours": 4.0, "queue_wait_s": 60.0}
    two = attempt(1, "lost", hours=None) | {"job": "7_0", "elapsed_s": 1800.0, "gpu_hours": 2.0, "queue_wait_s": 60.0}
    three = attempt(2, "complete") | {"job": "7_1", "elapsed_s": 3600.0, "gpu_hours": 4.0, "queue_wait_s": 100.0}
    found = used(one, two, three)
    assert (found.hours, found.gpu_hours, found.queue_wait_s) == (2.5, 10.0, 80.0)
    assert found.failures == (("lost", "a", 1),)


def test_hours_of_a_file_are_those_of_its_trials() -> None:
    rows = [{"x": 1, "value": 0.5, "seconds_total": 3600.0}, {"x": 2, "state": "FAIL", "seconds_total": 1800.0}]
    found = efficiency(table(rows, params=["x"]))
    assert found.hours == 1.5
    assert found.by_outcome == (("complete", 1.0, 1), ("failed", 0.5, 1))
    assert "attempts, nodes and GPUs are not recorded" in found.why
    known = table(rows, params=["x"])
    there = efficiency(replace(known, trials=known.trials.assign(node=["n0", "n1"])))
    assert there.by_node == (("n0", 1.0, 1, 0), ("n1", 0.5, 1, 1))


@pytest.mark.parametrize("rows", [[], [{"x": 1, "value": 0.5}], [{"x": 1, "state": "FAIL"}]])
def test_nothing_recorded(rows: list[dict[str, Any]]) -> None:
    found = efficiency(table(rows, params=["x"]))
    assert (found.hours, found.gpu_hours, found.queue_wait_s) == (None, None, None)
    assert found.why


def test_a_node_that_fails_more_than_others() -> None:
    good = [attempt(i, "complete", f"n{i % 3}") for i in range(30)]
    bad = [attempt(100 + i, "exception", "n9", 0.01) for i in range(5)]
    worst = bad_node(used(*good, *bad).by_node)
    assert worst is not None
    assert worst[0] == "n9"
    assert worst[1] < 0.001
    assert bad_node(used(*good).by_node) is None
    spread = [attempt(200 + i, "exception", f"n{i % 3}") for i in range(3)]
    node = bad_node(used(*good, *spread).by_node)
    assert node is not None
    assert node[1] > 0.05
