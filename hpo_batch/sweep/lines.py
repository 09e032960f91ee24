"""In which line of a TOML file each key is assigned: tomli gives values, not places.

A scan, not a parser: it runs after tomli has accepted the text, so it may rely on its being well-formed.
"""

from __future__ import annotations

import tomli

Key = tuple[str | int, ...]


def key_lines(text: str) -> dict[Key, int]:
    """Line (from 1) of each key's own assignment, and of each table's header."""
    found: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    for start, line in _statements(text):
        if line.startswith("["):
            names = _names(line)
            if line.startswith("[["):
                parent = _indexed(names[:-1], counts)
                array = (*parent, names[-1])
                counts[array] = counts.get(array, -1) + 1
                table = (*array, counts[array])
                found.setdefault(array, start)
            else:
                table = _indexed(names, counts)
            found[table] = start
        else:
            key = (*table, *_names(_before_equals(line)))
            for depth in range(len(table) + 1, len(key) + 1):
                found.setdefault(key[:depth], start)
    return found


def line_of(key: Key, lines: dict[Key, int]) -> int | None:
    """Line of ``key``, or of the nearest table around it."""
    for depth in range(len(key), 0, -1):
        if key[:depth] in lines:
            return lines[key[:depth]]
    return None


def _indexed(names: tuple[str, ...], counts: dict[Key, int]) -> Key:
    """A header below an array of tables means the array's last table."""
    key: Key = ()
    for name in names:
        key = (*key, name)
        if key in counts:
            key = (*key, counts[key])
    return key


def _names(source: str) -> tuple[str, ...]:
    """Names of a header or of a dotted key; tomli itself undoes quotes and escapes."""
    node: object = tomli.loads(source if source.startswith("[") else f"{source} = 0")
    names: list[str] = []
    while isinstance(node, dict | list) and node:
        if isinstance(node, list):
            node = node[0]
            continue
        name, node = next(iter(node.items()))
        names.append(name)
    return tuple(names)


def _before_equals(line: str) -> str:
    quote = ""
    for i, c in enumerate(line):
        if quote:
            if c == quote and not (quote == '"' and _escaped(line, i)):
                quote = ""
        elif c in "\"'":
            quote = c
        elif c == "=":
            return line[:i]
    return line


def _escaped(line: str, index: int) -> bool:
    backslashes = 0
    while index - backslashes > 0 and line[index - backslashes - 1] == "\\":
        backslashes += 1
    return backslashes % 2 == 1


def _statements(text: str) -> list[tuple[int, str]]:
    """Statements (headers and assignments) with the line they begin in, comments cut; values may span lines."""
    statements: list[tuple[int, str]] = []
    current: list[str] = []
    start = number = 1
    depth, quote, i = 0, "", 0
    while i <= len(text):
        c = text[i] if i < len(text) else "\n"
        if quote:
            if text.startswith(quote, i) and not (quote[0] == '"' and _escaped(text, i)):
                current.append(quote)
                i += len(quote)
                quote = ""
                continue
            if i >= len(text):
                break
        elif c in "\"'":
            quote = c * 3 if text.startswith(c * 3, i) else c
            current.append(quote)
            i += len(quote)
            continue
        elif c == "#":
            end = text.find("\n", i)
            i = len(text) if end < 0 else end
            continue
        elif c in "[{":
            depth += 1
        elif c in "]}":
            depth -= 1
        if c == "\n":
            if not quote and depth == 0:
                statement = "".join(current).strip()
                if statement:
                    statements.append((start, statement))
                current, start = [], number + 1
            number += 1
        if c != "\n" or quote or depth:
            if not current and c in " \t\r":
                i += 1
                continue
            current.append(c)
        i += 1
    return statements
