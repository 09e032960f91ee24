"""Losses of a yes-or-no prediction: cross entropy, weighted by class, and the focal loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def binary_losses(logits: Tensor, labels: Tensor, *, gamma: Tensor | float, alpha: Tensor | float) -> Tensor:
    """The loss of each of `logits`, as in `binary_loss`; gamma and alpha may be tensors that broadcast."""
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    weight = 2 * torch.where(labels > 0.5, alpha, 1 - alpha)
    if isinstance(gamma, Tensor) or gamma:
        # (1 - p)^gamma by its logarithm: a power of a difference that rounds to 0 has no gradient for gamma < 1.
        weight = weight * torch.exp(gamma * functional.logsigmoid(torch.where(labels > 0.5, -logits, logits)))
    return weight * cross_entropy


def binary_loss(logits: Tensor, labels: Tensor, *, gamma: float = 0.0, alpha: float = 0.5) -> Tensor:
    """The mean focal loss of `logits` (...) for `labels` (...) of 0 and 1; with the defaults plain cross entropy.

    Lin et al. 2017 (arXiv 1708.02002): -w (1 - p)^gamma log p, where p is the probability given to the true class and
    w is alpha for positive samples and 1 - alpha for negative ones; here twice that, so that alpha = 0.5 changes
    nothing. With gamma = 0 it is the weighted cross entropy, whose `pos_weight` is alpha / (1 - alpha).
    """
    if gamma == 0 and alpha == 0.5:
        return functional.binary_cross_entropy_with_logits(logits, labels)
    return binary_losses(logits, labels, gamma=gamma, alpha=alpha).mean()
