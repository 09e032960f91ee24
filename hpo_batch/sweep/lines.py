"""Finds the line of each key in a TOML file, which tomli does not report.

A scanner, not a parser: it runs on text that tomli has accepted, and relies on valid syntax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import tomli

Key = tuple[str | int, ...]

# possessive quantifiers (Python 3.11): no backtracking, so scanning is linear in the text
_BLANKS = re.compile(r"(?:[ \t\r\n]++|#[^\n]*)*+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^"\\]++|\\.|"{1,2}(?!"))*+"{3,5}'  # a string may end with two quotes before the closing three
    r"|'''(?:[^']++|'{1,2}(?!'))*+'{3,5}"
    r'|"(?:[^"\\]++|\\.)*+"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[Key, int]:
    """Line number (from 1) of each key's assignment, each table's header, and each element of a list."""
    return _Scan(text).run()


def line_of(key: Key, lines: Mapping[Key, int]) -> int | None:
    """Line of ``key``, or of the innermost table that contains it."""
    for depth in range(len(key), 0, -1):
        if key[:depth] in lines:
            return lines[key[:depth]]
    return None


class _Scan:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.counted_to = 0
        self.line = 1
        self.found: dict[Key, int] = {}
        self.last: dict[Key, int] = {}
        """index of the latest table of each array of tables"""

    def run(self) -> dict[Key, int]:
        table: Key = ()
        self._skip(_BLANKS)
        while self.at < len(self.text):
            line = self._line()
            if self.text[self.at] == "[":
                table = self._header()
                self._note(table, line)
                # the table's own header, even if a subtable came first
                self.found[table] = line
            else:
                self._assignment(table)
            self._skip(_BLANKS)
        return self.found

    def _header(self) -> Key:
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        names = self._names()
        self.at = self.text.index("]", self.at) + (2 if is_array else 1)
        table: Key = ()
        for name in names[:-1]:
            # a header below an array of tables refers to its last table
            table = self._inside((*table, name))
        if not is_array:
            return self._inside((*table, names[-1]))
        array = (*table, names[-1])
        self.last[array] = self.last.get(array, -1) + 1
        return self._inside(array)

    def _inside(self, key: Key) -> Key:
        return (*key, self.last[key]) if key in self.last else key

    def _assignment(self, table: Key) -> None:
        line = self._line()
        key = (*table, *self._names())
        self._note(key, line)
        self.at = self.text.index("=", self.at) + 1
        self._value(key)

    def _value(self, key: Key) -> None:
        self._skip(_BLANKS)
        first = self.text[self.at]
        if first not in "[{":
            self._skip(_STRING if first in "\"'" else _SCALAR)
            return
        self.at += 1
        index = 0
        while True:
            self._skip(_BLANKS)
            c = self.text[self.at]
            if c in ",]}":
                self.at += 1
                if c != ",":
                    return
            elif first == "{":
                self._assignment(key)
            else:
                self.found.setdefault((*key, index), self._line())
                self._value((*key, index))
                index += 1

    def _names(self) -> Key:
        """The parts of a dotted key; tomli unquotes them."""
        names: list[str] = []
        while True:
            self._skip(_BLANKS)
            start = self.at
            is_quoted = self.text[self.at] in "\"'"
            self._skip(_STRING if is_quoted else _BARE)
            source = self.text[start : self.at]
            names.append(tomli.loads(f"key = {source}")["key"] if is_quoted else source)
            self._skip(_BLANKS)
            if self.text[self.at] != ".":
                return tuple(names)
            self.at += 1

    def _note(self, key: Key, line: int) -> None:
        """Record a key, and the tables it creates implicitly."""
        for depth in range(1, len(key) + 1):
            self.found.setdefault(key[:depth], line)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def _line(self) -> int:
        # counts only the new part, which keeps the scan linear
        self.line += self.text.count("\n", self.counted_to, self.at)
        self.counted_to = self.at
        return self.line
