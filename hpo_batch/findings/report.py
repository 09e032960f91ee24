"""Reports from Python: the findings of some studies, and the document that shows them.

from hpo_batch.findings.report import report, write

mine = report(["runs.csv", "my-sweep"])
print(mine.findings.studies[0].summary.best)
write(mine, Path("report"))
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hpo_batch import __version__
from hpo_batch.document.blocks import Document
from hpo_batch.document.html import figure_file, html
from hpo_batch.document.markdown import latex, markdown, terminal
from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import dump_json, write_atomic
from hpo_batch.findings.analyse import MOST_TOP, analyse
from hpo_batch.findings.documents import comparison_document, report_document
from hpo_batch.findings.elites.plotted import plotted_trials
from hpo_batch.findings.known import Known
from hpo_batch.findings.records import Findings
from hpo_batch.findings.report_json import as_json
from hpo_batch.findings.subject import Subject
from hpo_batch.findings.subjects import SUBJECTS
from hpo_batch.results.table import TrialsTable
from hpo_batch.sources.read import read_tables

MARK = "report.json"
"""a folder with it is a report's, whose old figures may be replaced"""
FIGURES: Final = "figures"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
TEXTS: Final[Mapping[str, Callable[[Document], str]]] = {
    "table": terminal,
    "md": markdown,
    "html": html,
    "latex": latex,
}
"""by name of the format; ``json`` is written from the findings"""


@dataclass(frozen=True, kw_only=True, repr=False)
class Report:
    """Findings, and the document that shows them."""

    findings: Findings
    document: Document
    sources: tuple[str, ...]
    version: str = __version__
    subjects: Sequence[Subject] = SUBJECTS

    def __repr__(self) -> str:
        names = ", ".join(one.label for one in self.findings.studies)
        return f"<Report of {names}; .text('md') is its text, hpo_batch.findings.report.write writes its folder>"

    def text(self, format_: str) -> str:
        """All of it in one text: ``table`` (for a terminal), ``md``, ``html``, ``latex`` or ``json``."""
        return dump_json(self.json()) if format_ == "json" else TEXTS[format_](self.document)

    def json(self) -> dict[str, Any]:
        """What report.json holds: every number in full precision (docs/report-json.md)."""
        return as_json(self.findings, version=self.version, sources=self.sources, subjects=self.subjects)


def report(
    sources: Sequence[str | TrialsTable],
    *,
    root: Path = Path("logs"),
    known: Known | None = None,
    top: int = MOST_TOP,
    seed: int = 0,
    subjects: Sequence[Subject] = SUBJECTS,
) -> Report:
    """What the trials of each source say, with the uncertainty of every number.

    Args:
        sources: studies by name or folder, files, Optuna storages (see ``sources.read.read_tables``), or their tables.
        root: the logs directory, where studies lie that are given by name.
        known: what a person knows beside the trials.
        top: trials over all studies whose shares are compared.
        seed: of resamples and forests.
        subjects: the questions to answer, in the order of their sections.

    Raises:
        UserError: a source cannot be understood.
        StorageError: a source cannot be read.
    """
    tables = _tables(sources, root)
    findings = analyse(tables, seed=seed, top=top, known=known, subjects=subjects)
    plotted = [plotted_trials(table, study=study.label) for table, study in zip(tables, findings.studies, strict=True)]
    document = report_document(findings, plotted, version=__version__, subjects=subjects)
    return Report(findings=findings, document=document, sources=_names(tables), subjects=subjects)


def compare(
    sources: Sequence[str | TrialsTable], *, root: Path = Path("logs"), known: Known | None = None, seed: int = 0
) -> Report:
    """Several studies beside each other. Arguments and errors are those of ``report``.

    Raises:
        UserError: also for fewer than two studies.
    """
    tables = _tables(sources, root)
    if len(tables) < 2:
        raise UserError(f"compare takes at least two studies, here is {len(tables)}; 'hpo-batch report' is for one")
    findings = analyse(tables, seed=seed, known=known)
    return Report(
        findings=findings, document=comparison_document(findings, version=__version__), sources=_names(tables)
    )


def _tables(sources: Sequence[str | TrialsTable], root: Path) -> list[TrialsTable]:
    tables: list[TrialsTable] = []
    for source in sources:
        tables += read_tables([source], root=root) if isinstance(source, str) else [source]
    return tables


def _names(tables: Sequence[TrialsTable]) -> tuple[str, ...]:
    return tuple(table.source for table in tables)


def write(report: Report, folder: Path, *, is_named: bool = True) -> None:
    """Write report.md, report.html, report.json, tables.tex and figures/.

    Figures of an earlier report in the same folder are removed; other files there stay.

    Args:
        is_named: the user has named the folder, so that it may be a link. One in a study may be anybody's, and what
            lies in it too: figures would be replaced, and removed, wherever a link leads.

    Raises:
        UserError: the folder holds something else.
        StorageError: it cannot be written.
    """
    figures = {f"{figure.name}.svg": figure_file(figure) for figure in report.document.figures}
    texts = {
        "report.md": report.text("md"),
        "report.html": report.text("html"),
        "tables.tex": report.text("latex"),
        MARK: report.text("json"),
    }
    try:
        with contextlib.ExitStack() as stack:
            inside = _opened(folder, stack, follow=is_named)
            # first, so that a folder whose report broke off is known as a report's
            write_atomic(Path(MARK), texts.pop(MARK), sync=False, dir_fd=inside)
            drawn = _made_inside(inside, stack)
            for name, content in figures.items():
                write_atomic(Path(name), content, sync=False, dir_fd=drawn)
            for name, content in texts.items():
                write_atomic(Path(name), content, sync=False, dir_fd=inside)
            for name in os.listdir(drawn):  # noqa: PTH208
                if name.endswith(".svg") and name not in figures:
                    os.unlink(name, dir_fd=drawn)
    except OSError as error:
        raise StorageError.because(
            f"cannot write the report to '{folder}'", error, do="-o takes another folder"
        ) from error


def _opened(folder: Path, stack: contextlib.ExitStack, *, follow: bool) -> int:
    """A descriptor of the folder, made if need be."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"'{folder}' is a file; -o takes a folder for the report")
    folder.mkdir(parents=True, exist_ok=True)
    if not follow and folder.is_symlink():
        raise UserError(f"'{folder}' is a link, which somebody else may have put there; -o takes any folder")
    inside = os.open(folder, _FOLDER | (0 if follow else os.O_NOFOLLOW))
    stack.callback(os.close, inside)
    names = os.listdir(inside)  # noqa: PTH208
    if names and MARK not in names:
        raise UserError(
            f"'{folder}' holds other files and no report; -o takes a new or an empty folder, or an older report's"
        )
    return inside


def _made_inside(inside: int, stack: contextlib.ExitStack) -> int:
    """A descriptor of the folder of figures, which is no link."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(FIGURES, dir_fd=inside)
    drawn = os.open(FIGURES, _FOLDER | os.O_NOFOLLOW, dir_fd=inside)
    stack.callback(os.close, drawn)
    return drawn
