"""Job templates: TOML files with keys of ``[job]`` for a kind of node, which the sweep can override."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli
from msgspec import Struct

from hpo_batch.errors import UserError
from hpo_batch.shipped import shipped
from hpo_batch.text.names import nearest
from hpo_batch.text.values import shown

Raw = dict[str, Any]


class Template(Struct, frozen=True, kw_only=True):
    """The contents of a template file."""

    path: Path
    text: str
    raw: Raw


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Raw:
    """Merge two tables: nested tables are merged, other values of ``over`` replace those of ``base``."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        # lists replace: appending would leave no way to remove an element
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def template_folders(near: Path) -> tuple[Path, ...]:
    """Folders with templates, in order: ``job_templates`` in the working directory, beside the sweep file, and ours."""
    # ours comes last, so that a site or a user can override a template by name
    return (Path.cwd() / "job_templates", near / "job_templates", shipped("job_templates"))


def read_template(name: str, near: Path) -> Template:
    """Read the template ``name``.

    Args:
        name: of the template, without ``.toml``.
        near: folder of the sweep file.

    Raises:
        UserError: no such template, or it is not valid TOML.
    """
    # compared with existing files: a name from an untrusted sweep file is never used as a path
    files = [path for folder in template_folders(near) for path in sorted(folder.glob("*.toml"))]
    path = next((path for path in files if path.stem == name), None)
    if path is None:
        known = sorted({path.stem for path in files})
        guess = nearest(name, known)
        meant = f"; did you mean '{guess}'?" if guess else ""
        raise UserError(f"no job template {shown(name)}; there are {', '.join(known)}{meant}")
    try:
        _check_owner(path, near)
        text = path.read_text(encoding="utf-8-sig")
        return Template(path=path, text=text, raw=tomli.loads(text))
    except OSError as error:
        raise UserError(f"job template {path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or an integer of thousands of digits
        raise UserError(f"job template {path}: not valid TOML: {error}") from error


def _check_owner(path: Path, near: Path) -> None:
    """Refuse another user's template in the working directory: its ``setup`` and ``python`` would run as this user.

    A template beside the sweep file is trusted like the sweep file.

    Raises:
        UserError: it belongs to another user.
        OSError: it has disappeared.
    """
    here, beside = Path.cwd() / "job_templates", near / "job_templates"
    if path.parent != here or (beside.is_dir() and here.samefile(beside)):
        return
    # also the folder: its owner could replace the file
    if not {path.stat().st_uid, here.stat().st_uid} <= {os.geteuid(), 0}:
        raise UserError(
            f"job template '{path}' belongs to another user, and its commands would run as you: if you trust it, copy "
            f"it to '{beside}', or change to another directory"
        )
