"""The AUC against scikit-learn's and the other metrics by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_recall_fscore_support, roc_auc_score

from hpo_batch.findings.health.numbers import NARROW as NARROW_IN_REPORTS
from hpo_batch.training.metrics import NARROW, auc, best_f1, binary_metrics, binary_test, class_metrics

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


@settings(max_examples=100, deadline=None)
@given(scored)
def test_the_best_f1_is_that_of_the_best_of_all_thresholds(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = zip(*pairs, strict=True)
    found, threshold = best_f1(torch.tensor(scores), torch.tensor(labels))
    expected = max(f1_score(labels, [s >= t for s in scores], zero_division=0.0) for t in scores)
    assert found == pytest.approx(expected, abs=1e-6)
    assert f1_score(
        labels, [s >= threshold for s in torch.tensor(scores).tolist()], zero_division=0.0
    ) == pytest.approx(expected, abs=1e-6)


def test_f1_uses_one_sigmoid() -> None:
    """A sigmoid of a probability is never below 0.5: everything would be positive at the threshold of 0.5."""
    metrics = binary_metrics(torch.tensor([-3.0, -2.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert (metrics["f1"], metrics["f1_best"], metrics["val_acc"]) == (1.0, 1.0, 1.0)
    assert metrics["f1_threshold"] == pytest.approx(torch.sigmoid(torch.tensor(2.0)).item())


def test_a_test_set_takes_the_threshold_of_the_validation_set() -> None:
    logits, labels = torch.tensor([2.0, 0.5, -1.0, -2.0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    metrics = binary_test(logits, labels, {"f1_threshold": torch.sigmoid(torch.tensor(1.0)).item()})
    assert metrics["test_f1_best"] == pytest.approx(2 / 3)  # one of two found, nothing else
    assert metrics["test_f1"] == pytest.approx(0.5)
    assert "test_f1_threshold" not in metrics
    assert {"test_auc", "test_loss", "test_acc", "test_recall", "test_n_pos"} <= set(metrics)


@pytest.mark.parametrize(
    ("logits", "collapsed"),
    [
        ([0.1, 0.1, 0.1, 0.1], 1.0),
        ([-4.0, -3.0, -0.1, -2.0], 1.0),  # a wide range, and the same answer for all
        ([4.0, 3.0, 0.1, 2.0], 1.0),
        ([0.3, -0.3, 0.1, -0.1], 1.0),  # both answers, in a narrow range
        ([3.0, -3.0, 1.0, -1.0], 0.0),
    ],
)
def test_predictions_collapse_if_they_are_narrow_or_all_the_same(logits: list[float], collapsed: float) -> None:
    assert binary_metrics(torch.tensor(logits), torch.tensor([1.0, 0.0, 1.0, 0.0]))["collapsed"] == collapsed


def test_reports_and_trainers_agree_on_what_is_narrow() -> None:
    assert NARROW == NARROW_IN_REPORTS


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_metrics_of_classes_are_those_of_scikit_learn(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (20,), generator=generator)  # the fourth category has no sample
    logits = 3 * torch.randn(20, 4, generator=generator)
    assume(len(set(labels.tolist())) == 3)
    metrics = class_metrics(logits, labels, ("a", "b", "c", "d"))
    predicted = logits.argmax(1)
    assert metrics["val_acc"] == pytest.approx(accuracy_score(labels, predicted))
    assert metrics["val_loss"] == pytest.approx(log_loss(labels, logits.double().softmax(1), labels=range(4)), rel=1e-4)
    each = precision_recall_fscore_support(labels, predicted, labels=[0, 1, 2], zero_division=0.0)
    for name, values in zip(("precision", "recall", "f1"), each, strict=False):
        assert metrics[name] == pytest.approx(values.mean(), abs=1e-6)
    assert [metrics[f"recall_{name}"] for name in "abc"] == pytest.approx(each[1].tolist())
    assert "recall_d" not in metrics
    assert (metrics["n_eval"], metrics["n_classes"]) == (20, 3)


def test_classes_collapse_if_all_samples_get_the_same_prediction() -> None:
    labels = torch.tensor([0, 1, 2, 1])
    same = torch.tensor([[1.0, 0.0, -1.0]]).expand(4, 3)
    assert class_metrics(same, labels, "abc")["collapsed"] == 1
    apart = 5 * torch.nn.functional.one_hot(labels, 3).float()
    assert class_metrics(apart, labels, "abc")["collapsed"] == 0
