"""A classifier of handwritten digits, trained by stochastic gradient descent: replace it with your own training."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hpo_batch


def train(trial: hpo_batch.Trial) -> dict[str, float] | None:
    """Train one configuration; ``trial.params`` has the values of [space] in sweep.toml."""
    rng = np.random.default_rng(trial.seed)
    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x / 16, y, random_state=0)
    weights, first = np.zeros((64, 10)), 0
    saved = trial.checkpoint / "last.npz"
    if trial.resumes:  # an earlier attempt was interrupted: preempted, or out of time
        with np.load(saved) as checkpoint:
            weights, first = checkpoint["weights"], int(checkpoint["epoch"]) + 1

    for epoch in range(first, trial.params["epochs"]):
        for batch in np.array_split(rng.permutation(len(x_train)), len(x_train) // trial.params["batch_size"]):
            error = softmax(x_train[batch] @ weights) - np.eye(10)[y_train[batch]]  # (B, 10)
            gradient = x_train[batch].T @ error / len(batch) + trial.params["weight_decay"] * weights
            weights = weights - trial.params["lr"] * gradient
        probability = softmax(x_val @ weights)
        val_loss = float(-np.log(probability[np.arange(len(y_val)), y_val] + 1e-12).mean())
        val_accuracy = float((probability.argmax(axis=1) == y_val).mean())
        trial.report(epoch, val_loss=val_loss, val_accuracy=val_accuracy)
        if trial.should_stop():  # pruned, walltime near, preempted, cancelled
            np.savez(saved, weights=weights, epoch=epoch)
            return None
    return {"val_loss": val_loss, "val_accuracy": val_accuracy}


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
