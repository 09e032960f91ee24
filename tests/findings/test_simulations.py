"""A small version of benchmarks/analysis.py: what tests, intervals and probabilities promise, on TPE studies."""

from __future__ import annotations

import pytest

from benchmarks.analysis import Tally, judge
from benchmarks.studies import SPACE, STEPS, additive, conditional_problem, interacting, learning, made, searched
from hpo_batch.findings.effects.numbers import effects

STUDIES = 8


@pytest.fixture(scope="module")
def tally() -> Tally:
    """Of problems with and without interactions; nothing was chosen on either."""
    found = Tally()
    for truth, noise in ((additive, 0.3), (interacting, 0.1)):
        problem = made(truth.__name__, SPACE, truth, noise=noise)
        for seed in range(STUDIES):
            judge(found, searched(problem, sampler="tpe", seed=seed, n=50), {}, with_interactions=seed < 3)
    return found


def test_parameters_that_do_nothing_are_rarely_called_significant(tally: Tally) -> None:
    called = [claim["p"] < 0.05 for claim in tally.claims if claim["idle"]]
    assert len(called) == 4 * STUDIES
    # at a rate of 6 % six or more of 32 have probability 0.01
    assert sum(called) < 6
    assert sum(study["idle_survives"] or study["false_pair"] for study in tally.studies) <= 2


def test_large_effects_are_found_with_their_sign(tally: Tally) -> None:
    large = [claim for claim in tally.claims if claim["share"] > 0.4]
    assert len(large) >= STUDIES
    assert sum(claim["p"] < 0.05 for claim in large) >= 0.8 * len(large)
    sure = [claim for claim in tally.claims if claim["probability"] > 0.95 and claim["right"] in (True, False)]
    assert sum(claim["right"] for claim in sure) >= 0.9 * len(sure)


def test_intervals_hold_the_truth(tally: Tally) -> None:
    for kind in ("value", "band", "difference"):
        held = [one["holds"] for one in tally.intervals if one["kind"] == kind]
        assert len(held) >= 60
        assert sum(held) / len(held) >= 0.88, kind


def test_the_most_important_parameter_is_named(tally: Tally) -> None:
    assert sum(study["top"] for study in tally.studies) >= 2 * STUDIES - 2


def test_seeds_of_one_configuration_are_no_trials_of_their_own() -> None:
    problem = made("seeds", SPACE, additive, noise=0.3, replicates=3)
    called = [
        effect.p is not None and effect.p < 0.05
        for seed in range(6)
        for effect in effects(searched(problem, sampler="tpe", seed=seed, n=60).data)
        if effect.parameter in problem.idle
    ]
    assert len(called) == 12
    assert sum(called) <= 3  # counted as trials of their own, two thirds of them were


def test_a_condition_is_told_from_what_it_switches_on() -> None:
    problem = conditional_problem()
    found = {effect.parameter: effect for effect in effects(searched(problem, sampler="random", seed=1, n=100).data)}
    parent, child = found["optimizer"], found["momentum"]
    assert parent.p is not None
    assert parent.p < 0.01
    assert parent.direction is not None
    assert (parent.direction.better, parent.direction.worse) == ("adam", "sgd")
    assert child.p is not None
    assert child.direction is not None


def test_pruned_trials_are_judged_at_the_step_at_which_they_are_compared() -> None:
    problem = made("pruned", SPACE, additive, noise=0.3, learning=learning(additive))
    tally = Tally()
    for seed in range(3):
        study = searched(problem, sampler="tpe", seed=seed, n=60)
        assert study.pruned >= 0.5
        assert study.compared.step is not None
        assert study.compared.step < STEPS
        assert study.data.n == 60
        assert study.truth(study.rows[0][0]) != problem.truth(study.rows[0][0])
        judge(tally, study, {}, with_interactions=False)
    assert sum(claim["p"] < 0.05 for claim in tally.claims if claim["idle"]) <= 1
    held = [one["holds"] for one in tally.intervals if one["kind"] in ("value", "band")]
    assert sum(held) >= 0.85 * len(held)
    assert sum(one["top"] for one in tally.studies) == 3
