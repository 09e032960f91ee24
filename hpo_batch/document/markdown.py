"""A document as Markdown, its tables as LaTeX. Whatever a name holds, it stays text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from hpo_batch.document.blocks import SYMBOLS, Block, Cell, Document, Said, Table, Text
from hpo_batch.document.drawing import Figure
from hpo_batch.records import Answer
from hpo_batch.text import escapes
from hpo_batch.text.lines import printable


def markdown(document: Document) -> str:
    """Figures are links into ``figures/``."""
    return "\n\n".join(_markdown(document)) + "\n"


def _markdown(document: Document) -> Iterator[str]:
    yield f"# {escapes.markdown(document.title)}"
    yield escapes.markdown(document.subtitle)
    yield "## What to believe"
    yield "\n".join(_said(said, bullet=True) for said in document.believe)
    if document.believe_more:
        yield f"{document.believe_more} further findings stand at the end."
    yield "## What to do next"
    yield (
        "\n".join(f"{i}. {escapes.markdown(text)}" for i, text in enumerate(document.do, 1))
        or "Nothing follows from these trials."
    )
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
        case Table():
            yield f"**{escapes.markdown(block.caption)}**"
            yield pipe_table(block)
            if block.note:
                yield escapes.markdown(block.note)
        case Figure():
            alt = " ".join(panel.alt for panel in block.panels)
            yield f"![{escapes.markdown(block.title)}. {escapes.markdown(alt[:600])}](figures/{block.name}.svg)"
            yield escapes.markdown(block.caption)
        case _:
            assert_never(block)


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
    return f"{SYMBOLS[cell]} {cell.value}" if isinstance(cell, Answer) else escapes.markdown(cell)


def latex(document: Document) -> str:
    """All tables, for a paper: needs the package booktabs, and longtable for long ones; in UTF-8."""
    head = (
        "% Tables of a report by hpo-batch. \\usepackage{booktabs}; "
        "the text is UTF-8 (LuaLaTeX, XeLaTeX or a recent pdfLaTeX)."
    )
    return "\n\n".join([head, *(_latex(table) for table in document.tables)]) + "\n"


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
    """The same for a terminal: tables by tabulate's look, no figures."""
    import textwrap

    def wrapped(text: str, indent: str = "") -> str:
        return textwrap.fill(printable(text), width, subsequent_indent=indent, break_on_hyphens=False) or ""

    def said(each: Said) -> str:
        head = ": ".join(part for part in (each.study, each.question) if part)
        return wrapped(f"{SYMBOLS[each.answer]} {head}{' ' if head else ''}{each.answer.value}: {each.text}", "  ")

    parts = [document.title, "\n".join(map(said, document.believe))]
    if document.do:
        parts.append("\n".join(wrapped(f"next: {text}", "      ") for text in document.do))
    for section in document.sections:
        parts.append(f"{section.title}: {section.question}")
        for part in section.parts:
            if part.heading:
                parts.append(printable(part.heading))
            for block in part.blocks:
                if isinstance(block, Text):
                    parts.append(wrapped(block.text))
                elif isinstance(block, Said):
                    parts.append(said(block))
                elif isinstance(block, Table):
                    parts.append("\n".join(_columns(block)))
        parts.append(wrapped(f"(not shown: {section.not_shown})", " "))
    return "\n\n".join(parts) + "\n"


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
