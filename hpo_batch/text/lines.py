"""Makes untrusted text safe to print: control characters are shown as escapes."""

from __future__ import annotations

import re
import shlex

LONGEST = 60
"""longest text in a message, in characters"""

JOINER = "\N{ZERO WIDTH JOINER}"
"""kept: it is part of words in Persian and Hindi and of emoji, while other format characters hide or reverse text"""


def printable(text: object) -> str:
    """Text on one line, with control and direction characters escaped and whitespace collapsed."""
    return one_line(" ".join(str(text).split()))


def one_line(text: str) -> str:
    """The same, with whitespace kept; line breaks are escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == JOINER else spelt(c) for c in text)


def harmless(text: str) -> str:
    """Several lines with control and direction characters escaped, but line ends and tabs kept."""
    return text if text.isascii() and text.isprintable() else _CONTROLS.sub(lambda match: spelt(match[0]), text)


# control characters of ECMA-48 (7 and 8 bits), characters that reverse or hide text, and lone surrogates
_CONTROLS = re.compile(
    "[\\x00-\\x08\\x0b-\\x0c\\x0e-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f"
    "\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\U000e0000-\\U000e007f]|\\r(?!\\n)"
)


def spelt(letter: str) -> str:
    """A character as a JSON escape, so that JSON output stays valid."""
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def short(text: object, most: int) -> str:
    """At most ``most`` characters. The middle is cut out, because names often differ at their ends."""
    line = printable(text)
    if len(line) <= most:
        return line
    tail = (most - 1) // 3
    return line[: most - 1 - tail] + "\N{HORIZONTAL ELLIPSIS}" + line[len(line) - tail :]


def shell_word(text: str) -> str:
    """Quote text as one word for bash, on one line, with control characters as ``$'\\U...'`` escapes."""
    if text.isprintable():
        return shlex.quote(text)
    spelled = (c if c.isprintable() and c not in "\\'" else f"\\U{ord(c):08x}" for c in text)
    return f"$'{''.join(spelled)}'"
