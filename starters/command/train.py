"""A classifier of handwritten digits, trained by stochastic gradient descent: replace it with your own training."""

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hpo_batch


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    rng = np.random.default_rng(args.seed)
    x, y = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(x / 16, y, random_state=0)
    weights, first = np.zeros((64, 10)), 0
    saved = hpo_batch.checkpoint_dir() / "last.npz"  # ./checkpoints outside a sweep
    if saved.exists():  # an earlier attempt was interrupted: preempted, or out of time
        with np.load(saved) as checkpoint:
            weights, first = checkpoint["weights"], int(checkpoint["epoch"]) + 1

    for epoch in range(first, args.epochs):
        for batch in np.array_split(rng.permutation(len(x_train)), len(x_train) // args.batch_size):
            error = softmax(x_train[batch] @ weights) - np.eye(10)[y_train[batch]]  # (B, 10)
            weights = weights - args.lr * (x_train[batch].T @ error / len(batch) + args.weight_decay * weights)
        probability = softmax(x_val @ weights)
        val_loss = float(-np.log(probability[np.arange(len(y_val)), y_val] + 1e-12).mean())
        print(f"epoch {epoch}: val_loss={val_loss:.4f}")
        hpo_batch.report(epoch, val_loss=val_loss)  # does nothing outside a sweep; the last one is the result
        if hpo_batch.should_stop():  # pruned, walltime near, preempted, cancelled
            np.savez(saved, weights=weights, epoch=epoch)
            break


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    main()
