"""The AUC against scikit-learn's and the other metrics by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hpo_batch.training.metrics import auc, binary_metrics

# Few distinct scores, so that nearly every example has ties within and across the classes.
scored = st.lists(st.tuples(st.integers(-4, 4).map(lambda i: i / 3), st.booleans()), min_size=2, max_size=60)


@settings(max_examples=150, deadline=None)
@given(scored)
def test_auc_is_that_of_scikit_learn_ties_included(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = zip(*pairs, strict=True)
    assume(len(set(labels)) == 2)
    assert auc(torch.tensor(scores), torch.tensor(labels).float()) == pytest.approx(
        roc_auc_score(labels, scores), abs=1e-12
    )


def test_auc_is_exact_on_many_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(20_000, generator=generator) < 0.1).float()
    scores = (torch.randn(20_000, generator=generator) + labels).round(decimals=2)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_auc_of_one_class_is_an_error(label: float) -> None:
    with pytest.raises(ValueError, match="not defined on one class"):
        auc(torch.randn(5), torch.full((5,), label))


def test_binary_metrics_by_hand() -> None:
    logits = torch.tensor([2.0, 1.0, -1.0, -2.0, 0.0])
    labels = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    metrics = binary_metrics(logits, labels)
    assert metrics["precision"] == pytest.approx(2 / 3)  # 2.0 and 0.0 of three predicted
    assert metrics["recall"] == pytest.approx(2 / 3)
    assert metrics["val_auc"] == pytest.approx(4 / 6)
    assert metrics["pred_max"] == pytest.approx(torch.sigmoid(torch.tensor(2.0)).item())
    assert metrics["pred_range"] == metrics["pred_max"] - metrics["pred_min"]
    assert (metrics["n_eval"], metrics["n_pos"]) == (5, 3)


def test_precision_without_a_positive_prediction_is_zero() -> None:
    metrics = binary_metrics(torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 0.0]))
    assert (metrics["precision"], metrics["recall"]) == (0.0, 0.0)
