"""Reading a trial's parameters: defaults, types, ranges, unknown names."""

from __future__ import annotations

from typing import Any

import pytest

from hpo_batch.training.patchtst.settings import Settings


def test_defaults_are_those_of_digits_without_a_file() -> None:
    settings = Settings.from_params({})
    assert (settings.data, settings.context, settings.patch_len, settings.stride) == ("digits", 8, 2, 1)
    assert settings.d_ff == 4 * settings.d_model


def test_defaults_are_those_of_the_documents_for_a_file() -> None:
    settings = Settings.from_params({"data": "spy.parquet"})
    assert (settings.context, settings.patch_len, settings.stride, settings.n_patches) == (80, 16, 8, 9)
    assert (settings.horizon, settings.threshold, settings.target, settings.reference) == (1, 0.01, "high", "close")


def test_whole_numbers_may_come_as_floats_and_reals_as_integers() -> None:
    settings = Settings.from_params({"d_model": 32.0, "d_ff": 128.0, "dropout": 0, "d_ff_ratio": 4})
    assert (settings.d_model, settings.d_ff, settings.dropout) == (32, 128, 0.0)
    assert isinstance(settings.d_ff, int)


def test_an_unknown_name_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match=r"unknown parameter 'learning_rat'; did you mean 'learning_rate'\?"):
        Settings.from_params({"learning_rat": 1e-3})
    with pytest.raises(ValueError, match=r"unknown parameter 'zzz'; known are alpha, batch_size, checkpoint_every"):
        Settings.from_params({"zzz": 1})


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"'dropout' is 1\.5: .* below 1; .*'epochs' is 0: .*at least 1; .*'epoch'"):
        Settings.from_params({"dropout": 1.5, "epochs": 0, "epoch": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1.5),
        ("epochs", True),
        ("epochs", "3"),
        ("d_model", None),
        ("dropout", -0.1),
        ("dropout", 1.0),
        ("dropout", False),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", "1e-3"),
        ("weight_decay", -1),
        ("patience", -1),
        ("data", ""),
        ("data", 3),
    ],
)
def test_wrong_types_and_ranges_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"parameter '{name}' is .*: must be "):
        Settings.from_params({name: value})


@pytest.mark.parametrize("split", [0.0, 1.0, 1, "soon", "01/02/2020", True])
def test_a_split_is_a_share_or_an_iso_date(split: Any) -> None:
    with pytest.raises(ValueError, match=r"'split' is .*a share between 0 and 1 or a date"):
        Settings.from_params({"data": "x.csv", "split": split})


def test_features_come_as_a_list_or_with_commas() -> None:
    for features in ("open, high", ["open", "high"]):
        assert Settings.from_params({"data": "x.csv", "features": features}).features == ("open", "high")
    for wrong in ("open,,high", "open,open", 3, [1]):
        with pytest.raises(ValueError, match="'features'"):
            Settings.from_params({"data": "x.csv", "features": wrong})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"context": 16, "horizon": 2}, "context, horizon: for dated rows only"),
        ({"patch_len": 9}, "patch_len = 9 is longer than the window of 8 rows"),
        ({"patch_len": 2, "stride": 3}, "stride = 3 is larger than patch_len = 2"),
        ({"d_model": 32, "d_ff": 100, "d_ff_ratio": 4}, "give one of the two"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.from_params(params)


def test_a_derived_d_ff_may_stand_beside_its_ratio() -> None:
    assert Settings.from_params({"d_model": 32, "d_ff": 64, "d_ff_ratio": 2}).d_ff == 64
