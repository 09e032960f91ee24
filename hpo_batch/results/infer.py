"""A space out of the values that trials have: what was never tried is not in it, which is why readers are told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from hpo_batch.records import Value
from hpo_batch.space.parameters import Choices, Fixed, Integer, Parameter, Real
from hpo_batch.space.space import Space
from hpo_batch.space.words import shown

MOST_LEVELS = 20
"""a number with more different values than this, most of them seen once, is a range"""
LOG_FROM = 100.0
"""largest by smallest value from which a range is taken as logarithmic"""


def infer_space(trials: pd.DataFrame) -> Space:
    """One parameter per ``params_*`` column."""
    names = [str(c) for c in trials.columns if str(c).startswith("params_")]
    if len(names) > 1:
        trials = trials.drop_duplicates(names)  # a value that is there again in a replicate was not chosen again
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
    if len(values) <= MOST_LEVELS and len(there) >= 1.5 * len(values):
        return Choices(name=name, values=tuple(sorted(values, key=float)), ordered=True)
    low, high = min(values, key=float), max(values, key=float)
    is_log = _looks_logarithmic(numbers)
    if all(isinstance(v, int) for v in values):
        assert isinstance(low, int)
        assert isinstance(high, int)
        step = math.gcd(*(int(v) - low for v in values)) if not is_log else 1
        return Integer(name=name, low=low, high=high, step=step, log=is_log)
    return Real(name=name, low=float(low), high=float(high), log=is_log)


def _looks_logarithmic(numbers: Sequence[float]) -> bool:
    """Whether positive numbers, by size, were drawn over decades.

    The least of many even draws is small too: of n about a part in n of the largest, and a tenth of them lies below a
    tenth of the largest.
    """
    low, high = numbers[0], numbers[-1]
    if low <= 0 or high / low < LOG_FROM:
        return False
    small = sum(number <= high / 10 for number in numbers)
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


def from_distributions(distributions: Mapping[str, Iterable[Mapping[str, Any]]]) -> Space:
    """The space of a study of Optuna's, from the distributions of its trials: their hull where they were changed.

    Args:
        distributions: of each parameter all that it had, ``{"name": ..., "attributes": {...}}``.
    """
    found: list[Parameter] = []
    for name, several in distributions.items():
        parameters = [_of_distribution(name, facts["name"], facts["attributes"]) for facts in several]
        hull = parameters[0]
        for parameter in parameters[1:]:
            hull = _hull(hull, parameter)
        found.append(hull)
    return Space(parameters=tuple(found))


def _of_distribution(name: str, kind: str, facts: Mapping[str, Any]) -> Parameter:
    if "choices" in facts:
        values = tuple(v if isinstance(v, bool | int | float | str) else str(v) for v in facts["choices"])
        if len(values) == 1:
            return Fixed(name=name, value=values[0])
        ordered = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        return Choices(name=name, values=values, ordered=ordered)
    if facts["low"] == facts["high"]:
        return Fixed(name=name, value=facts["low"])
    if kind.startswith("Int"):
        step = facts.get("step") or 1
        return Integer(name=name, low=facts["low"], high=facts["high"], step=step, log=bool(facts.get("log")))
    log = bool(facts.get("log")) or kind.startswith("LogUniform")
    return Real(name=name, low=facts["low"], high=facts["high"], step=facts.get("step") or facts.get("q"), log=log)


def _hull(old: Parameter, new: Parameter) -> Parameter:
    if isinstance(old, Choices) and isinstance(new, Choices):
        values = {(type(v), v): v for v in (*old.values, *new.values)}
        return replace(old, values=tuple(values.values()))
    if isinstance(old, Integer) and isinstance(new, Integer):
        return replace(old, low=min(old.low, new.low), high=max(old.high, new.high))
    if isinstance(old, Real) and isinstance(new, Real):
        return replace(old, low=min(old.low, new.low), high=max(old.high, new.high))
    return old


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
