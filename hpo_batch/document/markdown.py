"""A document as Markdown, its tables as LaTeX. Whatever a name holds, it stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, assert_never

from hpo_batch.document.blocks import (
    SYMBOLS,
    Block,
    Cell,
    Document,
    Facts,
    Headline,
    Said,
    Snippet,
    Steps,
    Table,
    Text,
)
from hpo_batch.document.drawing import Figure
from hpo_batch.records import Answer
from hpo_batch.text import escapes
from hpo_batch.text.lines import one_line, printable
from hpo_batch.text.numbers import count, folded

MOST_ALT: Final = 1200
"""letters of what a figure shows, in words"""


def markdown(document: Document) -> str:
    """Figures are links into ``figures/``."""
    return "\n\n".join(_markdown(document)) + "\n"


def _markdown(document: Document) -> Iterator[str]:
    yield f"# {escapes.markdown(document.title)}"
    yield escapes.markdown(document.subtitle)
    for card in document.first:
        yield f"## {escapes.markdown(card.title)}"
        for block in card.blocks:
            yield from _block(block)
    for section in document.sections:
        yield f"## {escapes.markdown(section.title)}"
        yield f"*{escapes.markdown(section.question)}*"
        for part in section.parts:
            if part.heading:
                yield f"### {escapes.markdown(part.heading)}"
            for block in part.blocks:
                yield from _block(block)
        yield f"> What this does not show: {escapes.markdown(section.not_shown)}"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text():
            yield escapes.markdown(block.text)
        case Said():
            yield _said(block)
        case Table() if block.paper:
            pass
        case Table() if block.searched:
            yield f"{escapes.markdown(block.caption)}: {count(len(block.rows), 'row')}, in report.html."
        case Table():
            yield f"**{escapes.markdown(block.caption)}**"
            yield pipe_table(block)
            if block.note:
                yield escapes.markdown(block.note)
        case Figure():
            shown = [f"{block.title}."]
            if not block.lines:
                shown.append(" ".join(panel.alt for panel in block.panels)[:MOST_ALT])
            # brackets would end the text of the image
            yield f"![{_unbracketed(escapes.markdown(' '.join(shown)))}](figures/{block.name}.svg)"
            if block.lines:
                yield "\n".join(f"- {escapes.markdown(line)}" for line in block.lines)
            yield escapes.markdown(block.caption)
        case Headline():
            yield f"**{escapes.markdown(block.text)}**"
            yield "  \n".join(map(escapes.markdown, block.lines))
        case Snippet():
            yield f"{escapes.markdown(block.title)}:"
            for name, text in block.texts:
                yield _fenced(text, language=name.lower() if name.isalpha() else "sh")
        case Steps():
            yield "\n".join(
                f"{i}. {escapes.markdown(step.text)}" + (f": {_code(step.command)}" if step.command else "")
                for i, step in enumerate(block.steps, 1)
            )
        case Facts():
            yield "\n".join(f"- {escapes.markdown(name)}: {escapes.markdown(text)}" for name, text in block.rows)
        case _:
            assert_never(block)


def _unbracketed(text: str) -> str:
    return re.sub(r"(?<!\\)([\[\]])", r"\\\1", text)


def _fenced(text: str, *, language: str) -> str:
    """A block of code, whose fence is longer than any in it."""
    lines = [one_line(line) for line in text.split("\n")]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def _code(text: str) -> str:
    """Code within a line."""
    line = one_line(text)
    if "<" in line:
        return escapes.markdown(line)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"`{line}`"


def _said(said: Said, *, bullet: bool = False) -> str:
    head = ": ".join(escapes.markdown(part) for part in (said.study, said.question) if part)
    asked = f"{head} " if said.question else f"{head}: " if head else ""
    do = f" Next: {escapes.markdown(said.do)}." if said.do else ""
    detail = f" ({escapes.markdown(said.detail)})" if said.detail else ""
    return f"{'- ' if bullet else ''}{asked}**{_cell(said.answer)}**: {escapes.markdown(said.text)}{do}{detail}"


def pipe_table(table: Table) -> str:
    head = "| " + " | ".join(escapes.markdown(name) for name in table.columns) + " |"
    rule = "|" + "|".join("---:" if i in table.numeric else ":---" for i in range(len(table.columns))) + "|"
    return "\n".join([head, rule, *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows)])


def _cell(cell: Cell) -> str:
    return f"{SYMBOLS[cell]} {cell.value}" if isinstance(cell, Answer) else _not_first(escapes.markdown(cell))


def _not_first(text: str) -> str:
    """Within a row ``>`` begins no quotation."""
    return re.sub(r"^&gt;(?= )", ">", text)


def latex(document: Document) -> str:
    """All tables, for a paper: needs the package booktabs, and longtable for long ones; in UTF-8."""
    head = (
        "% Tables of a report by hpo-batch. \\usepackage{booktabs}; "
        "the text is UTF-8 (LuaLaTeX, XeLaTeX or a recent pdfLaTeX)."
    )
    return "\n\n".join([head, *(_latex(table) for table in document.tables if not table.searched)]) + "\n"


def _latex(table: Table) -> str:
    columns = "".join("r" if i in table.numeric else "l" for i in range(len(table.columns)))
    rows = [" & ".join(tex(cell) for cell in row) + r" \\" for row in table.rows]
    note = [rf"\\[2pt]{{\footnotesize {tex(table.note)}}}"] if table.note else []
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{tex(table.caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(tex(name) for name in table.columns) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            *note,
            r"\end{table}",
        ]
    )


def tex(cell: Cell) -> str:
    return escapes.latex(cell.value if isinstance(cell, Answer) else cell)


def terminal(document: Document, *, width: int = 100) -> str:
    """The same for a terminal: tables by tabulate's look, figures as their words."""

    def wrapped(text: str, indent: str = "") -> str:
        return "\n".join(folded(printable(text), width, indent=indent))

    def said(each: Said) -> str:
        head = ": ".join(part for part in (each.study, each.question) if part)
        return wrapped(f"{SYMBOLS[each.answer]} {head}{' ' if head else ''}{each.answer.value}: {each.text}", "  ")

    def shown(block: Block) -> Iterator[str]:
        match block:
            case Text():
                yield wrapped(block.text)
            case Said():
                yield said(block)
            case Table():
                if not block.paper and not block.searched:
                    yield "\n".join(_columns(block))
            case Headline():
                yield "\n".join(wrapped(line, "  ") for line in (block.text, *block.lines))
            case Snippet():
                # the words of a command are what a terminal is for
                yield "\n".join(
                    [f"{printable(block.title)}:", *(f"  {one_line(t)}" for t in block.texts[1][1].split("\n"))]
                )
            case Steps():
                yield "\n".join(
                    wrapped(f"next: {step.text}", "      ")
                    + (f"\n      {printable(step.command)}" if step.command else "")
                    for step in block.steps
                )
            case Facts():
                yield "\n".join(wrapped(f"{name}: {text}", "  ") for name, text in block.rows)
            case Figure():
                if block.lines:
                    yield "\n".join(wrapped(line, "  ") for line in block.lines)
                elif block.narrow:
                    yield wrapped(" ".join(panel.alt for panel in block.panels)[:MOST_ALT])
            case _:
                assert_never(block)

    parts = [document.title]
    for card in document.first:
        parts.append(printable(card.title))
        parts += [text for block in card.blocks for text in shown(block)]
    for section in document.sections:
        parts.append(f"{section.title}: {section.question}")
        for part in section.parts:
            if part.heading:
                parts.append(printable(part.heading))
            parts += [text for block in part.blocks for text in shown(block)]
        parts.append(wrapped(f"(not shown: {section.not_shown})", " "))
    return "\n\n".join(part for part in parts if part) + "\n"


def _columns(table: Table) -> list[str]:
    cells = [[printable(name) for name in table.columns]]
    cells += [[cell.value if isinstance(cell, Answer) else printable(cell) for cell in row] for row in table.rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    lines = [
        "  ".join(
            text.rjust(w) if i in table.numeric else text.ljust(w)
            for i, (text, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return [table.caption, lines[0], "  ".join("-" * w for w in widths), *lines[1:]]
