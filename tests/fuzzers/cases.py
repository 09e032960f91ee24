"""Inputs: whole ones made by rule, and real ones with damage."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input."""

    what: str
    """how the target is to take it: a file's suffix, a place in a study, ..."""
    content: bytes

    def save(self, path: Path) -> None:
        path.write_bytes(self.what.encode() + b"\n" + self.content)

    @classmethod
    def of(cls, path: Path) -> Case:
        what, _, content = path.read_bytes().partition(b"\n")
        return cls(what=what.decode(), content=content)


DEEP = b"[" * 20_000 + b"]" * 20_000
NUMBERS = (
    *(b"0", b"-0.0", b"-1", b"1e308", b"-1e308", b"1e-400", b"1e400", b"5e-324", b"0.1", b"1e10", b"2147483648"),
    *(b"9007199254740993", b"9223372036854775808", b"-9223372036854775809", b"9" * 400, b"9" * 5000, b"1_000", b"07"),
)
JSON_VALUES = (
    *NUMBERS, b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b'""', b"[]", b"{}", b"[1]", b'{"a": 1}', b'"x"',
    b'"\\ud800"', b'"\\u0000"', b'"\\u001b]52;c;eA==\\u0007"', b'"\\u202egpj"', b'"../../x"', b'"' + b"x" * 5000 + b'"',
    b'"2026-01-01T00:00:00"', b'"0001-01-01T00:00:00"', b'"9999-12-31T23:59:59+00:00"', b'"nan"', b'"1e999"', b'"1"',
    DEEP,
)  # fmt: skip
"""what may stand where JSON has a value"""
ODD = (
    *JSON_VALUES, b"nan", b"inf", b"-inf", b"\0", b"\x1b[2J", b"\x1b]52;c;eA==\x07", b"\x9b31m", b"\xff",
    b"\xed\xa0\x80",
    "\u202e".encode(), "\u00b2".encode(), "\u0663".encode(), "\u5b66".encode(), "\u2028".encode(), b"\r", b"\n", b"\t",
    b" ", b",", b";", b'"', b"'", b"''' ", b"|", b"[", b"]", b"{", b"}", b"=", b"#", b":", b"_",
    b"\\", b"%", b"`", b"<script>", b"</svg>",
    b"x", b"1", b"2026-01-01", b"0001-01-01", b"1-00:00:00", b"7_[0-999999999999]", b"hpo:attempt:99999", b"../../x",
)  # fmt: skip
"""what may be put anywhere"""
TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*"|-?\d[\d.eE+-]*|\w+')
_REACH = 1 << 16

Change = Callable[[bytes, int, int, Sequence[bytes]], bytes]
"""a content, two numbers below ``_REACH`` that say where and how, and other contents -> another content"""


def _flip(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    at = where % len(content)
    return content[:at] + bytes([content[at] ^ 1 << how % 8]) + content[at + 1 :]


def _insert(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    at = where % len(content)
    return content[:at] + ODD[how % len(ODD)] + content[at:]


def _drop(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    at = where % len(content)
    return content[:at] + content[at + 1 + how % 100 :]


def _repeat(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    at = where % len(content)
    return content[: at + 1 + how % 300] + content[at:]


def _truncate(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    return content[: where % len(content)]


def _splice(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    other = others[how % len(others)]
    return content[: where % len(content)] + other[how % (len(other) + 1) :]


def _replace(content: bytes, where: int, by: bytes) -> bytes:
    tokens = list(TOKEN.finditer(content))
    if not tokens:
        return content + by
    token = tokens[where % len(tokens)]
    return content[: token.start()] + by + content[token.end() :]


def _token(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    return _replace(content, where, ODD[how % len(ODD)])


def _value(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    return _replace(content, where, JSON_VALUES[how % len(JSON_VALUES)])


def _other_token(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    """A token where another of the same file stands: a name for a number, one trial's for another's."""
    tokens = TOKEN.findall(content)
    return _replace(content, where, tokens[how % len(tokens)] if tokens else b"")


def _lines(content: bytes, where: int, how: int, others: Sequence[bytes]) -> bytes:
    lines = content.splitlines(keepends=True)
    i, j = where % len(lines), how % len(lines)
    match how % 3:
        case 0:
            lines[i], lines[j] = lines[j], lines[i]
        case 1:
            del lines[i]
        case _:
            lines.insert(j, lines[i])
    return b"".join(lines)


WHOLE: tuple[Change, ...] = (_value, _other_token, _lines)
"""changes that leave most files readable: a reader gets further than its parser"""
BROKEN: tuple[Change, ...] = (_flip, _insert, _drop, _repeat, _truncate, _splice, _token)
_numbers = st.integers(0, _REACH - 1)


@st.composite
def spoilt(draw: st.DrawFn, contents: Sequence[bytes], changes: Sequence[Change] = (*WHOLE, *WHOLE, *BROKEN)) -> bytes:
    """A real content after one or more changes."""
    content = draw(st.sampled_from(contents))
    for change, where, how in draw(
        st.lists(st.tuples(st.sampled_from(changes), _numbers, _numbers), min_size=1, max_size=4)
    ):
        content = change(content or b"\n", where, how, contents)
    return content


def cases(contents: st.SearchStrategy[bytes], *what: str) -> st.SearchStrategy[Case]:
    """Contents, each taken in one of these ways."""
    return st.builds(lambda how, content: Case(what=how, content=content), st.sampled_from(what or ("",)), contents)


# -- texts ----------------------------------------------------------------------------------------------------------

SIGNS = ("\x1b[2J", "\u202e", "\ud800", "学", "", *" \n\r,;\"'[]{}=#|:_")
COLUMNS = ("value", "state", "number", "duration", "datetime_start", "params_x", "COMPLETE", "0001-01-01", "9999-12-31")
ODD_WORDS = (
    *("nan", "inf", "-inf", "1e308", "-1e308", "1e-400", "9" * 400, "9" * 5000, "0", "-0.0", "true", "²", "٣", "\0"),
    "é",
)
words = st.sampled_from((*ODD_WORDS, *SIGNS, *COLUMNS))
texts = st.lists(words | st.text(max_size=5), max_size=30).map("".join)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=15,
)


def encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
