"""The callback in real trainings of LightGBM."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.integrations.conftest import Command

X = np.random.default_rng(0).normal(size=(200, 3))
Y = (X[:, 0] > 0).astype(int)
PARAMS = {"objective": "binary", "num_threads": 1, "verbosity": -1}


@pytest.fixture(autouse=True)
def _library() -> None:
    """Imported when a test runs: the other tests need not wait for it."""
    pytest.importorskip("lightgbm")


def callback(**options: Any) -> Any:
    from hpo_batch.integrations import LightGBMCallback

    return LightGBMCallback(**options)


def train(*callbacks: Any, rounds: int = 6) -> Any:
    import lightgbm

    data = lightgbm.Dataset(X, Y)
    return lightgbm.train(
        PARAMS, data, num_boost_round=rounds, valid_sets=[data], valid_names=["val"], callbacks=list(callbacks)
    )


def test_each_round_is_a_step(command: Command) -> None:
    train(callback())
    assert command.steps == [0, 1, 2, 3, 4, 5]
    assert command.reports[5]["val-binary_logloss"] < command.reports[0]["val-binary_logloss"]


def test_some_rounds_are_left_out(command: Command) -> None:
    train(callback(every=4))
    assert command.steps == [0, 4]


def test_it_stops_beside_early_stopping(command: Command) -> None:
    import lightgbm

    command.stop()
    booster = train(lightgbm.early_stopping(3, verbose=False), callback())
    assert booster.current_iteration() == 1
    assert command.steps == [0]


def test_estimators_and_folds(command: Command) -> None:
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=2, n_jobs=1, verbosity=-1)
    model.fit(X, Y, eval_X=X, eval_y=Y, callbacks=[callback()])
    assert set(command.reports[0]) == {"step", "valid_0-binary_logloss"}
    (command.folder / "reported.jsonl").unlink()
    lightgbm.cv(PARAMS, lightgbm.Dataset(X, Y), num_boost_round=2, nfold=2, callbacks=[callback()])
    assert all(name == "step" or name.startswith("valid-binary_logloss") for name in command.reports[0])
