"""A callback for LightGBM (https://lightgbm.readthedocs.io/en/stable/Python-API.html#callbacks)."""

from __future__ import annotations

from typing import Any

from lightgbm.callback import EarlyStopException

from hpo_batch import script


class LightGBMCallback:
    """Reports each evaluation, and ends the training when the trial is to stop.

    ``lightgbm.train(..., valid_sets=[data], valid_names=["val"], callbacks=[LightGBMCallback()])`` reports
    ``val-binary_logloss``; the estimators of scikit-learn's kind call their data ``valid_0``.

    Args:
        every: how many rounds are between two reports.
    """

    order = 25
    """after LightGBM's log of the evaluation (10), before its early stopping (30), which may end the round"""
    before_iteration = False

    def __init__(self, *, every: int = 1) -> None:
        self._every = every

    def __call__(self, env: Any) -> None:
        results = env.evaluation_result_list or []
        if env.iteration % self._every == 0 and results:
            # (data, metric, value, is higher better), and with lightgbm.cv a standard deviation behind them
            script.report(env.iteration, {f"{result[0]}-{result[1]}": result[2] for result in results})
        if script.should_stop():
            # LightGBM's own way to end a training in a callback
            raise EarlyStopException(env.iteration, results)
