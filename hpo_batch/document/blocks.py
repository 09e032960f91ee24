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
    paper: bool = False
    """for a paper or an appendix: in tables.tex only"""
    searched: bool = False
    """very long, and looked things up in: the HTML alone has it, in a box of its own with a filter"""
    trials: tuple[str, ...] = ()
    """for each row, which trial it is (``trial_key``), so that marks of figures find it"""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The one thing that a reader came for, in large letters, and what must be known with it."""

    text: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """A text to copy, in several languages: of each its name and the text."""

    title: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to do."""

    text: str
    command: str = ""
    """to type, if there is one"""


@dataclass(frozen=True, kw_only=True)
class Steps:
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A line each: what it is about, and what is the case."""

    rows: tuple[tuple[str, str], ...]


Block: TypeAlias = Text | Said | Table | Figure | Headline | Snippet | Steps | Facts


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
class Card:
    """A part of the first page."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    title: str
    subtitle: str
    first: tuple[Card, ...]
    """what a reader with one minute sees; the sections below are folded in the HTML"""
    sections: tuple[Section, ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        cards = (block for card in self.first for block in card.blocks)
        return (*cards, *(block for s in self.sections for part in s.parts for block in part.blocks))

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(block for block in self.blocks if isinstance(block, Figure))

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(block for block in self.blocks if isinstance(block, Table))

    @property
    def headlines(self) -> tuple[str, ...]:
        """The first page in a few lines, for a terminal."""
        best = (line for b in self.blocks if isinstance(b, Headline) for line in (b.text, *b.lines[:1]))
        steps = (f"next: {step.text}" for b in self.blocks if isinstance(b, Steps) for step in b.steps[:2])
        return (*best, *steps)
