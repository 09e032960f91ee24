"""Values as messages show them and as TOML writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from hpo_batch.records import is_number

LONGEST = 60
"""characters of a text in a message: what is longer fills the line and says no more"""


def shown(value: object) -> str:
    """A value as it would be written, shortened; what is nested deeply or is huge is described instead."""
    if isinstance(value, Mapping):
        return "a table" if value else "an empty table"
    if isinstance(value, list | tuple):
        if any(isinstance(item, list | tuple | Mapping) for item in value):
            return "a nested list"
        return f"[{', '.join(map(shown, value[:6]))}{', ...' if len(value) > 6 else ''}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 2**64:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > LONGEST:
        return repr(value[:LONGEST]) + "..."
    return repr(value) if isinstance(value, str) or is_number(value) else str(value)


def toml_line(key: str, value: object) -> str:
    """``key = value`` as it may be pasted into a file."""
    return f"{_toml_key(key)} = {_toml(value)}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(toml_line(str(key), inner) for key, inner in value.items())} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        text: str = json.dumps(value, ensure_ascii=False)  # its escapes are TOML's too
        return text.replace("\x7f", "\\u007f")
    return repr(value)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)
