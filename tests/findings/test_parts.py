"""What the parts of analysis say of trials whose truth is known."""

from __future__ import annotations

import json
import math

import numpy as np
import optuna
import pytest
from statsmodels.stats.multitest import multipletests

from hpo_batch.expressions import parse
from hpo_batch.findings.best.numbers import summarise
from hpo_batch.findings.best.optimism import optimism
from hpo_batch.findings.effects.numbers import effects, settled
from hpo_batch.findings.effects.significance import noncentrality_found
from hpo_batch.findings.elites.numbers import elites
from hpo_batch.findings.importance.numbers import fanova, importance
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.model.stats import binomial_se, hanley_mcneil, holm, pooled_sd, sd_interval
from hpo_batch.findings.noise.numbers import noise_floor
from hpo_batch.findings.relations.interactions import interactions
from hpo_batch.records import Answer
from hpo_batch.space.parameters import Choices, Real
from hpo_batch.space.space import Space
from tests.findings.simulate import table


class TestStats:
    def test_holm_leaves_out_what_was_not_tested(self) -> None:
        assert holm([0.01, None, 0.04, math.nan, 0.03]) == pytest.approx((0.03, None, 0.06, None, 0.06))
        assert holm([]) == ()
        assert holm([None]) == (None,)

    def test_hanley_and_mcneils_own_example(self) -> None:
        # Radiology 143 (1982), 58 normal and 51 abnormal, area 0.893
        assert hanley_mcneil(0.893, 51, 58) == pytest.approx(0.032, abs=0.001)

    def test_a_share_of_80_has_five_points_of_error(self) -> None:
        assert binomial_se(0.28, 80) == pytest.approx(0.050, abs=0.001)

    def test_holm_is_that_of_statsmodels(self) -> None:
        random = np.random.default_rng(0)
        for n in (1, 2, 7, 40):
            p = (random.random(n) ** 3).tolist()
            assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist(), abs=1e-12)

    @pytest.mark.parametrize(("r", "sds"), [(2, 5.65), (3, 3.07), (4, 2.38), (5, 2.02), (10, 1.32), (17, 0.99)])
    def test_detectable_differences_are_those_of_the_tables(self, r: int, sds: float) -> None:
        # of two groups of r: the variance of their difference is 2 / r
        found = noncentrality_found(1, 2 * r - 2, alpha=0.05)
        assert found is not None
        assert math.sqrt(found * 2 / r) == pytest.approx(sds, abs=0.01)
        stricter = noncentrality_found(1, 2 * r - 2, alpha=0.01)
        assert stricter is not None
        assert stricter > found

    def test_pooled_spread_and_its_interval(self) -> None:
        found = pooled_sd([[1.0, 3.0], [5.0], [2.0, 2.0, 5.0]])
        assert found == pytest.approx((math.sqrt((2 + 6) / 3), 3))
        low, high = sd_interval(1.0, 10, level=0.90)
        assert (low, high) == pytest.approx((0.739, 1.593), abs=0.001)


class TestFrame:
    def test_values_of_other_types_are_other_levels_and_can_be_told_apart(self) -> None:
        data = prepare(table([({"a": v}, 0.5) for v in (1, True, "1", 1.0, "true", 1)]))
        (param,) = data.params
        assert len(param.levels) == 5
        assert sorted(param.label(level) for level in param.levels) == ['"1"', '"true"', "1", "1.0", "true"]
        assert len(data.configurations) == 5

    def test_repeats_with_an_equal_value_are_one_observation_others_are_not(self) -> None:
        rows = [({"a": 1}, 0.5), ({"a": 1}, 0.5), ({"a": 1}, 0.6), ({"a": 2}, 0.5)]
        assert prepare(table(rows)).distinct.tolist() == [0, 2, 3]
        assert prepare(table(rows, columns={"seed": [1, 2, 3, 4]})).distinct.tolist() == [0, 1, 2, 3]

    def test_a_searched_seed_is_a_seed_and_no_parameter(self) -> None:
        data = prepare(table([({"a": 1, "seed": s}, 0.5 + s / 10) for s in range(3)]))
        assert [param.name for param in data.params] == ["a"]
        assert data.seeds == (0, 1, 2)

    def test_pruned_and_failed_trials_and_values_that_are_no_numbers_are_counted_not_used(self) -> None:
        rows = [({"a": i}, v) for i, v in enumerate([0.1, math.nan, math.inf, 0.2, 0.3])]
        summary = summarise(prepare(table(rows, states=["COMPLETE"] * 3 + ["PRUNED", "COMPLETE"])))
        assert (summary.n, summary.skipped) == (2, 2)
        assert summary.states == {"COMPLETE": 4, "PRUNED": 1}

    def test_the_best_are_distinct_configurations_and_ties_share_a_rank(self) -> None:
        rows = [({"a": 1}, 0.9), ({"a": 1}, 0.9), ({"a": 2}, 0.9), ({"a": 3}, 0.5)]
        top = summarise(prepare(table(rows))).top
        assert [(t.rank, t.number, t.count, t.tied) for t in top] == [
            (1, 0, 2, True),
            (1, 2, 1, True),
            (3, 3, 1, False),
        ]
        lowest = summarise(prepare(table(rows, direction="minimize"))).best
        assert lowest is not None
        assert lowest.number == 3

    def test_scales_come_from_the_space_and_else_from_the_span(self) -> None:
        rows = [({"lr": 10.0**-i, "d": 32 * i}, 0.5) for i in range(1, 5)]
        lr, d = prepare(table(rows)).params
        assert (lr.log, d.log) == (True, False)
        space = Space(parameters=(Real(name="lr", low=0.0, high=1.0), Real(name="d", low=1.0, high=500.0, log=True)))
        lr, d = prepare(table(rows, space=space)).params
        assert (lr.log, d.log) == (False, True)
        assert d.bounds == (1.0, 500.0)


