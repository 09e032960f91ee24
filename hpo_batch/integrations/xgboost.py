"""A callback for XGBoost (https://xgboost.readthedocs.io/en/stable/python/callbacks.html)."""

from __future__ import annotations

from typing import Any

from xgboost.callback import TrainingCallback

from hpo_batch import script


class XGBoostCallback(TrainingCallback):
    """Reports each evaluation, and ends the training when the trial is to stop.

    ``xgboost.train(..., evals=[(data, "val")], callbacks=[XGBoostCallback()])`` reports ``val-logloss``, as XGBoost
    prints it; the estimators of scikit-learn's kind call their data ``validation_0``.

    Args:
        every: how many rounds are between two reports.
    """

    def __init__(self, *, every: int = 1) -> None:
        self._every = every

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, dict[str, list[Any]]]) -> bool:
        """Report, and return whether to stop."""
        if epoch % self._every == 0:
            # with xgboost.cv a value is a pair: the mean over the folds, and its standard deviation
            last = {
                f"{data}-{metric}": values[-1][0] if isinstance(values[-1], tuple) else values[-1]
                for data, metrics in evals_log.items()
                for metric, values in metrics.items()
            }
            if last:
                script.report(epoch, last)
        return script.should_stop()
