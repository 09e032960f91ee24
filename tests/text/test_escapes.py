"""Escapes for Markdown and LaTeX: one place, which every writer of such text uses."""

from __future__ import annotations

import pandas as pd
import pytest

from hpo_batch.document.blocks import Document, Part, Section, Table
from hpo_batch.document.markdown import latex
from hpo_batch.results.formats import render


@pytest.mark.parametrize("cell", ["[64, 64]", "[x]"])
def test_a_cell_that_begins_with_a_bracket_is_no_argument_of_the_end_of_the_line_before(cell: str) -> None:
    """``\\\\`` takes an optional length in brackets: a first cell ``[64, 64]`` was read as one and LaTeX stopped."""
    wanted = cell.replace("[", "{[}").replace("]", "{]}")
    collected = render(pd.DataFrame({"params_layers": [cell, cell]}), "latex").decode()
    assert collected.count(f"\n{wanted}") == 2
    table = Table(caption="c", columns=("layers",), rows=((cell,), (cell,)))
    section = Section(key="k", title="t", question="q", parts=(Part(heading="", blocks=(table,)),), not_shown="n")
    document = Document(title="t", subtitle="s", first=(), sections=(section,))
    assert latex(document).count(f"\n{wanted}") == 2


@pytest.mark.parametrize("cell", ["*x*", "<b>", "a|b", "_x_", "`x`", "[a](b)", "$x$"])
def test_a_cell_of_a_markdown_table_is_text_whoever_writes_it(cell: str) -> None:
    text = render(pd.DataFrame({"params_layers": [cell]}), "md").decode()
    assert cell not in text
