"""Metrics of a yes-or-no prediction, computed on the device the predictions are on. No scikit-learn, no host copy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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
    """`logits` and `labels` are (N,); a prediction is positive from probability 0.5 on."""
    probability = torch.sigmoid(logits)
    predicted, positive = probability >= 0.5, labels > 0.5
    hits = (predicted & positive).sum()
    loss, precision, recall, low, high = torch.stack(
        [
            functional.binary_cross_entropy_with_logits(logits, labels),
            hits / predicted.sum().clamp(min=1),  # no positive prediction: 0
            hits / positive.sum().clamp(min=1),
            probability.min(),
            probability.max(),
        ]
    ).tolist()
    return {
        "val_auc": auc(logits, labels),
        "val_loss": loss,
        "precision": precision,
        "recall": recall,
        "pred_min": low,
        "pred_max": high,
        "pred_range": high - low,
        "n_eval": len(labels),
        "n_pos": int(positive.sum()),
    }
