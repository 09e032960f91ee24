"""What a user's function can do with its trial."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from hpo_batch import Trial
from hpo_batch.records import Stopping, Verdict

from .conftest import FakeEngine


def test_a_report_reaches_engine_and_file_and_is_kept(trial: Trial, engine: FakeEngine) -> None:
    trial.report(1, val_auc=0.7, loss=0.5)
    trial.report(2, {"val/auc": 0.8}, loss=0.4)
    trial.report(step=3, loss=math.nan)
    assert engine.reports[:2] == [(1, {"val_auc": 0.7, "loss": 0.5}), (2, {"val/auc": 0.8, "loss": 0.4})]
    assert trial.progress.step == 3
    assert trial.progress.metrics["val_auc"] == 0.7
    assert math.isnan(trial.progress.metrics["loss"])
    lines = [json.loads(line) for line in (trial.dir / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["metrics"]) for line in lines[:2]] == engine.reports[:2]


@pytest.mark.parametrize(
    "value", [1, 1.0, np.float32(1), np.int64(1), np.array(1.0), np.array([[1.0]]), Fraction(1), Decimal(1)]
)
def test_numbers_of_many_kinds_are_metrics(trial: Trial, engine: FakeEngine, value: float) -> None:
    trial.report(0, loss=value)
    assert engine.reports == [(0, {"loss": 1.0})]
    assert type(engine.reports[0][1]["loss"]) is float


def test_tensors_are_metrics(trial: Trial, engine: FakeEngine) -> None:
    torch = pytest.importorskip("torch")
    trial.report(0, loss=torch.tensor(0.5, requires_grad=True), acc=torch.tensor([1], dtype=torch.bfloat16))
    assert engine.reports == [(0, {"loss": 0.5, "acc": 1.0})]
    with pytest.raises(TypeError, match="metric 'loss' is a Tensor with other than one element"):
        trial.report(0, loss=torch.zeros(2))


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("0.7", "a text"),
        (None, "None"),
        (True, "true, not a number"),
        (np.bool_(False), "false, not a number"),
        ([0.7], "a list"),
        ({"a": 1}, "a dict"),
        (1j, "a complex"),
        (np.zeros(2), "a ndarray with other than one element"),
        (10**400, "an? int that is no real number"),
        (object(), "a object"),
    ],
)
def test_other_values_are_refused_by_name_and_type(trial: Trial, engine: FakeEngine, value: float, what: str) -> None:
    with pytest.raises(TypeError, match=f"metric 'loss' is {what}"):
        trial.report(0, acc=0.5, loss=value)
    assert engine.reports == []
    assert trial.progress.metrics == {}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: t.report(1), TypeError),
        (lambda t: t.report(1, {}), TypeError),
        (lambda t: t.report(1, 0.7), TypeError),
        (lambda t: t.report(1.0, loss=1), TypeError),
        (lambda t: t.report("1", loss=1), TypeError),
        (lambda t: t.report(True, loss=1), TypeError),
        (lambda t: t.report(-1, loss=1), ValueError),
        (lambda t: t.report(1, {3: 1.0}), TypeError),
    ],
)
def test_malformed_reports_are_refused(
    trial: Trial, engine: FakeEngine, call: Callable[[Trial], None], error: type[Exception]
) -> None:
    with pytest.raises(error):
        call(trial)
    assert engine.reports == []


def test_a_numpy_step_is_a_step(trial: Trial, engine: FakeEngine) -> None:
    trial.report(np.int64(4), loss=1)  # type: ignore[arg-type]
    assert engine.reports == [(4, {"loss": 1.0})]


def test_should_stop_once_pruned_and_stays_so(trial: Trial, engine: FakeEngine) -> None:
    engine.verdicts = {2: Verdict.PRUNE}
    trial.report(1, loss=1)
    assert not trial.should_stop()
    trial.report(2, loss=1)
    trial.report(3, loss=1)
    assert trial.should_stop()
    assert trial.stopping is Stopping.PRUNED


def test_should_stop_when_the_engine_says_so(trial: Trial, engine: FakeEngine) -> None:
    engine.reason = Stopping.TIME_LIMIT
    assert trial.stopping is Stopping.TIME_LIMIT
    engine.reason = None
    assert trial.should_stop()  # told once, the function may be on its way out


@pytest.mark.parametrize(
    ("verdict", "expected"), [(Verdict.PRUNE, Stopping.PRUNED), (Verdict.SUPERSEDED, Stopping.SUPERSEDED)]
)
def test_a_verdict_is_stronger_than_a_time_limit(
    trial: Trial, engine: FakeEngine, verdict: Verdict, expected: Stopping
) -> None:
    engine.reason = Stopping.TIME_LIMIT
    assert trial.should_stop()
    engine.verdicts = {1: verdict}
    trial.report(1, loss=1)
    assert trial.stopping is expected


def test_params_are_a_plain_dict_of_ones_own(make_trial: Callable[..., Trial]) -> None:
    given = {"lr": 0.1}
    trial = make_trial(params=given)
    assert json.dumps(trial.params) == '{"lr": 0.1}'
    trial.params["lr"] = 3
    assert given == {"lr": 0.1}


def test_training_goes_on_when_metrics_cannot_be_written(trial: Trial, engine: FakeEngine) -> None:
    shutil.rmtree(trial.dir)
    trial.report(1, loss=1)
    trial.report(2, loss=1)
    assert len(engine.reports) == 2
