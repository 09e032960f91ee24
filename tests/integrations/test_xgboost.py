"""The callback in real trainings of XGBoost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.integrations.conftest import Command

X = np.random.default_rng(0).normal(size=(200, 3))
Y = (X[:, 0] > 0).astype(int)
PARAMS = {"objective": "binary:logistic", "nthread": 1, "max_depth": 2}


@pytest.fixture(autouse=True)
def _library() -> None:
    """Imported when a test runs: the other tests need not wait for it."""
    pytest.importorskip("xgboost")


def callback(**options: Any) -> Any:
    from hpo_batch.integrations import XGBoostCallback

    return XGBoostCallback(**options)


def train(*callbacks: Any, rounds: int = 6) -> Any:
    import xgboost

    data = xgboost.DMatrix(X, Y)
    return xgboost.train(
        PARAMS, data, num_boost_round=rounds, evals=[(data, "val")], callbacks=list(callbacks), verbose_eval=False
    )


def test_each_round_is_a_step(command: Command) -> None:
    train(callback())
    assert command.steps == [0, 1, 2, 3, 4, 5]
    assert command.reports[5]["val-logloss"] < command.reports[0]["val-logloss"]


def test_some_rounds_are_left_out(command: Command) -> None:
    train(callback(every=4))
    assert command.steps == [0, 4]


def test_it_stops(command: Command) -> None:
    command.stop()
    assert train(callback()).num_boosted_rounds() == 1


def test_estimators_and_folds(command: Command) -> None:
    import xgboost

    xgboost.XGBClassifier(n_estimators=2, n_jobs=1, callbacks=[callback()]).fit(X, Y, eval_set=[(X, Y)], verbose=False)
    assert set(command.reports[0]) == {"step", "validation_0-logloss"}
    (command.folder / "reported.jsonl").unlink()
    xgboost.cv(PARAMS, xgboost.DMatrix(X, Y), num_boost_round=2, nfold=2, callbacks=[callback()])
    assert set(command.reports[0]) == {"step", "train-logloss", "test-logloss"}
