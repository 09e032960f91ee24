"""The callback in real trainings of XGBoost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.integrations.conftest import Command

xgboost = pytest.importorskip("xgboost")
from hpo_batch.integrations.xgboost import XGBoostCallback  # noqa: E402

X = np.random.default_rng(0).normal(size=(200, 3))
Y = (X[:, 0] > 0).astype(int)
PARAMS = {"objective": "binary:logistic", "nthread": 1, "max_depth": 2}


def train(*callbacks: Any, rounds: int = 6) -> Any:
    data = xgboost.DMatrix(X, Y)
    return xgboost.train(
        PARAMS, data, num_boost_round=rounds, evals=[(data, "val")], callbacks=list(callbacks), verbose_eval=False
    )


def test_each_round_is_a_step(command: Command) -> None:
    train(XGBoostCallback())
    assert command.steps == [0, 1, 2, 3, 4, 5]
    assert command.reports[5]["val-logloss"] < command.reports[0]["val-logloss"]


def test_some_rounds_are_left_out(command: Command) -> None:
    train(XGBoostCallback(every=4))
    assert command.steps == [0, 4]


def test_it_stops(command: Command) -> None:
    command.stop()
    assert train(XGBoostCallback()).num_boosted_rounds() == 1


def test_estimators_and_folds(command: Command) -> None:
    xgboost.XGBClassifier(n_estimators=2, n_jobs=1, callbacks=[XGBoostCallback()]).fit(
        X, Y, eval_set=[(X, Y)], verbose=False
    )
    assert set(command.reports[0]) == {"step", "validation_0-logloss"}
    (command.folder / "reported.jsonl").unlink()
    xgboost.cv(PARAMS, xgboost.DMatrix(X, Y), num_boost_round=2, nfold=2, callbacks=[XGBoostCallback()])
    assert set(command.reports[0]) == {"step", "train-logloss", "test-logloss"}
