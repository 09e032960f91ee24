"""Text from files of others as one line, or as lines, that a terminal, a shell or a page only shows."""

from __future__ import annotations

import re
import shlex

JOINER = "\N{ZERO WIDTH JOINER}"
"""a part of words in Persian and Hindi, and of many emoji; the other characters of its kind hide or turn text"""


def printable(text: object) -> str:
    """One line that a terminal only prints: characters that steer it, or turn the direction of writing, spelt out."""
    return one_line(" ".join(str(text).split()))


def one_line(text: str) -> str:
    """The same with its blanks as they are: also what would begin another line is spelt out."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == JOINER else spelt(c) for c in text)


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


def short(text: object, most: int) -> str:
    """At most ``most`` characters: the middle of a longer one is left out, as names often differ at their ends."""
    line = printable(text)
    if len(line) <= most:
        return line
    tail = (most - 1) // 3
    return line[: most - 1 - tail] + "\N{HORIZONTAL ELLIPSIS}" + line[len(line) - tail :]


def shell_word(text: str) -> str:
    """A text as one word for bash, on one line: what steers a terminal, or ends the line, is spelt out in it."""
    if text.isprintable():
        return shlex.quote(text)
    spelled = (c if c.isprintable() and c not in "\\'" else f"\\U{ord(c):08x}" for c in text)
    return f"$'{''.join(spelled)}'"
