"""Which column is what: found by name and content, overruled by the user, told either way."""

from __future__ import annotations

import pandas as pd
import pytest

from hpo_batch.sources.columns import direction_of, is_measure, is_parameter, tokens


def column(*values: object) -> pd.Series:
    return pd.Series(list(values)).convert_dtypes()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("val_auc", (0.71, 0.72)),
        ("trainLoss", (1.5, 2.5)),
        ("test/acc", (0.5, 0.6)),
        ("val_pred_min", (0.1, 0.2)),
        ("precision", (0.25, 0.5)),
        ("rmse", (3, 4)),
        ("val_tp", (9, 7)),
    ],
)
def test_measurements(name: str, values: tuple[object, ...]) -> None:
    assert is_measure(name, column(*values))
    assert not is_parameter(name, column(*values))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("precision", (16, 32)),
        ("precision", ("bf16", "fp32")),
        ("loss", ("focal", "bce")),
        ("loss_weight", (0.1, 0.5)),
        ("train_batch_size", (16, 32)),
        ("val_split", (0.1, 0.2)),
        ("dropout", (0.1, 0.1)),
        ("use_map", (True, False)),
        ("label_smoothing", (0.0, 0.1)),
        ("größe", (1, 2)),
        ("x" * 300, (1, 2)),
    ],
)
def test_parameters(name: str, values: tuple[object, ...]) -> None:
    assert is_parameter(name, column(*values))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("param_source", ("params", "forced_attrs")),
        ("forced_extreme", (0, 1)),
        ("checkpoint_epoch", (2, 8)),
        ("duration_sec", (1.5, 2.5)),
        ("user_attrs_lr_seen", (0.1, 0.2)),
        ("always", ("same", "same")),
        ("remark", tuple(f"text {i}" for i in range(40))),
        ("test_auc_precision", ("full", "4dp")),
        ("Unnamed: 0", (0, 1)),
    ],
)
def test_neither(name: str, values: tuple[object, ...]) -> None:
    assert not is_parameter(name, column(*values))


def test_words_and_directions() -> None:
    assert tokens("valAUC_mean") == ["val", "auc", "mean"]
    assert direction_of("val_loss") == "minimize"
    assert direction_of("test_auc") == "maximize"
    assert direction_of("value") is None
    assert direction_of("loss_accuracy") is None
