"""A document as one HTML file: style, figures and the little script inside it, nothing fetched from anywhere."""

from __future__ import annotations

import itertools
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from hpo_batch.document.blocks import SYMBOLS, Document, Facts, Headline, Said, Snippet, Steps, Table, Text
from hpo_batch.document.drawing import Figure
from hpo_batch.document.svg import inline, standalone
from hpo_batch.records import Answer
from hpo_batch.text.lines import one_line, printable
from hpo_batch.text.numbers import unparted


def html(document: Document) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_finalize
    )
    kinds = {
        Text: "text",
        Said: "said",
        Table: "table",
        Figure: "figure",
        Headline: "headline",
        Snippet: "snippet",
        Steps: "steps",
        Facts: "facts",
    }
    environment.globals.update(
        kind=lambda block: kinds[type(block)],
        is_answer=lambda cell: isinstance(cell, Answer),
        symbol=lambda answer: SYMBOLS[answer],
        id_of=itertools.count(1).__next__,
        # blanks within a text to copy are its own
        verbatim=lambda text: Markup("\n").join(escape(one_line(line)) for line in text.split("\n")),
        slug=lambda answer: answer.value.replace(" ", "-"),
        inline=lambda panel: Markup(inline(panel)),
    )
    return environment.from_string(template("report.html.j2")).render(
        document=document,
        # ours, without a word of the user's in them
        style=Markup(template("figure.css") + template("report.css")),
        script=Markup(template("report.js")),
    )


def figure_file(figure: Figure) -> str:
    """The figure as an SVG file of its own."""
    return standalone(figure.panels, title=figure.title, style=template("figure.css"))


def template(name: str) -> str:
    return resources.files("hpo_batch.document").joinpath("templates", name).read_text(encoding="utf-8")


def _finalize(value: object) -> object:
    # control characters and marks of direction are no text; markup of ours passes as it is
    if type(value) is not str:
        return value
    # blanks at the ends part words of the template
    return f"{' ' * value.startswith(' ')}{unparted(printable(value))}{' ' * value.endswith(' ')}"
