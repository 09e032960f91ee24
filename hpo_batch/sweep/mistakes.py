"""Finds the source of a problem in a merged sweep: the file, one of its budgets, a template or ``--set``.

A sweep is merged from several sources. A problem has a key of the result, and belongs to the source of that key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from hpo_batch.records import Problem
from hpo_batch.sweep.lines import Key, line_of
from hpo_batch.text.lines import one_line


class Source(Struct, frozen=True, kw_only=True):
    """One of the sources of a merged sweep."""

    file: str
    """a path, or the text of an override"""
    raw: Mapping[str, Any]
    lines: Mapping[Key, int] = {}
    """line numbers of the keys in ``raw``"""
    header: int | None = None
    """line of the table itself, for missing keys"""
    prefix: Key = ()
    """key of the table in the file, for a budget"""
    hidden: int = 0
    """number of leading names not written in the file: templates omit ``job``"""


class Mistake(Struct, frozen=True, kw_only=True):
    """A problem with its file and line."""

    file: str
    line: int | None
    key: str
    message: str
    allowed: str = ""
    guess: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        text = f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"
        if self.guess:
            text += f"; did you mean '{self.guess}'?"
        if self.allowed:
            text += f" (allowed: {self.allowed})"
        return one_line(text)


def put(problem: Problem, sources: Sequence[Source]) -> Mistake:
    """Locate a problem in its source."""
    source = _owner(problem.key, sources)
    line = line_of(problem.key, source.lines)
    return Mistake(
        file=source.file,
        line=source.header if line is None else line,
        key=dotted((*source.prefix, *problem.key[source.hidden :])),
        message=problem.message,
        allowed=problem.allowed,
        guess=problem.guess,
    )


def _owner(key: Key, sources: Sequence[Source]) -> Source:
    """The source of the value at ``key``, or of the innermost table that contains it.

    If a table was merged from several sources, it is the first of them, except for templates: a missing key is reported
    where the user's table begins.
    """
    holders: list[tuple[Source, Any]] = [(source, source.raw) for source in sources]
    for part in key:
        nodes = [(source, node[part]) for source, node in holders if holds(node, part)]
        if not nodes:
            break
        # tables are merged; any other value replaces those of earlier sources
        merged = len(nodes) - 1
        while merged > 0 and isinstance(nodes[merged][1], Mapping) and isinstance(nodes[merged - 1][1], Mapping):
            merged -= 1
        holders = nodes[merged:]
    # the first source of the user's own; the template only if it is the only one
    return next((source for source, _ in holders if not source.hidden), holders[0][0])


def holds(node: Any, part: object) -> bool:
    """Whether a table has this key, or a list this index."""
    if isinstance(part, int):
        return isinstance(node, list | tuple) and part < len(node)
    return isinstance(node, Mapping) and part in node


def dotted(key: Key) -> str:
    """A key as written in TOML, with the index of a table in an array counted from 1."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            bare = part.replace("-", "").replace("_", "").isalnum() and part.isascii()
            escaped = part.replace("\\", "\\\\").replace('"', '\\"')
            text += ("." if text else "") + (part if bare else f'"{escaped}"')
    return text
