"""What a document is made of. Markdown, HTML, LaTeX and the terminal show the same blocks.

Strings in here are plain text: each format escapes them in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from hpo_batch.document.drawing import Figure
from hpo_batch.records import Answer

SYMBOLS: Final[dict[Answer, str]] = {
    Answer.YES: "\N{HEAVY CHECK MARK}",
    Answer.NO: "\N{HEAVY MULTIPLICATION X}",
    Answer.CANNOT_TELL: "?",
    Answer.NOT_MEASURED: "\N{EMPTY SET}",
}
"""beside the words, never instead of them"""

Cell: TypeAlias = str | Answer


@dataclass(frozen=True, kw_only=True)
class Text:
    text: str


@dataclass(frozen=True, kw_only=True)
class Said:
    """A statement with its answer: what is not known looks different from a no."""

    answer: Answer
    text: str
    question: str = ""
    study: str = ""
    do: str = ""
    detail: str = ""
    """test, n and method, in small letters"""


@dataclass(frozen=True, kw_only=True)
class Table:
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[int] = frozenset()
    """columns that are aligned to the right"""
    note: str = ""
    secondary: bool = False
    """for those who want to know it exactly: folded in the HTML"""


Block: TypeAlias = Text | Said | Table | Figure


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a section has to say of one study; without a heading: of all."""

    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    key: str
    title: str
    question: str
    parts: tuple[Part, ...]
    not_shown: str
    """what must not be read into it"""


@dataclass(frozen=True, kw_only=True)
class Document:
    title: str
    subtitle: str
    believe: tuple[Said, ...]
    do: tuple[str, ...]
    sections: tuple[Section, ...]
    believe_more: int = 0
    """findings that stand further below only"""

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(b for s in self.sections for part in s.parts for b in part.blocks if isinstance(b, Figure))

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(b for s in self.sections for part in s.parts for b in part.blocks if isinstance(b, Table))
