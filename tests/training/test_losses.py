"""The losses against their formulas and against torch's own where it has one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from hpo_batch.training.losses import binary_loss

LOGITS = torch.tensor([-3.0, -0.5, 0.0, 0.7, 4.0])
LABELS = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])


def test_the_defaults_are_plain_cross_entropy() -> None:
    assert torch.equal(binary_loss(LOGITS, LABELS), functional.binary_cross_entropy_with_logits(LOGITS, LABELS))


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 5), st.floats(0.05, 0.95))
def test_it_is_the_formula_of_the_paper_times_two(gamma: float, alpha: float) -> None:
    p = torch.sigmoid(LOGITS.double())
    p_true = torch.where(LABELS > 0.5, p, 1 - p)
    weight = torch.where(LABELS > 0.5, alpha, 1 - alpha)
    expected = (2 * weight * (1 - p_true) ** gamma * -p_true.log()).mean()
    assert float(binary_loss(LOGITS, LABELS, gamma=gamma, alpha=alpha)) == pytest.approx(float(expected), rel=1e-5)


def test_without_gamma_it_is_weighted_cross_entropy() -> None:
    alpha = 0.8
    theirs = functional.binary_cross_entropy_with_logits(LOGITS, LABELS, pos_weight=torch.tensor(alpha / (1 - alpha)))
    assert float(binary_loss(LOGITS, LABELS, alpha=alpha)) == pytest.approx(2 * (1 - alpha) * float(theirs))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
def test_gradients_are_finite_where_a_prediction_is_certain(gamma: float) -> None:
    logits = torch.tensor([200.0, -200.0, 200.0, -200.0], requires_grad=True)
    loss = binary_loss(logits, torch.tensor([1.0, 0.0, 0.0, 1.0]), gamma=gamma, alpha=0.3)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
