"""A classifier of handwritten digits, configured by Hydra (conf/config.yaml): replace it with your own training."""

import hydra
import numpy as np
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hpo_batch


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    rng = np.random.default_rng(config.seed)
    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x / 16, y, random_state=0)
    weights, first = np.zeros((64, 10)), 0
    saved = hpo_batch.checkpoint_dir() / "last.npz"  # ./checkpoints outside a sweep
    if saved.exists():  # an earlier attempt was interrupted: preempted, or out of time
        with np.load(saved) as checkpoint:
            weights, first = checkpoint["weights"], int(checkpoint["epoch"]) + 1

    for epoch in range(first, config.epochs):
        for batch in np.array_split(rng.permutation(len(x_train)), len(x_train) // config.data.batch_size):
            error = softmax(x_train[batch] @ weights) - np.eye(10)[y_train[batch]]  # (B, 10)
            gradient = x_train[batch].T @ error / len(batch) + config.optimizer.weight_decay * weights
            weights = weights - config.optimizer.lr * gradient
        probability = softmax(x_val @ weights)
        val_loss = float(-np.log(probability[np.arange(len(y_val)), y_val] + 1e-12).mean())
        hpo_batch.report(epoch, val_loss=val_loss)  # does nothing outside a sweep; the last one is the result
        if hpo_batch.should_stop():  # pruned, walltime near, preempted, cancelled
            np.savez(saved, weights=weights, epoch=epoch)
            break


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    main()
