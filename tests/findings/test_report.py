"""The document: every section asks and closes, and what is not known does not look like a no."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from hpo_batch.document.blocks import Said
from hpo_batch.document.html import figure_file, html
from hpo_batch.document.markdown import latex, markdown, terminal
from hpo_batch.errors import UserError
from hpo_batch.findings.documents import comparison_document, report_document
from hpo_batch.findings.elites.plotted import PlottedTrials
from hpo_batch.findings.records import Findings
from hpo_batch.findings.report import Report, write
from tests.findings.made import empty, findings, trials

WANTED = ("history-", "directions", "parallel-", "effects-", "importance-", "coverage-", "curves-", "budgets", "hours-",
          "slices-", "contour-", "metrics-")  # fmt: skip


def of(made: Findings, *plotted: PlottedTrials) -> Report:
    return Report(findings=made, document=report_document(made, plotted, version="1"), sources=())


def test_every_section_asks_and_says_what_it_does_not_show() -> None:
    document = report_document(findings(), [trials()], version="1")
    assert len(document.sections) == 16
    for section in document.sections:
        assert section.question.endswith("?")
        assert section.not_shown.endswith(".")
    page, text = html(document), markdown(document)
    assert page.count("What this does not show.") == text.count("What this does not show") == 16
    cards = ["Best configurations", "History", "What matters", "What to do next", "The trials"]
    assert [card.title for card in document.first] == cards
    for said in (page, text):
        places = [said.index(title) for title in (*cards, document.sections[0].title)]
        assert places == sorted(places)


def test_all_kinds_of_figures_are_there_as_valid_svg() -> None:
    document = report_document(findings(), [trials()], version="1")
    names = [figure.name for figure in document.figures]
    assert len(set(names)) == len(names)
    for wanted in WANTED:
        assert any(name.startswith(wanted) for name in names), wanted
    for figure in document.figures:
        ElementTree.fromstring(figure_file(figure).encode())
        assert all(panel.alt for panel in figure.panels), figure.name


def test_answers_are_told_apart_in_words_not_only_in_colour() -> None:
    page = html(report_document(findings(), version="1"))
    for answer in ("yes", "no", "cannot tell", "not measured"):
        assert f'class="answer {answer.replace(" ", "-")}"' in page
        assert f"</span> {answer}</span>" in page


def test_the_same_findings_give_the_same_bytes() -> None:
    assert html(report_document(findings(), [trials()], version="1")) == html(
        report_document(findings(), [trials()], version="1")
    )


def test_a_study_in_which_nothing_completed_gives_a_report_that_says_so() -> None:
    document = report_document(empty(), version="1")
    (nothing,) = document.first[0].blocks
    assert isinstance(nothing, Said)
    assert nothing.text.startswith("There is no complete trial with a finite value")
    assert "(4 failed)" in nothing.text
    assert "No complete trial with a finite value (trials: 4 fail)" in markdown(document)
    html(document), latex(document), terminal(document)
    html(report_document(Findings(studies=(), findings=(), family=0), version="1"))


def test_studies_with_names_that_files_cannot_have_or_share_get_their_own_figures(tmp_path: Path) -> None:
    document = report_document(findings(label="../ä b/c"), version="1")
    write(Report(findings=findings(), document=document, sources=()), tmp_path / "r")
    files = sorted(path.name for path in (tmp_path / "r" / "figures").iterdir())
    assert "coverage-b-c.svg" in files
    assert files == sorted(f"{figure.name}.svg" for figure in document.figures)


def test_a_second_report_replaces_the_first_and_other_folders_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    write(of(findings(), trials()), folder)
    (folder / "notes.txt").write_text("mine")
    write(of(empty()), folder)
    assert not list((folder / "figures").iterdir())
    assert (folder / "notes.txt").read_text() == "mine"
    assert json.loads((folder / "report.json").read_text())["studies"][0]["label"] == "nothing"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds other files"):
        write(of(empty()), tmp_path / "mine")


def test_a_comparison_does_not_compare_values_of_different_metrics() -> None:
    from dataclasses import replace

    both = findings()
    text = terminal(comparison_document(both, version="1"))
    assert "Can the best values be put in an order? cannot tell" in text
    other = replace(both, studies=(both.studies[0], replace(both.studies[1], direction="minimize")))
    text = terminal(comparison_document(other, version="1"))
    assert "measure different things" in text
    assert "put in an order" not in text
