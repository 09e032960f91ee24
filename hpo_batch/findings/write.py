"""One directory: report.md, report.html, report.json, tables.tex and figures/."""

from __future__ import annotations

from pathlib import Path

from hpo_batch.document.blocks import Document
from hpo_batch.document.html import figure_file, html
from hpo_batch.document.markdown import latex, markdown
from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import dump_json, write_atomic
from hpo_batch.findings.records import Findings
from hpo_batch.findings.report_json import as_json

MARK = "report.json"
"""a folder with it is a report's, whose old figures may be replaced"""


def write(folder: Path, document: Document, findings: Findings, *, version: str, sources: tuple[str, ...] = ()) -> None:
    """Write the report. Figures of an earlier one in the same folder go; other files there stay.

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
        folder / "report.md": markdown(document),
        folder / "report.html": html(document),
        folder / "tables.tex": latex(document),
        **{figures / f"{figure.name}.svg": figure_file(figure) for figure in document.figures},
        folder / MARK: dump_json(as_json(findings, version=version, sources=sources)),
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
