"""Names with dots or in backticks, which Python's parser does not accept."""

from __future__ import annotations

import ast
import keyword
import re
from typing import Final

_TOKENS: Final = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`([^`\n]+)`""")
# first code point of CJK extension B, whose characters are valid in identifiers (PEP 3131) and unlikely to be used
_MASK: Final = 0x20000


def written(name: str) -> str:
    """A name as written in an expression, in backticks if necessary."""
    # a keyword such as `lambda` is an identifier, but not a name for Python's parser
    is_plain = all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))
    return name if is_plain else f"`{name}`"


def masked(text: str) -> str:
    """Replace names in backticks by identifiers that Python's parser accepts, with one character per byte.

    ``unmasked`` reverses it, also for a part of the text, without any stored state.
    """

    def mask(token: re.Match[str]) -> str:
        return token[0] if token[1] is None else "".join(chr(_MASK + byte) for byte in token[0].encode())

    return _TOKENS.sub(mask, text)


def unmasked(text: str) -> str:
    """The original of a ``masked`` text, or of a part of one."""

    def unmask(run: re.Match[str]) -> str:
        try:
            return bytes(ord(character) - _MASK for character in run[0]).decode()
        except UnicodeDecodeError:
            return run[0]  # no mask of ours: somebody wrote these characters

    return re.sub(f"[{chr(_MASK)}-{chr(_MASK + 255)}]+", unmask, text)


def dotted_name(node: ast.expr) -> str | None:
    """The name that a node of ``masked`` text represents; None if it is not a name."""
    match node:
        case ast.Name():
            return _part(node.id)
        case ast.Attribute():
            before, last = dotted_name(node.value), _part(node.attr)
            return None if before is None or last is None else f"{before}.{last}"
    return None


def _part(identifier: str) -> str | None:
    """A part of a name; None if only some of it is in backticks."""
    text = unmasked(identifier)
    part = text[1:-1] if text.startswith("`") else text
    return None if "`" in part or text == "`" else part
