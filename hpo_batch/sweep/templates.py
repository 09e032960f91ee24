"""Job templates: files of ``[job]`` keys for a kind of node, merged below what the sweep itself says."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from hpo_batch.errors import UserError

Raw = dict[str, Any]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Raw:
    """``over`` on top of ``base``: tables merge, lists and values replace."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def template_folders(near: Path) -> tuple[Path, ...]:
    """Where templates are looked for: ``job_templates`` here and beside the sweep file, then ours."""
    package = Path(__file__).resolve().parents[1]
    ours = package / "job_templates"  # in an installed wheel
    if not ours.is_dir():
        ours = package.parent / "job_templates"  # in a checkout
    return (Path.cwd() / "job_templates", near / "job_templates", ours)


def read_template(name: str, near: Path) -> Raw:
    """The keys of the template ``name``.

    Raises:
        UserError: no such template, or its file is not TOML.
    """
    folders = template_folders(near)
    if "/" not in name and not name.startswith("."):
        for folder in folders:
            path = folder / f"{name}.toml"
            if path.is_file():
                try:
                    return tomli.loads(path.read_text(encoding="utf-8"))
                except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
                    raise UserError(f"job template {path}: {error}") from error
    known = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    guess = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean '{guess[0]}'?" if guess else ""
    raise UserError(f"no job template '{name}'; there are {', '.join(known)}{meant}")
