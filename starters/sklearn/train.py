"""A gradient boosting classifier of handwritten digits with scikit-learn, judged by cross-validation."""

from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_validate

import hpo_batch


def train(trial: hpo_batch.Trial) -> dict[str, float]:
    """Judge one configuration; ``trial.params`` has the values of [space] in sweep.toml."""
    x, y = load_digits(return_X_y=True)
    x, y = x[:600], y[:600]  # fewer rows, for a first try
    model = HistGradientBoostingClassifier(**trial.params, random_state=trial.seed % 2**32)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)  # the same folds for all trials
    scores = cross_validate(model, x, y, cv=folds, scoring=["accuracy", "neg_log_loss"])
    return {
        "accuracy": float(scores["test_accuracy"].mean()),
        "log_loss": float(-scores["test_neg_log_loss"].mean()),
        "fit_s": float(scores["fit_time"].sum()),
    }
