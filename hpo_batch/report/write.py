"""One directory: report.md, report.html, report.json, tables.tex and figures/."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from hpo_batch.analysis.records import Findings
from hpo_batch.errors import StorageError, UserError
from hpo_batch.files import dump_json, write_atomic
from hpo_batch.report.blocks import Document
from hpo_batch.report.html import figure_file, html
from hpo_batch.report.markdown import latex, markdown
from hpo_batch.report.numbers import as_json

MARK = "report.json"
"""a folder with it is a report's, whose old figures may be replaced"""
FIGURES = "figures"


def write(
    folder: Path,
    document: Document,
    findings: Findings,
    *,
    version: str,
    sources: tuple[str, ...] = (),
    is_named: bool = True,
) -> None:
    """Write the report. Figures of an earlier one in the same folder go; other files there stay.

    Args:
        is_named: the user has named the folder, so that it may be a link. One in a study may be anybody's, and what
            lies in it too: figures would be replaced, and removed, wherever a link leads.

    Raises:
        UserError: the folder holds something else.
        StorageError: it cannot be written.
    """
    figures = {f"{figure.name}.svg": figure_file(figure) for figure in document.figures}
    texts = {
        "report.md": markdown(document),
        "report.html": html(document),
        "tables.tex": latex(document),
        MARK: dump_json(as_json(findings, version=version, sources=sources)),
    }
    try:
        with contextlib.ExitStack() as stack:
            inside = _opened(folder, stack, follow=is_named)
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


_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


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
