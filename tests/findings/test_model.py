"""The Gaussian process and its test, against other programs and against sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from statsmodels.regression.linear_model import GLS

from hpo_batch.expressions import parse
from hpo_batch.findings.effects.numbers import effects
from hpo_batch.findings.effects.significance import detectable, significance, trials_to_tell
from hpo_batch.findings.model.arrays import Floats
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.model.marginal import marginal
from hpo_batch.findings.model.process import Column, Problem, Process, drawn, fitted, generalized, kernel
from hpo_batch.findings.model.process import tested as f_test
from hpo_batch.findings.model.scores import scores
from hpo_batch.findings.model.surrogate import surrogate
from hpo_batch.space.parameters import Choices
from hpo_batch.space.space import Space
from tests.findings.simulate import table


def problem(n: int = 40, *, seed: int = 0) -> Problem:
    """Two numbers, one of which is active in two of three trials, and a category."""
    random = np.random.default_rng(seed)
    a, b, c = random.random(n), random.random(n), random.integers(3, size=n).astype(float)
    active = np.arange(n) % 3 > 0
    y = np.sin(4 * a) + 0.5 * (c == 1) + active * b + 0.3 * random.normal(size=n)
    return Problem(
        columns=[
            Column(at=a, active=np.ones(n, dtype=bool), ordered=True),
            Column(at=np.where(active, b, 0.5), active=active, ordered=True),
            Column(at=c, active=np.ones(n, dtype=bool), ordered=False),
        ],
        z=(y - y.mean()) / y.std(),
        repeats=1.0 + (np.arange(n) % 2),
    )


def test_the_gradient_is_that_of_the_loss() -> None:
    it = problem()
    for seed in range(3):
        theta = it.prior[0] + 0.5 * np.random.default_rng(seed).normal(size=len(it.prior[0]))
        assert check_grad(lambda t: it.loss(t)[0], lambda t: it.loss(t)[1], theta) < 1e-3


def test_without_main_effects_it_is_sklearns_process() -> None:
    random = np.random.default_rng(1)
    inputs, z = random.random((30, 2)), random.normal(size=30)
    columns = [Column(at=inputs[:, i], active=np.ones(30, dtype=bool), ordered=True) for i in range(2)]
    lengths, joint, noise = np.array([0.4, 1.5]), 0.8, 0.3
    theta = np.log([1e-12, 1e-12, *lengths, joint, noise])
    ours = Process(problem=Problem(columns=columns[:1], z=z, repeats=np.ones(30)), theta=np.log([1e-12, 0.4, 0.8, 0.3]))
    # a constant with a very wide prior is one that is integrated out
    theirs = GaussianProcessRegressor(
        ConstantKernel(1e6) + joint * Matern(lengths[0], nu=2.5) + WhiteKernel(noise), optimizer=None
    ).fit(inputs[:, :1], z)
    places = np.linspace(0, 1, 5)
    cross = joint * kernel(columns[0].distances(places), 0.4, ordered=True)[0]
    mean, variance = ours.posterior(cross, np.full(5, joint))
    expected, error = theirs.predict(places[:, None], return_std=True)
    assert mean == pytest.approx(expected, abs=1e-3)
    assert variance + noise == pytest.approx(error**2, abs=1e-3)
    assert len(theta) == 6


def test_the_test_is_that_of_statsmodels() -> None:
    random = np.random.default_rng(2)
    half = random.normal(size=(30, 30))
    covariance = half @ half.T / 30 + 0.2 * np.eye(30)
    columns = np.column_stack([np.ones(30), random.normal(size=(30, 2))])
    z = random.normal(size=30) + columns[:, 1]
    ours = generalized(covariance, z, columns)
    whole, base = (GLS(z, some, sigma=covariance).fit() for some in (columns, columns[:, :1]))
    assert ours is not None
    assert ours.p == pytest.approx(float(whole.compare_f_test(base)[1]), rel=1e-5)
    assert ours.covariance == pytest.approx(np.asarray(whole.cov_params())[1:, 1:], rel=1e-4)
    paid = generalized(covariance, z, columns, paid=5)
    assert paid is not None
    assert paid.p > ours.p


def test_means_are_those_of_samples() -> None:
    it = problem(60)
    process = Process(problem=it, theta=fitted(it))
    found = scores(np.exp(0.5 * it.z))  # a curved way back
    settings = np.arange(0, 60, 3)
    means = marginal(process, 0, np.array([0.1, 0.5, 0.9]), settings, found)
    random = np.random.default_rng(0)
    main, lengths, joint, noise = process.scales
    at = [np.repeat([0.1, 0.5, 0.9], 20), *(np.tile(column.at[settings], 3) for column in it.columns[1:])]
    active = [np.ones(60, dtype=bool), *(np.tile(column.active[settings], 3) for column in it.columns[1:])]

    def covariance(places: list[Floats], on: list[Floats]) -> Floats:
        total, product = np.zeros((60, len(places[0]))), np.full((60, len(places[0])), joint)
        for i, column in enumerate(it.columns):
            between, first, second = (
                kernel(column.distances(a, b), float(lengths[i]), ordered=column.ordered)[0]
                for a, b in ((at[i], places[i]), (at[i], None), (places[i], None))
            )
            product *= between
            mean = 0.0 if column.active.all() else 1.0
            w = column.weights
            among = kernel(it.distances[i], float(lengths[i]), ordered=column.ordered)[0]
            away = between - mean * ((first @ w)[:, None] + (second @ w)[None, :] - w @ among @ w)
            total += main[i] * np.outer(active[i], on[i]) * away
        return total + product

    cross = covariance([column.at for column in it.columns], [column.active for column in it.columns])
    left = 1 - cross @ process.ones
    known = cross @ process.inverse @ cross.T
    posterior = covariance(at, active) - known + np.outer(left, left) / process.ones.sum()  # type: ignore[arg-type]
    middle = process.constant + cross @ process.weights
    samples = random.multivariate_normal(middle, posterior, size=4000, check_valid="ignore")
    noisy = [
        found.expected(row, np.full(60, noise / it.repeats.mean()))[0].reshape(3, 20).mean(axis=1) for row in samples
    ]
    assert means.mean == pytest.approx(np.mean(noisy, axis=0), abs=0.05)
    assert means.errors == pytest.approx(np.std(noisy, axis=0), rel=0.25)


def test_likely_variances_come_in_pairs_around_the_most_likely() -> None:
    it = problem()
    theta = fitted(it)
    assert abs(it.loss(theta)[1]).max() < 0.05
    pairs = drawn(it, theta)
    assert len(pairs) % 2 == 0
    assert drawn(it, theta)[0] == pytest.approx(pairs[0])
    inside = [np.abs(pair - it.prior[0]) <= 5 * it.prior[1] + 1e-9 for pair in pairs]
    assert np.all(inside)


def test_nothing_is_left_to_test_with() -> None:
    it = problem(8)
    process = Process(problem=it, theta=it.prior[0])
    assert f_test(process, [0], np.zeros((8, 1))) is None
    assert f_test(process, [0], np.random.default_rng(0).normal(size=(8, 6))) is None


def test_a_level_that_holds_all_of_the_worst_trials_is_told() -> None:
    """Drawing the metric in to its 10 % quantile deletes them: 5 of 84 trials, all of one level, the 5 worst."""
    random = np.random.default_rng(0)
    rows = [
        ({"kind": "ab"[i % 2], "x": float(random.random())}, 0.24 + 0.02 * float(random.normal())) for i in range(79)
    ]
    rows += [({"kind": "c", "x": float(random.random())}, 0.307 + 0.005 * float(random.normal())) for _ in range(5)]
    found = {effect.parameter: effect for effect in effects(prepare(table(rows, direction="minimize")))}
    assert found["kind"].p is not None
    assert found["kind"].p < 0.001
    assert found["kind"].direction is not None
    assert found["kind"].direction.worse == "c"
    assert found["kind"].direction.probability > 0.99


def test_a_derived_value_is_no_parameter() -> None:
    random = np.random.default_rng(3)
    rows = []
    for i in range(40):
        width = (32, 64, 128)[i % 3]
        rows.append(
            ({"width": width, "ff": 4 * width, "x": float(random.random())}, width / 64 + float(random.normal()))
        )
    space = Space(
        parameters=(Choices(name="width", values=(32, 64, 128), ordered=False),), derived={"ff": parse("width * 4")}
    )
    found = {effect.parameter: effect for effect in effects(prepare(table(rows, space=space)))}
    assert found["width"].p is not None
    assert found["ff"].p is None
    assert found["ff"].why == "computed from width: no parameter of its own"
    # of foreign trials nothing is known but that both always changed together
    found = {effect.parameter: effect for effect in effects(prepare(table(rows)))}
    assert found["width"].together == found["ff"].together == ("width", "ff")
    assert found["width"].p == found["ff"].p
    of_width, of_ff = found["width"].direction, found["ff"].direction
    assert of_width is not None
    assert of_ff is not None
    assert (of_ff.better, of_ff.worse) == (4 * of_width.better, 4 * of_width.worse)  # type: ignore[operator]
    assert of_ff.probability == pytest.approx(of_width.probability)


def test_few_trials_give_a_direction_and_no_test() -> None:
    """12 parameters and 15 trials: nothing can be tested, and what looks best is still worth a probability."""
    random = np.random.default_rng(4)
    rows = []
    for _ in range(15):
        params = {f"p{i}": float(random.random()) for i in range(12)}
        rows.append((params, params["p0"] + 0.1 * float(random.normal())))
    found = effects(prepare(table(rows)))
    assert all(effect.p is None or effect.p > 0 for effect in found)
    told = next(effect.direction for effect in found if effect.parameter == "p0")
    assert told is not None
    assert told.better > told.worse  # type: ignore[operator]
    assert 0.5 <= told.probability < 1
    assert surrogate(prepare(table(rows[:5])), np.arange(5)) is None


def test_whole_numbers_that_may_be_names_are_tested_one_by_one() -> None:
    """A curve sees nothing of which fold is bad; numbers with more room are tested by a line and a curve."""
    random = np.random.default_rng(5)
    for values in (7, 9):
        rows = [
            ({"fold": 1 + i % values, "x": float(random.random())}, (i % values == 3) + 0.3 * float(random.normal()))
            for i in range(8 * values)
        ]
        found = {effect.parameter: effect for effect in effects(prepare(table(rows)))}
        assert "a column for each value" in found["fold"].method
        assert found["fold"].p is not None
        assert found["fold"].p < 0.01
        assert found["fold"].detectable is not None
        assert found["fold"].direction is not None
        assert found["fold"].direction.better == 4
    (few,) = effects(prepare(table([({"depth": 2 + i % 7}, float(i % 7) + float(random.normal())) for i in range(20)])))
    assert "line and curve" in few.method


@pytest.mark.parametrize("few", [14, 24, 48])
def test_the_number_of_trials_that_would_tell_is_that_of_more_trials(few: int) -> None:
    """What 96 trials of a balanced design detect is told of fewer, to which as many are missing."""
    random = np.random.default_rng(5)
    rows = []
    for i in range(96):
        a, b, c, d = i % 2, (i // 2) % 2, (i // 4) % 3, (i // 12) % 2
        rows.append(({"a": a, "b": b, "c": c, "d": d, "x": float(random.random())}, float(random.normal())))

    def detected(n: int) -> tuple[float, Any, int, int]:
        data = prepare(table(rows[:n]))
        model = surrogate(data, data.rows())
        assert model is not None
        found = significance(data, data.by_name["a"], data.rows())
        assert found.test is not None
        limit = detectable(model, data.by_name["a"], found.test, family=5)
        assert limit is not None
        return limit / model.scores.unit, found.test, model.tested.n, len(model.together)

    many, *_ = detected(96)
    limit, test, n, family = detected(few)
    more = trials_to_tell(many, limit=limit, test=test, n=n, family=family)
    assert more is not None
    assert 0.6 * (96 - few) < more < 1.7 * (96 - few)
    assert trials_to_tell(2 * limit, limit=limit, test=test, n=n, family=family) is None
    assert trials_to_tell(1e-6 * limit, limit=limit, test=test, n=n, family=family) is None
