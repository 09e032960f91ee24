"""Base class of the tables of a sweep: frozen dataclasses whose annotations describe the valid values.

``validate`` checks users' files with pydantic. Frozen sweeps were checked before and are read here without pydantic,
whose import and models took a fifth of a worker's start, and 1,300 calls to the file system.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

OTHER_NAMES = {"space_table": "space"}
"""attributes whose name differs from their key, besides Python keywords, which end with _"""

T = TypeVar("T", bound="Table")


def key_of(attribute: str) -> str:
    """The TOML key of an attribute."""
    return OTHER_NAMES.get(attribute) or attribute.removesuffix("_")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a sweep file. Unknown keys are errors."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "alias_generator": key_of,
    }


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a value, named as in pydantic."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    min_length: int | None = None
    pattern: str | None = None
    strict: bool | None = None
    """do not convert values of other types"""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {**handler(source), **{name: bound for name, bound in vars(self).items() if bound is not None}}


@dataclasses.dataclass(frozen=True)
class Through:
    """A function that converts or checks a value, and raises ValueError if it is invalid."""

    function: Callable[[Any], Any]
    when: Literal["before", "after", "instead"]
    """relative to pydantic's type check"""
    spelled: Callable[[Any], str] | None = None
    """inverse of ``function``: frozen sweeps contain values as written in TOML"""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        if self.when == "instead":
            return core_schema.no_info_plain_validator_function(self.function)
        if self.when == "before":
            return core_schema.no_info_before_validator_function(self.function, handler(source))
        return core_schema.no_info_after_validator_function(self.function, handler(source))


@dataclass(frozen=True, kw_only=True)
class TableKey:
    """One key of a table."""

    name: str
    attribute: str
    annotation: Any
    default: Any
    """``dataclasses.MISSING`` if the key is required"""


def keys_of(table: type[Table]) -> tuple[TableKey, ...]:
    """The keys of a table, in the order of the schema."""
    return _keys_of(table)  # type: ignore[arg-type]  # mypy does not see that the class is hashable


@functools.cache
def _keys_of(table: type[Table]) -> tuple[TableKey, ...]:
    hints = get_type_hints(table, include_extras=True)
    return tuple(
        TableKey(
            name=key_of(field.name),
            attribute=field.name,
            annotation=hints[field.name],
            default=field.default if field.default_factory is MISSING else field.default_factory(),
        )
        for field in fields(table)
    )


def meanings(table: type[Table]) -> dict[str, str]:
    """The docstring below each attribute in the source, as one line."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(table))).body
    assert isinstance(node, ast.ClassDef)
    return {
        one.target.id: " ".join(str(text.value.value).split())
        for one, text in itertools.pairwise(node.body)
        if isinstance(one, ast.AnnAssign)
        and isinstance(one.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def tables_in(annotation: Any) -> list[type[Table]]:
    """The tables in an annotation: ``tuple[PlannedTrial, ...]`` gives ``[PlannedTrial]``."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return [annotation]
    return [table for argument in get_args(annotation) for table in tables_in(argument)]


def to_raw(table: Table) -> dict[str, Any]:
    """The table as JSON or TOML data, without keys that are None."""
    raw = {}
    for key in keys_of(type(table)):
        value = getattr(table, key.attribute)
        if value is not None:
            # as the user would write it: 14400.0 s becomes "4:00:00"
            spelled = _spelled(key.annotation)
            raw[key.name] = _raw(value) if spelled is None else spelled(value)
    return raw


def _raw(value: Any) -> Any:
    if isinstance(value, Table):
        return to_raw(value)
    if isinstance(value, Mapping):
        return {key: _raw(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_raw(inner) for inner in value]
    return value


def _spelled(annotation: Any) -> Callable[[Any], str] | None:
    for mark in getattr(annotation, "__metadata__", ()):
        if isinstance(mark, Through) and mark.spelled is not None:
            return mark.spelled
    if get_origin(annotation) in (Union, UnionType):
        return next((found for kind in get_args(annotation) if (found := _spelled(kind)) is not None), None)
    return None


def from_raw(table: type[T], raw: object, at: str = "") -> T:
    """Read the output of ``to_raw``. Bounds and other checks of pydantic are not repeated.

    Raises:
        ValueError: keys are unknown or missing, or have values of the wrong type.
    """
    if not isinstance(raw, dict):
        raise ValueError(f"{at.rstrip('.') or 'it'} is not a table")
    keys = {key.name: key for key in keys_of(table)}
    # all mistakes at once, as in `validate`
    wrong = [f"{at}{name}: unknown key" for name in raw if name not in keys]
    wrong += [f"{at}{key.name}: is missing" for key in keys.values() if key.default is MISSING and key.name not in raw]
    values = {}
    for name in raw.keys() & keys.keys():
        try:
            values[keys[name].attribute] = _read(keys[name].annotation, raw[name], f"{at}{name}")
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("; ".join(sorted(wrong)))
    return table(**values)


def _read(kind: Any, value: Any, at: str) -> Any:
    """Read one value; raises ValueError starting with the key."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        marks = [mark for mark in kind.__metadata__ if isinstance(mark, Through)]
        if any(mark.when == "instead" for mark in marks):
            return value
        if spelled := next((mark for mark in marks if mark.spelled is not None), None):
            try:
                return spelled.function(value)
            except ValueError as error:
                raise ValueError(f"{at}: {error}") from error
        return _read(arguments[0], value, at)
    if origin in (Union, UnionType):
        others = [one for one in arguments if one is not type(None)]
        if len(others) == 1 and value is not None:
            return _read(others[0], value, at)  # its errors name the key within a table
        # the first member that fits, in the order of the annotation, like pydantic's left-to-right mode
        for one in arguments:
            try:
                return _read(one, value, at)
            except ValueError as error:
                refused = error
        raise refused
    if origin is tuple and isinstance(value, list):
        return tuple(_read(arguments[0], inner, f"{at}.{i}") for i, inner in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _read(arguments[1], inner, f"{at}.{key}") for key, inner in value.items()}
    if isinstance(kind, type) and issubclass(kind, Table):
        return from_raw(kind, value, f"{at}.")
    if kind is Any or (kind is type(None) and value is None) or (origin is Literal and value in arguments):
        return value
    # JSON does not distinguish 1 and 1.0 for other writers
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise ValueError(f"{at}: {value!r} is not allowed")
