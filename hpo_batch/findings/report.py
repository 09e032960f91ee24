"""Reports from Python: the findings of some studies, and the document that shows them.

from hpo_batch.findings.report import report, write

mine = report(["runs.csv", "my-sweep"])
print(mine.findings.studies[0].summary.best)
write(mine, Path("report"))
"""

from __future__ import annotations

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
TEXTS: Final[Mapping[str, Callable[[Document], str]]] = {
    "table": terminal,
    "md": markdown,
    "html": html,
    "latex": latex,
}
"""by name of the format; ``json`` is written from the findings"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Findings, and the document that shows them."""

    findings: Findings
    document: Document
    sources: tuple[str, ...]
    version: str = __version__
    subjects: Sequence[Subject] = SUBJECTS

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
    plotted = [
        plotted_trials(table, study=study.label)
        for table, study in zip(tables, findings.studies, strict=True)
        if len(table.metrics) < 2
    ]
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


def write(report: Report, folder: Path) -> None:
    """Write report.md, report.html, report.json, tables.tex and figures/.

    Figures of an earlier report in the same folder are removed; other files there stay.

    Raises:
        UserError: the folder holds something else.
        StorageError: it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is a file; -o takes a folder for the report")
    figures = folder / "figures"
    if folder.is_dir() and not (folder / MARK).exists() and any(folder.iterdir()):
        raise UserError(
            f"'{folder}' holds other files and no report; -o takes a new or an empty folder, or an older report's"
        )
    files = {
        folder / "report.md": report.text("md"),
        folder / "report.html": report.text("html"),
        folder / "tables.tex": report.text("latex"),
        **{figures / f"{figure.name}.svg": figure_file(figure) for figure in report.document.figures},
        folder / MARK: report.text("json"),
    }
    try:
        figures.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            write_atomic(path, content, sync=False)
        for old in figures.glob("*.svg"):
            if old not in files:
                old.unlink()
    except OSError as error:
        raise StorageError.because(
            f"cannot write the report to '{folder}'", error, do="-o takes another folder"
        ) from error
