"""How report.json names the places of a tuple, which would be a nameless list in JSON."""

from __future__ import annotations

from typing import Any, Final

_KEYS: Final = "json_keys"


def json_keys(*names: str) -> dict[str, tuple[str, ...]]:
    """The ``metadata`` of a dataclass field that holds tuples: the key of each place."""
    return {_KEYS: names}


def keys_of(field: Any) -> tuple[str, ...] | None:
    """The keys that a field declares, if it does."""
    names: tuple[str, ...] | None = field.metadata.get(_KEYS)
    return names
