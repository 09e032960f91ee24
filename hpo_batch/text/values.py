"""Values and names as messages show them: short, on one line, whatever a file from somebody else holds.

Called by everything that words a problem of a sweep: ``space/build`` and the modules of ``sweep``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping

from hpo_batch.records import is_number

LONGEST = 60
MOST_LISTED = 30
MOST_COMPARED = 100
"""names that are compared one by one: difflib takes milliseconds for that, and a file may hold thousands of mistakes"""


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


def printable(text: str) -> str:
    """One line that a terminal only prints: characters that steer it, or turn the direction of writing, spelt out."""
    return one_line(" ".join(text.split()))


def one_line(text: str) -> str:
    """The same with its blanks as they are: also what would begin another line is spelt out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else spelt(c) for c in text)


def harmless(text: str) -> str:
    """Lines of text that a terminal only prints. Line ends and tabs stay; the text itself where nothing is in it."""
    return text if text.isascii() and text.isprintable() else _STEERING.sub(lambda found: spelt(found[0]), text)


_STEERING = re.compile(
    "[\\x00-\\x08\\x0b-\\x0c\\x0e-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f"
    "\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\U000e0000-\\U000e007f]|\\r(?!\\n)"
)
"""controls of ECMA-48 in 7 and 8 bits, what turns or hides letters, lone surrogates; joiners are parts of words"""


def spelt(letter: str) -> str:
    """As an escape of JSON, which may be what is printed."""
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def listed(names: Collection[str]) -> str:
    """Names in the order given, cut where the list would no longer help."""
    some = list(names)[:MOST_LISTED]
    rest = len(names) - len(some)
    return ", ".join(some) + (f", ... ({rest} more)" if rest else "")


def nearest(name: str, known: Collection[str]) -> str:
    """The known name that was probably meant, or an empty text."""
    if len(name) > 2 * LONGEST:
        return ""
    candidates = list(known)
    if len(candidates) > MOST_COMPARED:
        alike = [k for k in candidates if k[:1] == name[:1] and abs(len(k) - len(name)) <= 2]
        candidates = alike[:MOST_COMPARED]
    guess = difflib.get_close_matches(name, candidates, n=1)
    return guess[0] if guess else ""
