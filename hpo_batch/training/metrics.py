"""What the trainers measure, on the device the predictions are on. No scikit-learn, no host copy.

All is computed from the predictions of every sample at once, so that no batch weighs more than its samples. Names and
meanings: docs/trainers.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

NARROW = 0.2
"""Range of predictions below which they have collapsed, as in the report's section on it (`findings.health`). They have
also if all samples get the same answer."""


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, a tie counts half."""
    positive = labels > 0.5
    n_pos = int(positive.sum())
    n_neg = len(labels) - n_pos
    if n_pos == 0 or n_neg == 0:
        raise ValueError(f"the AUC is not defined on one class: {n_pos} positive and {n_neg} negative labels")
    _, group, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    middle_rank = counts.cumsum(0).double() - (counts - 1).double() / 2  # equal scores share the mean of their ranks
    rank_sum = float(middle_rank[group][positive].sum())
    return (rank_sum - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)


def binary_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """`logits` and `labels` are (N,); a prediction is positive from probability 0.5 on.

    The loss is plain cross entropy, whatever was trained with: losses of different weights cannot be compared.
    """
    probability = torch.sigmoid(logits)  # the only one: ranks, thresholds and ranges are all of these
    positive = labels > 0.5
    n_pos = int(positive.sum())
    loss, low, high, accuracy = torch.stack(
        [
            functional.binary_cross_entropy_with_logits(logits, labels),
            probability.min(),
            probability.max(),
            ((probability >= 0.5) == positive).float().mean(),
        ]
    ).tolist()
    f1_best, threshold = best_f1(probability, positive)
    at_half = at_threshold(probability, positive, 0.5)
    return {
        "val_auc": auc(logits, labels),
        "val_loss": loss,
        "val_acc": accuracy,
        **at_half,
        "f1_best": f1_best,
        "f1_threshold": threshold,
        "pred_min": low,
        "pred_max": high,
        "pred_range": high - low,
        "collapsed": float(high - low < NARROW or low >= 0.5 or high < 0.5),
        "n_eval": len(labels),
        "n_pos": n_pos,
    }


def at_threshold(probability: Tensor, positive: Tensor, threshold: float) -> dict[str, float]:
    """Precision, recall and F1 where predictions are positive from `threshold` on; 0 without a positive prediction."""
    predicted = probability >= threshold
    hits = (predicted & positive).sum()
    return dict(
        zip(
            ("precision", "recall", "f1"),
            torch.stack(
                [
                    hits / predicted.sum().clamp(min=1),
                    hits / positive.sum().clamp(min=1),
                    2 * hits / (predicted.sum() + positive.sum()).clamp(min=1),
                ]
            ).tolist(),
            strict=True,
        )
    )


def best_f1(probability: Tensor, positive: Tensor) -> tuple[float, float]:
    """The highest F1 of all thresholds, and the highest threshold that has it. Both (N,).

    Chosen on the samples it is measured on, so it flatters them: a test set takes the threshold of the validation set.
    """
    scores, order = probability.sort(descending=True)
    hits = positive[order].cumsum(0)
    n_predicted = torch.arange(1, len(scores) + 1, device=scores.device)
    f1 = 2 * hits / (n_predicted + hits[-1]).clamp(min=1)
    # equal scores are predicted together: only the last of them is a threshold
    is_last = torch.cat([scores[1:] < scores[:-1], torch.ones(1, dtype=torch.bool, device=scores.device)])
    best = torch.where(is_last, f1, -1.0).argmax()
    return float(f1[best]), float(scores[best])


def class_metrics(logits: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float]:
    """`logits` are (N, C), `labels` (N,) whole numbers below C, `names` those of the C categories.

    Precision, recall and F1 are means over the categories that occur among the labels; `recall_NAME` is the accuracy
    within one category. `pred_min` and `pred_max` are the lowest and highest probability of a category over all
    samples, as means over categories: their difference is 0 when every sample gets the same prediction.
    """
    probability = logits.softmax(1)
    predicted = probability.argmax(1)
    counts = functional.one_hot(labels, len(names)).sum(0)
    guesses = functional.one_hot(predicted, len(names)).sum(0)
    hits = functional.one_hot(labels[predicted == labels], len(names)).sum(0)
    there = counts > 0
    recall, precision = hits / counts.clamp(min=1), hits / guesses.clamp(min=1)
    f1 = 2 * hits / (counts + guesses).clamp(min=1)
    values = torch.stack(
        [
            functional.cross_entropy(logits, labels),
            (predicted == labels).float().mean(),
            *(metric[there].mean() for metric in (precision, recall, f1)),
            probability.min(0).values.mean(),
            probability.max(0).values.mean(),
        ]
    ).tolist()
    result = dict(
        zip(("val_loss", "val_acc", "precision", "recall", "f1", "pred_min", "pred_max"), values, strict=True)
    )
    pred_range = result["pred_max"] - result["pred_min"]
    occurring = [
        (name, value) for name, value, is_there in zip(names, recall.tolist(), there.tolist(), strict=True) if is_there
    ]
    return {
        **result,
        "pred_range": pred_range,
        "collapsed": float(pred_range < NARROW or int((guesses > 0).sum()) == 1 < len(occurring)),
        **{f"recall_{name}": value for name, value in occurring},
        "n_eval": len(labels),
        "n_classes": len(occurring),
    }


def as_test(metrics: Mapping[str, float]) -> dict[str, float]:
    """The same metrics under the names of a test set: `test_auc`, `test_precision`, ..."""
    return {f"test_{name.removeprefix('val_')}": value for name, value in metrics.items()}


def binary_test(logits: Tensor, labels: Tensor, best: Mapping[str, float]) -> dict[str, float]:
    """Metrics of a test set; `test_f1_best` is at the threshold that the validation set of `best` has chosen."""
    metrics = binary_metrics(logits, labels)
    metrics["f1_best"] = at_threshold(torch.sigmoid(logits), labels > 0.5, best["f1_threshold"])["f1"]
    del metrics["f1_threshold"]
    return as_test(metrics)


def training_flop(forward: float, *, n_train: int, n_val: int, epochs: int) -> float:
    """Floating point operations of a training: a step takes three times its forward pass (Kaplan et al. 2020, arXiv
    2001.08361). An estimate: matrix products and convolutions only. `forward` is that of one sample."""
    return epochs * forward * (3 * n_train + n_val)
