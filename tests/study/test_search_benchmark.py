"""The arithmetic of ``benchmarks/search.py``, and one small run of ours and of Optuna's through it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks import search
from benchmarks.search_problems import Problem, functions, space_of, table_problem, tables
from hpo_batch.records import Configuration


def a_problem(name: str = "constrained") -> Problem:
    return next(problem for problem in functions() if problem.name == name)


def ended(value: float, *, loss: float | None = None, key: int = 0) -> search.Ended:
    configuration = Configuration(searched={"d_model": 32, "n_layers": key, "n_heads": 2}, fixed={}, derived={})
    return search.Ended(configuration=configuration, loss=value if loss is None else loss, true=value)


def test_a_table_is_minimised_as_a_logarithm_and_maximised_as_it_is(tmp_path: Path) -> None:
    space = json.dumps({"a": [1, 2], "b": ["x", "y", "z"]})
    table = np.arange(1.0, 13.0).reshape(2, 3, 2)
    values = {"a": 2, "b": "y"}  # its two seeds saw 9 and 10
    for direction, best, seen in (("minimize", 1.5, {9.0, 10.0}), ("maximize", 11.5, {9.0, 10.0})):
        np.savez(tmp_path / f"{direction}.npz", table=table, params=["a", "b"], space=space, direction=direction)
        problem = table_problem(tmp_path / f"{direction}.npz")
        assert problem.told(problem.true(values)) == pytest.approx(9.5)
        assert problem.value(0.0) == pytest.approx(best)
        assert problem.regret(problem.best) == 0.0
        assert problem.regret(problem.median) == 1.0
        drawn = {round(problem.told(problem.noisy(values, random.Random(i))), 6) for i in range(20)}
        assert drawn == seen
    assert [problem.name for problem in tables(tmp_path)] == ["maximize", "minimize"]
    assert tables(tmp_path / "absent") == []


def test_the_best_of_the_functions_is_where_they_say() -> None:
    space = space_of(a_problem("mixed").space)
    best = {"learning_rate": 10**-3.25, "dropout": 0.2, "depth": 5, "width": 512, "optimizer": "sgd", "momentum": 0.9}
    assert a_problem("mixed").true(space.resolve(best).values) == pytest.approx(0.0)
    assert all(problem.regret(problem.best) == 0 and problem.median > problem.best for problem in functions())


def test_workers_ask_when_they_are_done_and_each_number_is_asked_for_once() -> None:
    running: set[int] = set()
    most: list[int] = []

    def ask(worker: int) -> int:
        assert worker not in running
        running.add(worker)
        most.append(len(running))
        return worker

    def tell(worker: int, trial: int, number: int) -> search.Ended:
        assert trial == worker
        running.remove(worker)
        return ended(0.0, key=number)

    orders = [
        [t.configuration.values["n_layers"] for t in search.simulated(ask, tell, workers=w, trials=20, seed=3)]
        for w in (1, 8, 8)
    ]
    assert orders[0] == list(range(20))
    assert sorted(map(int, orders[1])) == list(range(20)) != orders[1]
    assert orders[1] == orders[2]
    assert max(most) == 8


def test_a_used_up_space_ends_a_run_early() -> None:
    left = [1, 2, 3]
    run = search.simulated(
        lambda worker: left.pop() if left else None, lambda w, t, n: ended(0.0, key=t), workers=2, trials=9, seed=0
    )
    assert len(run) == 3


def test_what_a_run_is_worth_after_its_trials() -> None:
    problem = a_problem()
    trials = [
        ended(0.4 * problem.median, key=1),
        ended(0.2 * problem.median, loss=9.0, key=2),  # the best one looked bad
        ended(float("inf"), key=3),
        ended(0.4 * problem.median, key=1),
    ]
    after = search.after(problem, trials)
    assert (after.best, after.winner) == (pytest.approx(0.2), pytest.approx(0.4))
    assert (after.repeats, after.invalid, after.covered) == (1, 1, 2)


def test_intervals_and_p_values() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=40)
    low, high = search.interval(noise + 5)
    assert low < noise.mean() + 5 < high
    half = 1.96 * noise.std() / 40**0.5
    assert high - low == pytest.approx(2 * half, rel=0.15)
    assert search.p_value(noise + 5) < 0.001
    assert search.p_value([1.0, -1.0, 0.5, -0.5]) == pytest.approx(1.0)
    assert search.p_value([0.0, 0.0]) == 1.0
    assert search.p_value([1.0, 1.0, 1.0]) == pytest.approx(0.25, abs=0.02)  # all signs alike: 2 of 8


def test_holm_is_what_statistics_books_say() -> None:
    assert search.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert search.holm([0.9, 0.5]) == [1.0, 1.0]
    assert search.holm([]) == []


@pytest.mark.parametrize("system", [search.OURS, "hpo-batch, startup_trials = 3; coverage_share = 0.5", search.THEIRS])
def test_a_run_is_repeatable(system: str, tmp_path: Path) -> None:
    search.PROBLEMS["constrained"] = a_problem()
    runs = [search.Run(problem="constrained", system=system, workers=3, seed=5)]
    keep = tmp_path / "runs.jsonl"
    first = search.measure(runs, 12, 1, keep)
    assert search.measure(runs, 12, 1, None) == first == search.measure(runs, 12, 1, keep)
    assert len(keep.read_text().splitlines()) == 1
    (after,) = first.values()
    assert list(after) == [12]
    if system != search.THEIRS:
        assert (after[12].repeats, after[12].invalid) == (0, 0)


def test_the_report_has_a_line_for_each_case() -> None:
    after = [search.After(best=b, winner=b, repeats=0, invalid=0, covered=4) for b in (0.1, 0.3)]
    names = [search.OURS, search.THEIRS]
    runs = {
        search.Run(problem="constrained", system=system, workers=1, seed=seed): {20: figures}
        for seed in range(6)
        for system, figures in zip(names, after, strict=True)
    }
    search.PROBLEMS["constrained"] = a_problem()
    lines = list(search.report(search.Results(runs), "best", *names, [20]))
    assert len(lines) == 5
    assert lines[2].startswith("| 1 | constrained | 20 | 0.100 | 0.300 | **-0.200 [-0.200, -0.200]** |")
    assert lines[3].startswith("| 1 | *the functions* | 20 | 0.100 | 0.300 |")
    assert lines[4].startswith("| 1 | *all* | 20 | 0.100 | 0.300 |")
