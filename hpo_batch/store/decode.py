"""One line of a journal to one record, with Optuna's encodings undone. What a record means is told by ``scan``."""

from __future__ import annotations

import contextlib
import datetime
import json
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from hpo_batch.errors import JournalCorrupt
from hpo_batch.records import Value


class Line(msgspec.Struct):
    op_code: int
    worker_id: str = ""
    study_id: int = 0
    trial_id: int = -1
    study_name: str = ""
    directions: list[int] = []
    state: int | None = None
    value: float | None = None
    values: list[float] | None = None
    params: dict[str, float] = {}
    distributions: dict[str, str] = {}
    user_attrs: dict[str, Any] = {}
    system_attrs: dict[str, Any] = {}
    intermediate_values: dict[str, float] = {}
    user_attr: dict[str, Any] = {}
    system_attr: dict[str, Any] = {}
    param_name: str = ""
    param_value_internal: float = 0.0
    distribution: str = ""
    step: int = 0
    intermediate_value: float | None = None
    datetime_start: str | None = None
    datetime_complete: str | None = None


_decoder = msgspec.json.Decoder(Line)


def decode(line: bytes) -> Line:
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        # plain Optuna writes NaN and Infinity, which are not JSON; Python's decoder takes them
        with contextlib.suppress(ValueError, msgspec.ValidationError):
            return msgspec.convert(json.loads(line), Line)
    raise JournalCorrupt(f"the journal has a line that is not a record: {shown(line)}")


def shown(line: bytes) -> str:
    return repr(line[:80])[1:]


class _Distribution(NamedTuple):
    choices: tuple[Value, ...]
    is_integer: bool
    kind: tuple[object, ...]
    """what must be equal for Optuna to take two distributions as those of one parameter"""


@lru_cache(maxsize=4096)
def distribution_facts(text: str) -> _Distribution:
    decoded = json.loads(text)
    name, attributes = decoded["name"], decoded["attributes"]
    choices = tuple(attributes.get("choices", ()))
    kind = (name, attributes.get("log", False), choices)
    return _Distribution(choices=choices, is_integer=name.startswith("Int"), kind=kind)


def external_value(distribution: str, value: float) -> Value:
    """The value a user knows, from the number that Optuna stores."""
    known = distribution_facts(distribution)
    if known.choices:
        return known.choices[int(value)]
    return int(value) if known.is_integer else float(value)


def seconds(text: str | None) -> float | None:
    return datetime.datetime.fromisoformat(text).timestamp() if text else None
