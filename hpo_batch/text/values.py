"""Formats values for messages and as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from hpo_batch.records import is_number
from hpo_batch.text.lines import LONGEST


def shown(value: object) -> str:
    """A value as one would write it, shortened; nested and huge values are described instead."""
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
    """``key = value``, ready to paste into a TOML file."""
    return f"{_toml_key(key)} = {_toml(value)}"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(toml_line(str(key), inner) for key, inner in value.items())} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        text: str = json.dumps(value, ensure_ascii=False)  # JSON's escapes are valid in TOML
        return text.replace("\x7f", "\\u007f")
    return repr(value)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)
