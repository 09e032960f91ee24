"""Windows, labels and the split: by hand where the numbers are small, and by changing a future that must not matter."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from hpo_batch.training.data import DataOptions, Dataset, _images, feature_names, load

Write = Callable[..., str]


def options(path: str, **values: Any) -> DataOptions:
    return DataOptions(data=path, **{"context": 5, "split": 0.75, **values})


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a, b)


def test_the_label_asks_whether_the_highest_target_of_the_next_rows_reaches_the_threshold(write: Write) -> None:
    frame = pd.DataFrame(
        {
            "date": pd.date_range("2020-01-01", periods=10),
            "close": [100.0, 100, 100, 200, 100, 100, 100, 101, 100, 100],
            "high": [900.0, 100, 110, 100, 100, 215, 100, 109, 110, 109.9],
        }
    )
    data = load(DataOptions(data=write(frame), context=1, horizon=2, threshold=0.1, split=0.6))
    # Row 0 sees the highs 100 and 110, row 1 110 and 100, row 2 100 and 100, row 3 (close 200) 100 and 215. Row 4 would
    # see rows 5 and 6, of which 6 validates: purged, as is row 5.
    assert data.y_train.tolist() == [1, 1, 0, 0]
    # Row 6 sees 109 and 110, row 7 (close 101) 110 and 109.9; rows 8 and 9 have no complete horizon.
    assert data.y_val.tolist() == [1, 0]


def test_a_window_ends_with_the_row_of_its_label_and_is_scaled_by_training_rows(
    prices: pd.DataFrame, write: Write
) -> None:
    data = load(options(write(prices), features=("open", "volume")))
    rows = prices[["open", "volume"]].to_numpy(float)
    seen = rows[:299]  # 300 rows before the split, the last one purged
    scaled = torch.tensor((rows - seen.mean(0)) / seen.std(0), dtype=torch.float32)
    assert data.features == ("open", "volume")
    assert data.x_train.shape == (295, 5, 2)
    assert data.x_val.shape == (99, 5, 2)
    assert same(data.x_train[10], scaled[10:15])
    assert same(data.x_val[0], scaled[296:301])
    assert same(data.x_val[-1], scaled[394:399])
    label = float(prices["high"][15] >= 1.01 * prices["close"][14])
    assert data.y_train[10] == label


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(context=st.integers(1, 20), horizon=st.integers(1, 15), first_val=st.integers(100, 350), by_date=st.booleans())
def test_the_validation_period_changes_nothing_in_the_training_set(
    prices: pd.DataFrame, write: Write, context: int, horizon: int, first_val: int, by_date: bool
) -> None:
    split = prices["date"][first_val] if by_date else (first_val + 0.5) / 400
    wanted = {"context": context, "horizon": horizon, "split": split, "threshold": 0.01 * horizon**0.5}
    before = load(options(write(prices), **wanted))
    columns = ["open", "high", "close", "volume"]
    changed = prices.astype(dict.fromkeys(columns, float))
    noise = np.random.default_rng(1).lognormal(sigma=0.01, size=(400 - first_val, 1))
    changed.loc[first_val:, columns] *= 3 * noise
    after = load(options(write(changed, "changed.csv"), **wanted))
    assert same(before.x_train, after.x_train)
    assert same(before.y_train, after.y_train)
    assert not same(before.x_val, after.x_val)
    # And no more is given up than the horizon asks for.
    assert len(before.y_train) == first_val - horizon - context + 1


def test_the_last_row_before_the_split_is_still_used(prices: pd.DataFrame, write: Write) -> None:
    prices.loc[297:299, "high"] = 0.0
    before = load(options(write(prices), horizon=3))
    prices.loc[299, "high"] = 1e6
    after = load(options(write(prices, "changed.csv"), horizon=3))
    assert same(before.y_train[:-1], after.y_train[:-1])
    assert (before.y_train[-1].item(), after.y_train[-1].item()) == (0, 1)


def test_rows_may_come_in_any_order_and_from_parquet(prices: pd.DataFrame, write: Write) -> None:
    dated = prices.assign(date=pd.to_datetime(prices["date"]))
    shuffled = prices.sample(frac=1, random_state=0)
    reference = load(options(write(prices)))
    for path in (
        write(shuffled, "shuffled.csv"),
        write(prices, "prices.csv.gz"),
        write(dated, "prices.parquet"),
        write(dated.set_index("date"), "indexed.parquet"),
        write(dated.assign(date=dated["date"].dt.tz_localize("America/New_York")), "zone.parquet"),
        write(dated.assign(date=dated["date"].dt.date), "days.parquet"),
        write(prices.assign(date=prices["date"].str.replace("-", "").astype(int)), "numbers.csv"),
    ):
        data = load(options(path, split="2020-10-27"))
        assert same(data.x_train, reference.x_train), path
        assert same(data.y_val, reference.y_val), path


def test_features_are_all_numeric_columns_but_the_date(prices: pd.DataFrame, write: Write) -> None:
    path = write(prices.assign(ticker="SPY", is_monday=prices.index % 7 == 0))
    assert feature_names(options(path)) == ("open", "high", "close", "volume", "is_monday")
    assert load(options(path)).x_train.shape[2] == 5


def test_a_constant_feature_becomes_zero(prices: pd.DataFrame, write: Write) -> None:
    data = load(options(write(prices.assign(volume=3)), features=("volume",)))
    assert data.x_train.abs().max() == 0


def test_windows_share_the_rows_in_memory(prices: pd.DataFrame, write: Write) -> None:
    data = load(options(write(prices), context=80))
    assert data.x_train.untyped_storage().nbytes() == 400 * 4 * 4


def test_a_file_that_changed_is_read_again(prices: pd.DataFrame, write: Write) -> None:
    first = load(options(write(prices)))
    prices.loc[10:20, "open"] += 50
    assert not same(first.x_train, load(options(write(prices))).x_train)


def drop(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.drop(columns=column)


def put(row: int, column: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[row, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "wanted", "message"),
    [
        (drop("high"), {}, r"has no column 'high'; it has 'date', 'open', 'close', 'volume'"),
        (drop("date"), {}, r"has no column 'date': set 'date_column' to one of 'open'"),
        (None, {"features": ("open", "rsi")}, "has no column 'rsi'"),
        (None, {"features": ("date",)}, "column 'date' of .* is not numeric"),
        (put(7, "date", "2020-01-07"), {}, "has 1 duplicate date, the first is 2020-01-07"),
        (put(7, "date", "yesterday"), {}, "must hold dates such as 2020-01-31"),
        (put(7, "date", "03/04/2020"), {}, "must hold dates such as 2020-01-31"),
        (put(7, "date", None), {}, "has 1 empty date:"),
        (
            put(7, "open", None),
            {},
            "has 1 value empty or not finite in column 'open', the first on 2020-01-08",
        ),
        (put(7, "open", "inf"), {}, "empty or not finite in column 'open'"),
        (lambda frame: frame[:20], {"context": 16}, "too few rows in .*: 15 before the split and 5 after"),
        (None, {"split": "2019-01-01"}, "too few rows in .*: 0 before the split and 400 after"),
        (None, {"split": "2030-01-01"}, "too few rows in .*: 400 before the split and 0 after"),
        (None, {"horizon": 150}, "too few rows"),
        (None, {"threshold": 9.0}, "all 295 training labels of .* are 0: .* change threshold = 9.0"),
        (None, {"threshold": -0.9}, "all 295 training labels of .* are 1"),
        (
            lambda frame: frame.assign(high=frame["high"].where(frame.index < 300, 0.0)),
            {},
            "all 99 validation labels of .* are 0",
        ),
        (lambda frame: frame[["date"]], {"features": ()}, "has no column 'high'"),
        (lambda frame: frame[:0], {}, "has no rows"),
        # a text among numbers makes a column of texts, which would silently be no feature
        (put(7, "open", "n/a?"), {}, r"column 'open' of .* has numbers, but 'n/a\?' is none \(1 row\): clean it"),
        # the spread overflows, and all its scaled values would be 0
        (lambda frame: frame.assign(open=[-1e300, 1e300] * 200), {}, "column 'open' .* too large to be scaled"),
        (put(399, "open", 1e300), {}, "column 'open' .* too large to be scaled"),
    ],
)
def test_bad_data_is_told_with_place_and_remedy(
    prices: pd.DataFrame, write: Write, change: Any, wanted: dict[str, Any], message: str
) -> None:
    path = write(change(prices) if change else prices)
    with pytest.raises(ValueError, match=message) as error:
        load(options(path, **wanted))
    assert path in str(error.value)


# mtime=0: the tests' names hold the bytes, and processes that share the tests compare names
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "no data file '.*gone.csv'"),
        ("prices.xlsx", b"x", "name must end in .csv or .parquet"),
        ("empty.csv", b"", "cannot read '.*empty.csv'"),
        ("torn.parquet", b"PAR1", "cannot read '.*torn.parquet'"),
        ("binary.csv", b"\xff\xfe\x00\x81", "cannot read '.*binary.csv'"),
        ("utf-16.csv", "date,high\n".encode("utf-16"), "it is UTF-16 or no text; convert it: iconv"),
        ("zeros.csv", bytes(9000), "it is UTF-16 or no text"),
        ("compressed.csv", gzip.compress(b"date,high\n", mtime=0), "its name must end in .csv.gz"),
        (
            "torn.csv.gz",
            gzip.compress(bytes(range(256)) * 9, mtime=0)[:100],
            "cannot read '.*torn.csv.gz': Compressed file ended",
        ),
        ("semicolons.csv", b"date;high\n2020-01-01;2\n", "are separated by ';', and must be by ','"),
        ("tabs.csv", b"date\thigh\n2020-01-01\t2\n", r"are separated by '.t', and must be by ','"),
        ("no-rows.csv", b"date,high\n", "'.*no-rows.csv' has no rows"),
        ("twice.csv", b"date,high,high\n2020-01-01,2,3\n", "cannot read '.*twice.csv': it has two columns 'high'"),
        ("ragged.csv", b"date,high\n1,2\n1,2,3\n", "cannot read '.*ragged.csv': .* in line 3"),
        ("x" * 5000 + ".csv", None, "no data file '.*…x*.csv'"),
        ("nul\0.csv", None, "no data file"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(options(str(tmp_path / name)))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder: 'data' is"):
        load(options(str(tmp_path)))
    with pytest.raises(ValueError, match="'/dev/null' is no regular file"):
        load(options("/dev/null"))


def test_a_home_directory_of_nobody_is_no_file() -> None:
    with pytest.raises(ValueError, match=r"no data file '.*~nobody-of-this-name/prices.csv'"):
        load(options("~nobody-of-this-name/prices.csv"))


def test_numbers_of_rows_are_no_feature(prices: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "with-index.csv"
    prices.to_csv(path)  # and not index=False
    assert load(options(str(path))).features == ("open", "high", "close", "volume")


def test_other_spellings_of_a_suffix_and_other_letters_are_read(prices: pd.DataFrame, tmp_path: Path) -> None:
    """ISO 8859-1, as ASSISTments 2009 is published; the column of text is no feature."""
    path = tmp_path / "PRICES.CSV"
    path.write_bytes(prices.assign(place="Orléans").to_csv(index=False).encode("iso-8859-1"))
    assert load(options(str(path))).features == ("open", "high", "close", "volume")


def test_digits_are_eight_steps_of_eight_values_with_both_classes_balanced() -> None:
    data: Dataset = load(DataOptions())
    assert data.x_train.shape == (1352, 8, 8)
    assert data.x_val.shape == (445, 8, 8)
    assert data.x_train.abs().max() == 1
    assert 0.49 < data.y_train.mean() < 0.51
    assert 0.49 < data.y_val.mean() < 0.51
    assert feature_names(DataOptions()) == data.features


def test_the_digits_are_those_of_scikit_learn() -> None:
    images, digits = _images()
    theirs, labels = load_digits(return_X_y=True)
    assert np.array_equal(images, theirs)
    assert np.array_equal(digits, labels)


def test_digits_load_no_scikit_learn() -> None:
    code = (
        "import sys; from hpo_batch.training.data import DataOptions, load; load(DataOptions());"
        "assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_test_period_is_behind_the_validation_period(prices: pd.DataFrame, write: Write) -> None:
    data = load(options(write(prices), split=0.5, test_split=0.75, horizon=2))
    assert data.x_test is not None
    assert data.y_test is not None
    whole = load(options(write(prices), split=0.5, horizon=2))
    assert same(data.x_train, whole.x_train)
    # validation labels end before the first test row; test labels with the file
    assert len(data.y_val) == 100 - 2
    assert len(data.y_test) == 100 - 2
    assert same(data.y_val, whole.y_val[:98])
    assert same(data.x_test[0], whole.x_val[100])
    assert same(data.y_test, whole.y_val[100:])


def test_no_test_period_unless_asked(prices: pd.DataFrame, write: Write) -> None:
    assert load(options(write(prices))).x_test is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"test_split": "2030-01-01"},
            "and 100 after it, 0 in the test period give .* and 0 test",
        ),
        ({"split": 0.8, "test_split": 0.7}, "use more rows, a shorter context or another split than 0.8 and 0.7"),
    ],
)
def test_a_bad_test_period_is_told(prices: pd.DataFrame, write: Write, wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(options(write(prices), **wanted))


def test_a_test_period_of_one_class_is_told(prices: pd.DataFrame, write: Write) -> None:
    prices.loc[350:, "high"] = 0.0
    with pytest.raises(ValueError, match=r"all 49 test labels .* change threshold = 0.01, horizon = 1 or test_split"):
        load(options(write(prices), test_split=0.875))
