"""Data for the trainers: dated rows from a CSV or Parquet file, or scikit-learn's digits; both without a download.

Splits by date and leaks nothing: no training label looks into the validation period, and the scale comes from training
rows alone. Knows no model. torch, pandas and scikit-learn are imported where they are used, because the torch-free
parameter count asks here for the number of features.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count
from hpo_batch.training.parameters import parameter, read_known, real, text, whole
from hpo_batch.training.tables import located, quoted, read_table, version

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

DIGITS = "digits"
DIGITS_STEPS = 8
NAMELESS = "Unnamed: "
"""how pandas begins the names of columns without one: mostly the numbers of the rows, which `to_csv` writes"""
DIGITS_FEATURES = tuple(f"pixel{column}" for column in range(8))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Windows and labels, all on one device. Windows of dated rows are views that share those rows: do not write."""

    features: tuple[str, ...]
    x_train: Tensor  # (N, T, F) float32
    y_train: Tensor  # (N,) float32, 0 or 1
    x_val: Tensor  # (M, T, F)
    y_val: Tensor  # (M,)
    x_test: Tensor | None = None  # (K, T, F)
    y_test: Tensor | None = None  # (K,)


def _read_split(value: object) -> float | str:
    if isinstance(value, datetime.date):  # a bare TOML date
        return value.isoformat()[:10]
    if isinstance(value, str):
        try:
            return datetime.date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    elif isinstance(value, float) and 0 < value < 1:
        return value
    raise ValueError("must be a share between 0 and 1 or a date such as '2020-01-31'")


def _read_features(value: object) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError("must be column names, as a list or separated by commas")
    stripped = tuple(name.strip() for name in names)
    if "" in stripped or len(set(stripped)) < len(stripped):
        raise ValueError("must be column names, none empty and none twice")
    return stripped


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What the windows and the labels are made from. All but `data` are for dated rows only.

    The label of a row is 1 if the highest `target` of the next `horizon` rows is at least (1 + `threshold`) times the
    row's `reference`: by default "tomorrow's high is 1 % above today's close".
    """

    data: str = text(DIGITS)
    """"digits", or the path of a .csv or .parquet file (relative to the working directory)."""
    context: int = whole(80, at_least=1)
    """Rows in a window; the last one is the row the label belongs to."""
    horizon: int = whole(1, at_least=1)
    threshold: float = real(0.01, above=-1.0)
    split: float | str = parameter(0.8, _read_split)
    """First date of the validation period, or the share of rows before it."""
    test_split: float | str | None = parameter(None, _read_split)
    """First date of the test period, or the share of rows before it; left out: there is none."""
    date_column: str = text("date")
    target: str = text("high")
    reference: str = text("close")
    features: tuple[str, ...] = parameter((), _read_features)
    """Columns of a window; empty: every numeric column that has a name. "open,high": in a sweep, a list would be
    choices."""
    n_features: int = whole(0, at_least=0)
    """How many features there must be; 0: not checked. Lets parameters be counted where the file is not."""


ROWS_ONLY = frozenset(DataOptions.__dataclass_fields__) - {"data"}


def feature_names(options: DataOptions) -> tuple[str, ...]:
    """The features of a window, in order; reads the file only if the options do not name them."""
    if options.data == DIGITS:
        return DIGITS_FEATURES
    if options.features:
        return options.features
    frame = _frame(options)
    numeric = frame.select_dtypes(include=["number", "bool"]).columns
    for column in frame.columns.difference([*numeric, options.date_column], sort=False):
        _check_text(frame[column], options)
    left_out = {options.date_column, *(column for column in numeric if str(column).startswith(NAMELESS))}
    return tuple(str(column) for column in numeric if column not in left_out)


def _check_text(column: pd.Series[Any], options: DataOptions) -> None:
    """A column of text is no feature. One of numbers with a few texts must not become one unseen."""
    import pandas as pd

    values = column.dropna()
    is_text = pd.to_numeric(values, errors="coerce").isna()
    if 0 < is_text.sum() < len(values) / 2:
        row = is_text.index[is_text][0]
        raise ValueError(
            f"column '{column.name}' of '{_path(options)}' has numbers, but {short(values[row], 40)!r} is none "
            f"({count(int(is_text.sum()), 'row')}): clean it, or name the columns to use in 'features'"
        )


def load(options: DataOptions, device: str = "cpu") -> Dataset:
    """Training and validation set; a ValueError says what is wrong with the data and what to do."""
    return _digits(device) if options.data == DIGITS else _rows(options, device)


def preload(fixed: Mapping[str, object]) -> None:
    """Read what `load` keeps in memory, for `[objective] preload`; from a sweep's fixed parameters."""
    options = read_known(DataOptions, fixed)
    if options.data == DIGITS:
        _images()
    else:
        _frame(options)


