"""Infer a space from the values of trials, or from the distributions that Optuna recorded with them.

Values that were never tried are missing from a space inferred from values; a note says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hpo_batch.errors import StorageError
from hpo_batch.records import Value
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Real
from hpo_batch.space.space import Space
from hpo_batch.text.values import shown

# numbers with more distinct values than this are a range, not a list of levels; hand-made grids rarely have so many
MOST_LEVELS = 20
# minimum ratio of the largest to the smallest value of a logarithmic range: two decades
LOG_FROM = 100.0


def infer_space(trials: pd.DataFrame) -> Space:
    """One parameter per ``params_*`` column."""
    names = [str(c) for c in trials.columns if str(c).startswith("params_")]
    if len(names) > 1:
        trials = trials.drop_duplicates(names)  # replicates repeat a configuration and say nothing about the levels
    found = (_parameter(name.removeprefix("params_"), trials[name]) for name in names)
    return Space(parameters=tuple(p for p in found if p is not None))


def _parameter(name: str, column: pd.Series[Any]) -> Parameter | None:
    there = column.dropna()
    values = distinct(there)
    if not values:
        return None
    if len(values) == 1:
        return Fixed(name=name, value=values[0])
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return Choices(name=name, values=tuple(values), ordered=False)
    numbers = sorted(float(v) for v in values)
    # levels of a grid repeat; draws from a range hardly do
    if len(values) <= MOST_LEVELS and len(there) >= 1.5 * len(values):
        return Choices(name=name, values=tuple(sorted(values, key=float)), ordered=True)
    low, high = min(values, key=float), max(values, key=float)
    is_log = _looks_logarithmic(numbers)
    if all(isinstance(v, int) for v in values):
        assert isinstance(low, int)
        assert isinstance(high, int)
        # like Optuna, no step on a logarithmic scale
        step = math.gcd(*(int(v) - low for v in values)) if not is_log else 1
        return Integer(name=name, low=low, high=high, step=step, log=is_log)
    return Real(name=name, low=float(low), high=float(high), log=is_log)


def _looks_logarithmic(numbers: Sequence[float]) -> bool:
    """Whether sorted positive numbers were drawn on a logarithmic scale.

    The smallest of n uniform draws is small too, about 1/n of the largest, and a tenth of them lies below a tenth of
    the largest.
    """
    low, high = numbers[0], numbers[-1]
    if low <= 0 or high / low < LOG_FROM:
        return False
    small = sum(number <= high / 10 for number in numbers)
    # 30 times the ratio expected of uniform draws (by chance in 3 % of samples), or twice the expected share
    return high / low >= 30 * len(numbers) or small > 0.2 * len(numbers)


def distinct(column: pd.Series[Any]) -> list[Value]:
    """The values of a column as plain values, in order of appearance: ``1``, ``1.0`` and ``true`` are three."""
    found: dict[tuple[type, Any], Value] = {}
    for value in column.tolist():
        plain: Value = value if isinstance(value, bool | int | float | str) else str(value)
        if isinstance(plain, float) and not math.isfinite(plain):
            continue
        found.setdefault((type(plain), plain), plain)
    return list(found.values())


@dataclass(frozen=True, kw_only=True)
class _Range:
    """A distribution of numbers."""

    low: int | float
    high: int | float
    step: int | float | None
    log: bool
    is_integer: bool


def from_distributions(
    distributions: Mapping[str, Iterable[Mapping[str, Any]]], seen: Mapping[str, Iterable[Value]]
) -> tuple[Space, tuple[str, ...]]:
    """The space of an Optuna study, from the distributions of its trials, and notes on it.

    A range may differ between trials (``suggest_int("k", 1, n)``): the space covers all of them, and values outside
    them, which enqueued trials may have.

    Args:
        distributions: all distributions of each parameter, ``{"name": ..., "attributes": {...}}``.
        seen: values that trials have, as ``plain_choices`` writes them.

    Raises:
        StorageError: a distribution is none, in a damaged file.
    """
    found: list[Parameter] = []
    told: list[str] = []
    for name, several in distributions.items():
        try:
            parameter, notes = _together(name, list(several), list(seen.get(name, ())))
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise StorageError(f"the distributions of '{name}' make no sense: was the file damaged?") from error
        found.append(parameter)
        told += notes
    return Space(parameters=tuple(found)), tuple(told)


def _together(
    name: str, distributions: Sequence[Mapping[str, Any]], seen: Sequence[Value]
) -> tuple[Parameter, list[str]]:
    """Combine all distributions of a parameter; returns notes too."""
    lists = [facts["attributes"]["choices"] for facts in distributions if "choices" in facts["attributes"]]
    ranges = [_range(facts["name"], facts["attributes"]) for facts in distributions if "low" in facts["attributes"]]
    if lists:
        return _choices_together(name, lists, seen if ranges else ())
    return _ranges_together(name, ranges, [value for value in seen if _is_finite(value)])


def _choices_together(
    name: str, lists: Sequence[Sequence[Any]], seen_in_ranges: Sequence[Value]
) -> tuple[Parameter, list[str]]:
    notes = []
    choices = [value for choices in lists for value in plain_choices(choices)]
    if any(not _is_plain(value) for choices in lists for value in choices):
        notes.append(f"choices of '{name}' that are neither text nor number are shown as text")
    if len({repr(choices) for choices in lists}) > 1:
        notes.append(f"the choices of '{name}' differ between trials: the space has all of them")
    if seen_in_ranges:
        notes.append(f"'{name}' is categorical in some trials, a range in others: treated as categorical")
        choices += seen_in_ranges
    values = tuple({(type(value), value): value for value in choices}.values())
    if len(values) == 1:
        return Fixed(name=name, value=values[0]), notes
    return Choices(name=name, values=values, ordered=all(map(_is_finite, values))), notes


def _ranges_together(name: str, ranges: Sequence[_Range], seen: Sequence[Any]) -> tuple[Parameter, list[str]]:
    notes = []
    low, high = min(one.low for one in ranges), max(one.high for one in ranges)
    outside = [number for number in seen if not low <= number <= high]
    if len(set(ranges)) > 1:
        notes.append(f"the range of '{name}' differs between trials: the space covers all of it, {low} to {high}")
    if outside:
        low, high = min(low, *outside), max(high, *outside)
        notes.append(f"'{name}' has values outside its range, which is extended to them: {low} to {high}")
    wide = [one for one in ranges if one.low < one.high]  # a range of one value has no scale and no step
    if len({one.log for one in wide}) > 1:
        notes.append(f"'{name}' is logarithmic in some trials only: treated as not logarithmic")
    if low == high:
        return Fixed(name=name, value=low), notes
    log = low > 0 and all(one.log for one in wide) and any(one.log for one in ranges)
    if all(one.is_integer for one in ranges):
        steps = [int(one.step or 1) for one in wide]
        offsets = [int(number) - int(low) for number in (*(one.low for one in ranges), *outside)]
        step = max(1, math.gcd(*steps, *offsets))
        return Integer(name=name, low=int(low), high=int(high), step=1 if log else step, log=log), notes
    real_step = ranges[0].step if len(set(ranges)) == 1 and not outside else None
    return Real(name=name, low=float(low), high=float(high), step=real_step, log=log), notes


def _range(kind: str, facts: Mapping[str, Any]) -> _Range:
    return _Range(
        low=facts["low"],
        high=facts["high"],
        step=facts.get("step") or facts.get("q"),  # q: the name before Optuna 3.0
        log=bool(facts.get("log")) or "LogUniform" in kind,
        is_integer=kind.startswith("Int"),
    )


def plain_choices(choices: Sequence[Any]) -> tuple[Value, ...]:
    """Optuna's choices as values: ``None``, a list or NaN becomes a unique text."""
    texts = {value for value in choices if isinstance(value, str)}
    found: list[Value] = []
    for value in choices:
        plain: Value = value if _is_plain(value) else _as_text(value)
        if not _is_plain(value):
            while plain in texts:
                plain = f"{plain} ({type(value).__name__})"
            texts.add(str(plain))
        found.append(plain)
    return tuple(found)


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _as_text(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, list | tuple | dict) else str(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def described(space: Space) -> str:
    """The space in words: ``d_model 32, 48, 64; lr 1e-05 to 0.1 (log)``."""
    return "; ".join(f"{p.name} {_values(p)}" for p in space.parameters)


def _values(parameter: Parameter) -> str:
    if isinstance(parameter, Fixed):
        return f"= {shown(parameter.value)} (fixed)"
    if isinstance(parameter, Choices):
        return _some(parameter.values)
    return f"{parameter.low} to {parameter.high}{' (log)' if parameter.log else ''}"


def _some(values: Sequence[Value]) -> str:
    few = ", ".join(shown(v).strip("'") for v in values[:12])
    return few + (f", ... ({len(values) - 12} more)" if len(values) > 12 else "")
