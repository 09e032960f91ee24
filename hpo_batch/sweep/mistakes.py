"""Where a problem of a merged sweep was written: in the file, in one of its budgets, in a template, in ``--set``.

A sweep is put together from several sources, each laid over those before it. A problem names a key of the result; its
place is the source that this key came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo_batch.records import Problem
from hpo_batch.sweep.lines import Key, line_of
from hpo_batch.text.lines import one_line


@dataclass(frozen=True, kw_only=True)
class Source:
    """One layer of a sweep."""

    file: str
    """a path, or the override as it was given"""
    raw: Mapping[str, Any]
    lines: Mapping[Key, int] = field(default_factory=dict)
    """lines of the keys as they stand in ``raw``"""
    header: int | None = None
    """line of the table that ``raw`` is, for keys that stand nowhere"""
    prefix: Key = ()
    """what stands before the keys in the file: the budget they are part of"""
    hidden: int = 0
    """leading names that are not written in the file: a template leaves ``job`` out"""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A problem with its place in a file."""

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
    """The problem at the place it was written."""
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
    """The source whose value stands at ``key``, or at the nearest table around it.

    Of several that a table was merged from it is the first: a key that is missing is missing where the table begins.
    A template comes last for that: it is not what the user wrote.
    """
    holders: list[tuple[Source, Any]] = [(source, source.raw) for source in sources]
    for part in key:
        found = [(source, node[part]) for source, node in holders if holds(node, part)]
        if not found:
            break
        # a list or value replaces what lies below it, and a table laid over a value replaces that
        merged = len(found) - 1
        while merged > 0 and isinstance(found[merged][1], Mapping) and isinstance(found[merged - 1][1], Mapping):
            merged -= 1
        holders = found[merged:]
    return next((source for source, _ in holders if not source.hidden), holders[0][0])


def holds(node: Any, part: object) -> bool:
    """Whether a table has this key, or a list this element."""
    if isinstance(part, int):
        return isinstance(node, list | tuple) and part < len(node)
    return isinstance(node, Mapping) and part in node


def dotted(key: Key) -> str:
    """A key as one would write it in TOML; tables of an array by their place, from 1."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            bare = part.replace("-", "").replace("_", "").isalnum() and part.isascii()
            escaped = part.replace("\\", "\\\\").replace('"', '\\"')
            text += ("." if text else "") + (part if bare else f'"{escaped}"')
    return text
