"""Builds the documentation with Sphinx: ``make docs``, then open build/docs/index.html."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import click
from sphinx.ext.autodoc.mock import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import hpo_batch  # noqa: E402

project = "hpo-batch"
author = "the hpo-batch developers"
release = hpo_batch.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "hpo-batch"
# headings can be linked to, as on GitHub
myst_heading_anchors = 3
# text of docstrings is Markdown's double backticks and plain words
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# the libraries of callbacks, which would take half a minute to load, and need not be installed
autodoc_mock_imports = ["keras", "lightgbm", "lightning", "pytorch_lightning", "torch", "transformers", "xgboost"]
# autodoc mocks them while it imports an object, but not when it looks for the source of the object's base classes
_mocked = mock(autodoc_mock_imports)
_mocked.__enter__()
napoleon_use_ivar = True


# pages made of files that lie elsewhere in the repository, where GitHub shows them
COPIED = {"README.md": "first-steps.md", "CHANGELOG.md": "changes.md", "CONTRIBUTING.md": "contributing.md"}


def write_pages(app: Any) -> None:
    """Write the pages made of other files, of commands from their ``--help``, of a sweep's keys from the schema."""
    folder = Path(app.srcdir)
    for source, page in COPIED.items():
        _write_if_changed(folder / page, _relinked((ROOT / source).read_text(), at=ROOT))
    _write_if_changed(folder / "commands.md", _commands())
    _write_if_changed(folder / "sweep-keys.md", _sweep_keys())


def relink(app: Any, docname: str, source: list[str]) -> None:
    """Links out of the documentation lead to the copies in it."""
    source[0] = _relinked(source[0], at=ROOT / "docs" / Path(docname).parent)


def _relinked(text: str, *, at: Path) -> str:
    """The text with its links to files of the repository as links between pages; a file without a page has none.

    Args:
        text: of a document.
        at: the folder that its links start from.
    """
    docs = ROOT / "docs"

    def link(match: re.Match[str]) -> str:
        label, path, anchor = match[1], match[2], match[3] or ""
        file = (at / path).resolve()
        if not file.exists():
            return match[0]
        if file.parent == ROOT and file.name in COPIED:
            file = docs / COPIED[file.name]
        elif file.is_dir() and (file / "index.md").exists():
            file = file / "index.md"
        elif not file.is_relative_to(docs) or file.is_dir():
            return label
        start = at if at.is_relative_to(docs) else docs
        return f"[{label}]({os.path.relpath(file, start)}{anchor})"

    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)", link, text)


def _commands() -> str:
    from hpo_batch.cli.main import SECTIONS, cli

    lines = ["# Commands", "", "`hpo-batch --help` lists them, `hpo-batch COMMAND --help` prints what stands here.", ""]
    with click.Context(cli, info_name="hpo-batch") as context:
        for section, commands in SECTIONS.items():
            lines += [f"## {section}", ""]
            for name in commands:
                command = cli.get_command(context, name)
                assert command is not None
                with click.Context(command, info_name=name, parent=context, max_content_width=100) as inner:
                    text = command.get_help(inner)
                lines += [f"### {name}", "", "```text", text, "```", ""]
    return "\n".join(lines)


def _sweep_keys() -> str:
    from hpo_batch.launch.describe import schema_keys

    lines = ["# Every key of a sweep file", ""]
    lines += [
        "As `hpo-batch check --schema` prints them; [the sweep file](sweep-toml.md) explains them with examples.",
        "",
    ]
    table = ""
    for key in schema_keys():
        if key.table != table:
            table = key.table
            lines += ["", f"## `{table}`", ""]
            lines += ["| key | default | meaning |", "|---|---|---|"] if key.name else [f"{key.meaning or 'yours'}."]
        if key.name:
            default = "required" if key.required else "" if key.default in (None, "", (), {}) else f"`{key.default!r}`"
            lines.append(f"| `{key.name}` | {default} | {_cell(key.meaning)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that is no markup in a cell: placeholders such as {name}, and angle brackets."""
    return re.sub(r"([|<>*_\[\]])", r"\\\1", " ".join(text.split()))


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app: Any) -> None:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", relink)