class TestNoise:
    def test_replicates_with_other_seeds_give_the_floor(self) -> None:
        random = np.random.default_rng(0)
        rows = [({"a": i // 3}, i // 3 + 0.1 * float(random.normal())) for i in range(60)]
        noise = noise_floor(prepare(table(rows, columns={"seed": [i % 3 for i in range(60)]})))
        assert noise.source == "replicates"
        assert noise.n_pairs == 20
        assert noise.alarms == ()
        assert noise.sd is not None
        assert noise.sd.low is not None
        assert noise.sd.high is not None
        assert noise.sd.level == 0.90
        assert noise.sd.low < 0.1 < noise.sd.high

    def test_seeds_within_a_trial_count_too(self) -> None:
        by_seed = [json.dumps([0.5, 0.6]), json.dumps([0.7, 0.8]), None]
        rows = [({"a": i}, 0.5) for i in range(3)]
        noise = noise_floor(prepare(table(rows, columns={"value_by_seed": by_seed})))
        assert noise.sd is not None
        assert noise.sd.value == pytest.approx(0.1 / math.sqrt(2))
        assert "only 2 degrees of freedom" in noise.text

    def test_an_equal_seed_with_another_value_is_an_alarm_and_no_noise(self) -> None:
        rows = [({"a": 1}, 0.5), ({"a": 1}, 0.6), ({"a": 2}, 0.6), ({"a": 2}, 0.6)]
        noise = noise_floor(prepare(table(rows, columns={"seed": [7, 7, 7, 7]})))
        assert noise.sd is None
        assert [alarm.numbers for alarm in noise.alarms] == [(0, 1)]

    def test_the_size_of_the_validation_set_is_the_next_best_source(self) -> None:
        sizes = {"user_attrs_n_eval": [422.0] * 3, "user_attrs_n_pos": [76.0] * 3}
        rows = [({"a": i}, 0.7) for i in range(3)]
        auc = noise_floor(prepare(table(rows, metric="val_auc", columns=sizes)))
        assert auc.source == "standard error of an AUC"
        accuracy = noise_floor(prepare(table(rows, metric="val_accuracy", columns=sizes)))
        assert accuracy.source == "binomial"
        assert accuracy.sd is not None
        assert accuracy.sd.value == pytest.approx(math.sqrt(0.7 * 0.3 / 422))
        assert noise_floor(prepare(table(rows, metric="loss", columns=sizes))).source == "unknown"
        percent = noise_floor(prepare(table([({"a": i}, 70.0) for i in range(3)], metric="val_acc", columns=sizes)))
        assert percent.sd is not None
        assert percent.sd.value == pytest.approx(100 * accuracy.sd.value)
        rmse = noise_floor(prepare(table([({"a": i}, 1.3) for i in range(3)], metric="error", columns=sizes)))
        assert rmse.source == "unknown"


class TestEffects:
    def test_an_effect_of_what_the_sampler_did_together_is_taken_out(self) -> None:
        random = np.random.default_rng(1)
        rows = []
        for _ in range(120):
            real = int(random.integers(3))
            # mostly tried together: the idle one looks as good as the real one
            idle = real if random.random() < 0.8 else int(random.integers(3))
            rows.append(({"real": real, "idle": idle}, real + 0.3 * float(random.normal())))
        found = {effect.parameter: effect for effect in effects(prepare(table(rows)))}
        assert found["idle"].naive_trend == "increasing"
        assert found["idle"].p is not None
        assert found["idle"].p > 0.05
        means = [row.adjusted.value for row in found["idle"].rows if row.adjusted]
        assert max(means) - min(means) < 0.3
        assert found["real"].shape == "increasing"
        assert found["real"].span == pytest.approx(2.0, abs=0.3)

    def test_a_trend_needs_the_adjusted_test(self) -> None:
        rows = [({"a": i % 3}, i % 3 + (i % 7) / 20) for i in range(60)]
        (effect,) = effects(prepare(table(rows)))
        assert effect.trend == "no clear trend"
        assert settled(effect, p_holm=0.01).trend == "increasing"
        assert settled(effect, p_holm=0.06).trend == "no clear trend"

    def test_the_best_in_the_middle_is_called_peaked_for_losses_too(self) -> None:
        rows = [({"a": i % 4}, abs(i % 4 - 1.4) + (i % 7) / 50) for i in range(60)]
        (effect,) = effects(prepare(table(rows, direction="minimize")))
        assert effect.shape == "peaked"

    def test_a_curve_runs_over_the_tried_range_and_holds_its_truth(self) -> None:
        random = np.random.default_rng(2)
        rows = []
        for _ in range(80):
            lr = 10 ** float(random.uniform(-5, -1))
            rows.append(({"lr": lr}, -((math.log10(lr) + 3) ** 2) + 0.2 * float(random.normal())))
        (effect,) = effects(prepare(table(rows)))
        assert effect.kind == "continuous"
        assert effect.shape == "peaked"
        top = max(effect.curve, key=lambda point: point[1].value)[0]
        assert 3e-4 < top < 3e-3

    def test_flagged_trials_are_left_out_of_the_second_answer_only(self) -> None:
        rows = [({"a": i % 2}, 1.0 + i % 2 + (i % 5) / 10) for i in range(30)]
        (effect,) = effects(prepare(table(rows)), without=[0, 1])
        assert [row.n for row in effect.rows] == [15, 15]
        assert [row.n for row in effect.rows_without] == [14, 14]
        assert effect.without_outliers is not None


class TestImportance:
    def test_shares_are_those_of_optunas_evaluator(self) -> None:
        random = np.random.default_rng(3)
        inputs = random.random((60, 3))
        kinds = random.integers(3, size=60)
        y = 3 * inputs[:, 0] + (kinds == 1) + 0.1 * random.normal(size=60)
        hot = (kinds[:, None] == np.arange(3)).astype(float)
        box = np.array([[0.0, 1.0]] * 6)
        ours = fanova(np.hstack([hot, inputs]), y, [[0, 1, 2], [3], [4], [5]], box, n_trees=64, seed=7)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study()
        space: dict[str, optuna.distributions.BaseDistribution] = {
            "a": optuna.distributions.CategoricalDistribution(["x", "y", "z"]),
            **{name: optuna.distributions.FloatDistribution(0, 1) for name in "bcd"},
        }
        for kind, row, value in zip(kinds, inputs, y, strict=True):
            params = {"a": "xyz"[kind], **dict(zip("bcd", row.tolist(), strict=True))}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=float(value)))
        theirs = optuna.importance.FanovaImportanceEvaluator(n_trees=64, seed=7).evaluate(study)
        assert ours.tolist() == pytest.approx([theirs[name] for name in "abcd"], abs=1e-9)

    def test_parameters_that_do_nothing_stay_below_the_line_and_seeds_repeat(self) -> None:
        random = np.random.default_rng(4)
        rows = []
        for _ in range(60):
            params = {
                "x": float(random.random()),
                "idle": float(random.random()),
                "kind": "ab"[int(random.integers(2))],
            }
            rows.append((params, 3 * params["x"] + (params["kind"] == "a") + 0.1 * float(random.normal())))
        found = importance(prepare(table(rows)))
        assert found is not None
        assert [(row.parameter, row.above_null) for row in found.rows] == [("x", True), ("kind", True), ("idle", False)]
        assert found.interpretable is Answer.YES
        assert all(
            row.low is not None and row.high is not None and row.low <= row.value <= row.high for row in found.rows
        )
        assert importance(prepare(table(rows))) == found

    def test_conditional_parameters_are_looked_at_within_each_value_of_their_parent(self) -> None:
        random = np.random.default_rng(5)
        rows = []
        for i in range(80):
            params: dict[str, object] = {"kind": "ab"[i % 2], "x": float(random.random())}
            if i % 2 == 0:
                params["heads"] = float(random.random())
            rows.append((params, float(random.normal())))
        space = Space(
            parameters=(
                Choices(name="kind", values=("a", "b"), ordered=False),
                Real(name="x", low=0.0, high=1.0),
                Real(name="heads", low=0.0, high=1.0, when=parse("kind == 'a'")),
            )
        )
        for given in (space, None):
            found = importance(prepare(table(rows, space=given)))
            assert found is not None
            assert {row.parameter for row in found.rows} == {"kind", "x"}
            assert [(label, branch.n, {r.parameter for r in branch.rows}) for label, branch in found.branches] == [
                ("kind = a", 40, {"x", "heads"})
            ]
            assert found.interpretable is Answer.NO


class TestRest:
    def test_an_interaction_is_found_where_there_are_ten_trials_for_each_cell(self) -> None:
        random = np.random.default_rng(6)
        rows = []
        for i in range(80):
            a, b = i % 2, (i // 2) % 2
            rows.append(({"a": a, "b": b, "c": float(random.random())}, float(a != b) + 0.3 * float(random.normal())))
        found = {(i.a, i.b): i for i in interactions(prepare(table(rows)))}
        assert found["a", "b"].p is not None
        assert found["a", "b"].p < 1e-6
        assert [cell[:3] for cell in found["a", "b"].cells] == [
            ("0", "0", 20),
            ("0", "1", 20),
            ("1", "0", 20),
            ("1", "1", 20),
        ]
        assert found["a", "c"].p is not None
        few = {(i.a, i.b): i for i in interactions(prepare(table(rows[:30])))}
        assert few["a", "b"].p is None
        assert few["a", "b"].why == "30 distinct trials in 4 combinations, 7 in the rarest: 10 each are wanted"

    def test_effects_that_add_up_are_no_interaction(self) -> None:
        random = np.random.default_rng(1)
        space = Space(parameters=tuple(Real(name=name, low=0.0, high=1.0) for name in "ab"))
        alarms = 0
        for _ in range(60):
            a, b = random.random((2, 60))
            y = 0.2 * a + 0.08 * b + 0.005 * random.normal(size=60)
            rows = [({"a": float(p), "b": float(q)}, float(v)) for p, q, v in zip(a, b, y, strict=True)]
            (found,) = interactions(prepare(table(rows, space=space)))
            assert found.p is not None
            alarms += found.p < 0.05
        assert alarms <= 7  # 3 are expected; with the metric drawn in to quantiles there were 15

    def test_elites_are_the_best_quarter_with_ties_beside_the_base_rates(self) -> None:
        rows = [({"a": "x" if i < 4 else "y", "b": i % 10}, 1.0 if i < 5 else 0.01 * (i % 9)) for i in range(16)]
        found = elites(prepare(table(rows)))
        assert found is not None
        assert (found.n, found.threshold) == (5, 1.0)
        a = next(row for row in found.rows if row.parameter == "a")
        assert a.shares == (("x", 0.8, 0.25), ("y", 0.2, 0.75))
        b = next(row for row in found.rows if row.parameter == "b")
        assert (b.low, b.high) == (0, 4)

    @pytest.mark.parametrize(("best", "edge"), [(1.0, "high"), (0.0, "low"), (0.5, "")])
    def test_an_optimum_at_the_end_of_the_space_is_told(self, best: float, edge: str) -> None:
        random = np.random.default_rng(7)
        rows = [({"a": float(a)}, -abs(float(a) - best) + 0.01 * float(random.normal())) for a in random.random(60)]
        space = Space(parameters=(Real(name="a", low=0.0, high=1.0),))
        found = elites(prepare(table(rows, space=space)))
        assert found is not None
        assert found.rows[0].at_edge == edge

    def test_the_best_of_many_noisy_trials_is_shrunken_or_held_out(self) -> None:
        random = np.random.default_rng(8)
        rows = [({"a": float(a)}, float(random.normal())) for a in random.random(50)]
        data = prepare(table(rows))
        found = optimism(data, noise_floor(data))
        assert found is not None
        assert found.held_out is None
        assert found.shrunken is not None
        assert found.optimism is not None
        assert found.optimism > 0.5
        best = rows[data.best_row][0]
        again = prepare(table([*rows, (best, 0.1), (best, 0.3)], columns={"seed": [1] * 50 + [2, 3]}))
        confirmed = optimism(again, noise_floor(again))
        assert confirmed is not None
        assert confirmed.held_out is not None
        assert confirmed.held_out.value == pytest.approx(0.2)
        assert optimism(prepare(table([])), noise_floor(prepare(table([])))) is None