def _digits(device: str) -> Dataset:
    """Handwritten digits as 8 steps (lines) of 8 values; label: 5 or more. The last quarter of each digit validates."""
    import numpy as np
    import torch

    images, digits = _images()
    is_val = np.zeros(len(digits), dtype=bool)
    for digit in range(10):
        of_digit = np.flatnonzero(digits == digit)
        # Not shuffled: the images come writer by writer, and a writer on both sides would make it too easy.
        is_val[of_digit[-(len(of_digit) // 4) :]] = True
    x = torch.tensor(images / 8 - 1, dtype=torch.float32, device=device).view(-1, DIGITS_STEPS, len(DIGITS_FEATURES))
    y = torch.tensor(digits >= 5, dtype=torch.float32, device=device)
    val = torch.tensor(is_val, device=device)
    return Dataset(features=DIGITS_FEATURES, x_train=x[~val], y_train=y[~val], x_val=x[val], y_val=y[val])


@lru_cache(maxsize=1)
def _images() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """scikit-learn's digits, (images, 64) and (images,), from its file: its import alone takes a second."""
    import importlib.util

    import numpy as np

    found = importlib.util.find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            table = np.loadtxt(path, delimiter=",")
            return table[:, :-1], table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits  # a version that keeps it elsewhere

    images, digits = load_digits(return_X_y=True)
    return images, digits


def _rows(options: DataOptions, device: str) -> Dataset:
    import numpy as np
    import torch

    frame = _frame(options)
    names = feature_names(options)
    if options.n_features not in (0, len(names)):
        raise ValueError(f"'{_path(options)}' gives {len(names)} features, but n_features = {options.n_features}")
    columns = list(dict.fromkeys([*names, options.target, options.reference]))
    table = dict(zip(columns, _finite(frame, columns, options).T, strict=True))
    rows = np.stack([table[name] for name in names], axis=1)  # (R, F)

    # A row is used when its window and its label lie inside the data; a training row only when its label also ends
    # before the validation period. Validation windows may reach back over the split: their inputs were known by then.
    context, horizon = options.context, options.horizon
    first_val = _first_row(frame, options, options.split)
    first_test = len(rows) if options.test_split is None else _first_row(frame, options, options.test_split)
    train_rows = range(context - 1, first_val - horizon)
    val_rows = range(max(first_val, context - 1), first_test - horizon)
    test_rows = range(max(first_test, context - 1), len(rows) - horizon)
    if not train_rows or not val_rows or (options.test_split is not None and not test_rows):
        raise ValueError(_too_few(options, first_val, first_test, len(rows), (train_rows, val_rows, test_rows)))

    highest = np.lib.stride_tricks.sliding_window_view(table[options.target][1:], horizon).max(axis=1)
    needed = (1 + options.threshold) * table[options.reference][: len(highest)]
    # A price at the threshold counts, but 1.1 * 100 is 110.00000000000001.
    labels = highest >= needed - 1e-12 * abs(needed)  # (R - horizon,)
    for period, used in (("training", train_rows), ("validation", val_rows), ("test", test_rows)):
        if used:
            _check_classes(options, int(labels[used.start : used.stop].sum()), len(used), period)

    seen = rows[: train_rows.stop]
    with np.errstate(over="ignore", invalid="ignore"):
        spread = seen.std(axis=0)
        scaled = (rows - seen.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        as_float32 = scaled.astype(np.float32)
    if (wrong := ~(np.isfinite(spread) & np.isfinite(as_float32).all(axis=0))).any():
        raise ValueError(
            f"column {quoted(np.array(names)[wrong])} of '{_path(options)}' has values that are too large to be scaled "
            "by those of the training period; clean it or leave it out of 'features'"
        )
    x = torch.tensor(as_float32, device=device)
    y = torch.tensor(labels, dtype=torch.float32, device=device)

    def windows(used: range) -> Tensor:
        return x[used.start - context + 1 : used.stop].unfold(0, context, 1).transpose(1, 2)  # (N, T, F), not copied

    return Dataset(
        features=names,
        x_train=windows(train_rows),
        y_train=y[train_rows.start : train_rows.stop],
        x_val=windows(val_rows),
        y_val=y[val_rows.start : val_rows.stop],
        x_test=windows(test_rows) if test_rows else None,
        y_test=y[test_rows.start : test_rows.stop] if test_rows else None,
    )


def _check_classes(options: DataOptions, positives: int, n: int, period: str) -> None:
    if positives in (0, n):
        raise ValueError(
            f"all {n} {period} labels of '{_path(options)}' are {int(positives > 0)}: no model can learn or be judged "
            f"on one class; change threshold = {options.threshold}, horizon = {options.horizon} or "
            f"{'test_split' if period == 'test' else f'split = {options.split}'}"
        )


def _first_row(frame: pd.DataFrame, options: DataOptions, split: float | str) -> int:
    if isinstance(split, float):
        return int(len(frame) * split)
    return int((frame[options.date_column] < split).sum())


def _too_few(options: DataOptions, first_val: int, first_test: int, n_rows: int, windows: tuple[range, ...]) -> str:
    has_test = options.test_split is not None
    test = f", {n_rows - first_test} in the test period" if has_test else ""
    tests = f" and {len(windows[2])} test" if has_test else ""
    return (
        f"too few rows in '{_path(options)}': {first_val} before the split and {first_test - first_val} after it{test} "
        f"give {len(windows[0])} training and {len(windows[1])} validation{tests} windows with "
        f"context = {options.context} and horizon = {options.horizon}; use more rows, a shorter context or another "
        f"split than {options.split}{f' and {options.test_split}' if has_test else ''}"
    )


def _finite(frame: pd.DataFrame, columns: list[str], options: DataOptions) -> NDArray[np.float64]:
    """The values of `columns`, (rows, columns); missing, not numeric and not finite ones are told."""
    import numpy as np

    where = f"'{_path(options)}'"
    if missing := [name for name in columns if name not in frame.columns]:
        raise ValueError(f"{where} has no column {quoted(missing)}; it has {quoted(frame.columns)}")
    used = frame[columns]
    if other := [name for name in columns if name not in used.select_dtypes(include=["number", "bool"]).columns]:
        raise ValueError(f"column {quoted(other)} of {where} is not numeric; clean it or leave it out of 'features'")
    values: NDArray[np.float64] = used.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(values)
    if bad.any():
        bad_columns = [name for i, name in enumerate(columns) if bad[:, i].any()]
        first = frame[options.date_column].iloc[int(bad.any(axis=1).argmax())]
        raise ValueError(
            f"{where} has {count(int(bad.sum()), 'value')} empty or not finite in column {quoted(bad_columns)}, "
            f"the first on {first:%Y-%m-%d}; fill them, drop those rows, or name other columns in 'features'"
        )
    return values


def _path(options: DataOptions) -> Path:
    return located(options.data)


def _frame(options: DataOptions) -> pd.DataFrame:
    """The file's rows sorted by date, read once per process and version of the file."""
    path = _path(options)
    return _read(path, options.date_column, _version=version(path, f"'data' is \"{DIGITS}\" or"))


@lru_cache(maxsize=2)
def _read(path: Path, date_column: str, *, _version: tuple[int, int]) -> pd.DataFrame:
    import pandas as pd

    frame = read_table(path)
    if date_column == frame.index.name:
        frame = frame.reset_index()
    if date_column not in frame.columns:
        raise ValueError(f"'{path}' has no column '{date_column}': set 'date_column' to one of {quoted(frame.columns)}")

    dates = frame[date_column]
    try:
        # ISO only, and 20200131 read as text: pandas would guess 03/04/2020 and take a whole number for nanoseconds.
        if not pd.api.types.is_datetime64_any_dtype(dates):
            dates = pd.to_datetime(dates.astype(str), format="ISO8601")
    except ValueError as error:
        why = str(error).partition(". ")[0]  # what follows is advice for those who call pandas
        raise ValueError(f"column '{date_column}' of '{path}' must hold dates such as 2020-01-31: {why}") from error
    dates = dates.dt.tz_localize(None)
    if dates.isna().any():
        empty = count(int(dates.isna().sum()), "empty date")
        raise ValueError(f"column '{date_column}' of '{path}' has {empty}: drop those rows")
    if dates.duplicated().any():
        raise ValueError(
            f"'{path}' has {count(int(dates.duplicated().sum()), 'duplicate date')}, the first is "
            f"{dates[dates.duplicated()].iloc[0]}; keep one row per date and one series per file"
        )
    return frame.assign(**{date_column: dates}).sort_values(date_column, ignore_index=True)
