"""Names in expressions: with dots, or in backticks, which Python's parser does not know."""

from __future__ import annotations

import ast
import keyword
import re
from typing import Final

_TOKENS: Final = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`([^`\n]+)`""")
_MASK: Final = 0x20000
"""first of the CJK ideographs of extension B, which are allowed in identifiers (PEP 3131) and are nobody's names"""


def written(name: str) -> str:
    """A name as it is written in an expression."""
    is_plain = all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))
    return name if is_plain else f"`{name}`"


def masked(text: str) -> str:
    """The text with each name in backticks as an identifier, one character a byte, so that Python's parser can read it.

    ``unmasked`` undoes it, also in a piece of the text: nothing has to be remembered, and columns stay the same.
    """

    def mask(token: re.Match[str]) -> str:
        return token[0] if token[1] is None else "".join(chr(_MASK + byte) for byte in token[0].encode())

    return _TOKENS.sub(mask, text)


def unmasked(text: str) -> str:
    """What ``masked`` made of a text, or of a piece of one, as it was."""

    def unmask(run: re.Match[str]) -> str:
        return bytes(ord(character) - _MASK for character in run[0]).decode()

    return re.sub(f"[{chr(_MASK)}-{chr(_MASK + 255)}]+", unmask, text)


def dotted_name(node: ast.expr) -> str | None:
    """The name that a node of ``masked`` text stands for; None if it is something else."""
    match node:
        case ast.Name():
            return _part(node.id)
        case ast.Attribute():
            before, last = dotted_name(node.value), _part(node.attr)
            return None if before is None or last is None else f"{before}.{last}"
    return None


def _part(identifier: str) -> str | None:
    """A part of a name; None if it is neither all in backticks nor without them."""
    text = unmasked(identifier)
    part = text[1:-1] if text.startswith("`") else text
    return None if "`" in part or text == "`" else part
