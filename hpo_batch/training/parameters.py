"""From a trial's parameters to a frozen dataclass: defaults, types and ranges in one place, next to the field.

A trainer declares its settings with `whole`, `real` and `text`, and `read` fills them from `trial.params`. An unknown
name is refused: a misspelt parameter that silently keeps its default would make the whole sweep vary nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hpo_batch.text.names import did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
D = TypeVar("D", bound="DataclassInstance")


def parameter(default: Any, read: Callable[[object], T]) -> T:
    """A dataclass field; `read` turns a given value into the field's, or raises a ValueError "must be ..."."""
    value: T = field(default=default, metadata={"read": read})
    return value


def whole(default: int, *, at_least: int) -> int:
    return parameter(default, partial(_read_whole, at_least=at_least))


def real(default: float, *, at_least: float = -math.inf, above: float = -math.inf, below: float = math.inf) -> float:
    return parameter(default, partial(_read_real, at_least=at_least, above=above, below=below))


def text(default: str) -> str:
    return parameter(default, _read_text)


def one_of(default: str, *choices: str) -> str:
    return parameter(default, partial(_read_choice, choices=(default, *choices)))


def flag(default: bool) -> bool:
    return parameter(default, _read_flag)


def read(cls: type[D], params: Mapping[str, object]) -> D:
    """`cls` filled from `params`; a ValueError names every mistake at once."""
    readers = {f.name: f.metadata["read"] for f in fields(cls)}
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for name, value in params.items():
        if name not in readers:
            hint = did_you_mean(name, readers, otherwise=f"; known are {', '.join(sorted(readers))}")
            mistakes.append(f"unknown parameter '{name}'{hint}")
            continue
        try:
            values[name] = readers[name](value)
        except ValueError as error:
            mistakes.append(f"parameter '{name}' is {value!r}: {error}")
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return cls(**values)


def read_known(cls: type[D], params: Mapping[str, object]) -> D:
    """As ``read``, of those parameters that ``cls`` has."""
    names = {f.name for f in fields(cls)}
    return read(cls, {name: value for name, value in params.items() if name in names})


def _read_whole(value: object, *, at_least: int) -> int:
    # A derived parameter such as "d_model * 4 / 2" arrives as 128.0: the same number, so not a mistake.
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if not isinstance(number, int) or isinstance(number, bool) or number < at_least:
        raise ValueError(f"must be a whole number of at least {at_least}")
    return number


def _read_real(value: object, *, at_least: float, above: float, below: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]  # is_number
    if at_least <= number and above < number < below:  # false for NaN and, two limits being strict, for infinity
        return number
    limits = {"of at least": at_least, "above": above, "below": below}
    wanted = " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if math.isfinite(limit))
    raise ValueError(f"must be a finite number {wanted}".rstrip())


def _read_text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def _read_choice(value: object, *, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    return str(value)


def _read_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value
