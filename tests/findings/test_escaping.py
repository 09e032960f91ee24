"""Whatever a parameter, a value or a study is called, it stays text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from hpo_batch.document.html import figure_file, html
from hpo_batch.document.markdown import latex, markdown, tex
from hpo_batch.findings.documents import comparison_document, report_document
from hpo_batch.text import escapes
from tests.findings.made import findings, trials

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a' onload='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "</svg></style><script>alert(1)</script>",
    "]]><!--",
    "[x](javascript:alert(1))",
    "`|*_\\# $x$ ~",
    "\\input{/etc/passwd}\\write18{ls}",
    "\x00\x1b[31mred\u202egnp.exe\ud800",
    "größe 学习率 \N{PILE OF POO}",
    "x" * 3000,
    "line\nbreak | pipe",
    "",
]


class Elements(HTMLParser):
    """Names of elements, and of attributes that run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text_everywhere(name: str) -> None:
    made = findings(name=name, label=f"s{name}", value=f"v{name}")
    plain = Elements()
    plain.feed(html(report_document(findings(), [trials()], version="1")))
    for document in (
        report_document(made, [trials(f"s{name}", name, f"v{name}")], version="1"),
        comparison_document(made, version="1"),
    ):
        page = html(document)
        page.encode()
        elements = Elements()
        elements.feed(page)
        assert elements.tags.count("script") == 1
        assert set(elements.tags) <= set(plain.tags)
        assert not elements.handlers
        assert "49" not in re.findall(r"Does (.*?) matter", page)
        for figure in document.figures:
            tree = ElementTree.fromstring(figure_file(figure).encode())
            assert {element.tag.rpartition("}")[2] for element in tree.iter()} <= {
                "svg", "title", "style", "rect", "text", "path", "circle", "line"}  # fmt: skip
        assert not re.search(r"<(?!br)[a-z/!]", markdown(document), flags=re.IGNORECASE)
        fences = [line for line in markdown(document).splitlines() if line.startswith("```")]
        assert len(fences) % 2 == 0
        assert not re.search(r"\\(input|write)", latex(document))
        markdown(document).encode(), latex(document).encode()


def test_markdown_tables_keep_their_columns() -> None:
    text = markdown(report_document(findings(name="a|b\nc"), version="1"))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows
    widths = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    for width, following, row in zip(widths, widths[1:], rows[1:], strict=False):
        if row.startswith(("|:", "|-")):
            assert width == following


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("d_model", "d_model"), ("_x_", "\\_x\\_"), ("a*b", "a\\*b"), ("<b>", "&lt;b&gt;"), ("a|b", "a\\|b"),
        ("$x$", "\\$x\\$"),
        ("[a](b)", "\\[a\\](b)"), ("# no heading", "\\# no heading"), ("1. no list", "1\\. no list"), ("a\nb", "a b"),
    ],
)  # fmt: skip
def test_markdown_escapes(given: str, wanted: str) -> None:
    assert escapes.markdown(given) == wanted


def test_latex_escapes() -> None:
    assert tex("a_b & 5 % {x} \\y") == r"a\_b \& 5 \% \{x\} \textbackslash{}y"
