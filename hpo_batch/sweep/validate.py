"""Validates a merged sweep against the schema with pydantic, and converts its errors into problems.

pydantic returns no object if there are errors, but the rules need a complete sweep to find more mistakes. So invalid
keys are removed, missing ones get placeholders, and the rules check the rest. ``load`` never returns such a sweep.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeVar, get_origin

import pydantic

from hpo_batch.records import Problem
from hpo_batch.sweep.lines import Key
from hpo_batch.sweep.mistakes import holds
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import Table, keys_of, tables_in
from hpo_batch.sweep.templates import Raw
from hpo_batch.text.names import nearest
from hpo_batch.text.values import shown

T = TypeVar("T", bound=Table)

PLACEHOLDERS: dict[str, Any] = {
    "study": {},
    "objective": {"function": "some.module:function"},
    "metric": "value",
    "direction": "minimize",
    "if": "value",
}
"""for required keys; names get unique placeholders"""
MOST_ROUNDS = 4
"""validation attempts: removing an invalid table makes a required key missing, and so on for its placeholder"""

_KINDS = {
    "string_type": "a text in quotes",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a table",
    "dataclass_type": "a table",
}
_BOUNDS = {
    "greater_than_equal": ("greater than or equal to", "ge"),
    "greater_than": ("greater than", "gt"),
    "less_than_equal": ("less than or equal to", "le"),
    "less_than": ("less than", "lt"),
}


def validate(raw: Raw) -> tuple[Sweep | None, list[Problem]]:
    """Validate a sweep.

    Returns:
        The sweep without invalid keys (None if that fails), and the problems.
    """
    problems: list[Problem] = []
    for _ in range(MOST_ROUNDS):
        try:
            return checked(Sweep, raw), problems
        except pydantic.ValidationError as error:
            # only the first round has problems of the user; later ones come from placeholders
            details = _details(raw, error)
        if not problems:
            problems = [_problem(key, errors) for key, errors in details]
        for key, errors in details:
            raw = _replaced(raw, key, missing=errors[0]["type"] == "missing")
    return None, problems


def checked(table: type[T], raw: Raw) -> T:
    """Validate a table with pydantic.

    Raises:
        pydantic.ValidationError: it has mistakes. This is a ValueError.
    """
    checked_table: T = _adapter(table).validate_python(raw)  # type: ignore[arg-type]  # mypy does not see that the class is hashable
    return checked_table


@functools.cache
def _adapter(table: type[Table]) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(table)


def _details(raw: Raw, error: pydantic.ValidationError) -> list[tuple[Key, list[Any]]]:
    """pydantic's errors by key. A union has several errors per key, one for each of its types."""
    by_key: dict[Key, list[Any]] = {}
    for detail in error.errors(include_url=False):
        by_key.setdefault(_key(raw, detail), []).append(detail)
    # a mistake inside a table is more helpful than "must be a string" for the table, from another type of the union
    inner = {key[:depth] for key in by_key for depth in range(len(key))}
    return [(key, errors) for key, errors in by_key.items() if key not in inner or errors[0]["type"] == "value_error"]


def _key(raw: Raw, detail: Any) -> Key:
    """The key of an error, without the names of union members that pydantic inserts."""
    node: Any = raw
    # a part that is not in the data is the name of a union member, such as "tuple[str, ...]"
    key: list[str | int] = []
    for i, part in enumerate(detail["loc"]):
        is_last = i == len(detail["loc"]) - 1
        if holds(node, part):
            node = node[part]
        elif not (is_last and detail["type"] == "missing"):
            continue
        key.append(part)
    return tuple(key)


def _problem(key: Key, errors: Sequence[Any]) -> Problem:
    detail = errors[0]
    kind, context, value = detail["type"], detail.get("ctx", {}), detail.get("input")
    if kind == "unexpected_keyword_argument":
        known = known_keys(*key[:-1])
        return Problem(key=key, message="unknown key", allowed=", ".join(known), guess=nearest(str(key[-1]), known))
    if kind == "missing":
        return Problem(key=key, message="is missing", allowed="minimize, maximize" if key[-1] == "direction" else "")
    if kind == "literal_error":
        allowed = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        guess = nearest(value, allowed.split(", ")) if isinstance(value, str) else ""
        return Problem(key=key, message=f"{shown(value)} is not allowed", allowed=allowed, guess=guess)
    if kind == "string_pattern_mismatch":
        return Problem(key=key, message=f'{shown(value)} must have the form "package.module:function"')
    if kind in ("too_short", "string_too_short"):
        return Problem(key=key, message="must not be empty")
    if kind in _BOUNDS:
        word, bound = _BOUNDS[kind]
        return Problem(key=key, message=f"must be {word} {context[bound]:g}, not {shown(value)}")
    kinds = list(dict.fromkeys(_KINDS[d["type"]] for d in errors if d["type"] in _KINDS))
    if kinds:
        return Problem(key=key, message=f"must be {' or '.join(kinds)}, not {shown(value)}")
    return Problem(key=key, message=str(detail["msg"]).removeprefix("Value error, "))


def _replaced(raw: Raw, key: Key, *, missing: bool) -> Raw:
    """A copy with a placeholder for a missing key, or without an invalid one. Lists with invalid elements are
    removed."""
    while key and isinstance(key[-1], int):
        key = key[:-1]
    if not key:
        return {}
    return dict(_changed(raw, key, _placeholder(key) if missing else None))


def _placeholder(key: Key) -> object:
    if key[-1] == "name":
        return f"placeholder_{key[1]}" if key[0] == "trial" else "placeholder"
    return PLACEHOLDERS[str(key[-1])]


def _changed(node: Any, key: Key, value: object) -> Any:
    """A copy of a table or list with ``value`` at ``key``, or without the key if ``value`` is None."""
    part = key[0]
    if isinstance(part, int):
        return [_changed(item, key[1:], value) if i == part else item for i, item in enumerate(node)]
    changed = dict(node)
    if len(key) > 1:
        if part in changed:
            changed[part] = _changed(changed[part], key[1:], value)
    elif value is None:
        changed.pop(part, None)
    else:
        changed[part] = value
    return changed


def known_keys(*path: str | int) -> list[str]:
    """Valid keys of the table at ``path``, as written in TOML."""
    table: type[Table] = Sweep
    parts = iter(path)
    for part in parts:
        key = next((key for key in keys_of(table) if key.name == part), None)
        nested = [] if key is None else tables_in(key.annotation)
        if key is None or not nested:
            return []
        table = nested[0]
        if get_origin(key.annotation) in (dict, tuple):
            next(parts, None)  # skip the name or index of a table
    return [key.name for key in keys_of(table)]
